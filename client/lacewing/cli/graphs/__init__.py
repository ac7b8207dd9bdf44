"""Graphs as people see them: as rows of a terminal, as text for Graphviz, and as a picture.

What draws is pure: it takes what a server answered (`GraphView`) and gives text. `_command` asks and follows.
"""
