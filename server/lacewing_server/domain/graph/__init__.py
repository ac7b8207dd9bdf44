"""Graphs: what they must be, how values flow in them, how they run. Pure."""
