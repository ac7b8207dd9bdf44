"""Running graphs: a server leases an execution that runs a graph as a worker leases one that runs a body.

Each node that runs a task is an execution of its own, whose id is derived from that of the parent and the path of the
node: to begin it twice is to begin it once. What else is decided - which branch, how many elements, when a gate was
reached - is noted in a journal before it has consequences. So a server that takes a graph over finds everything there,
and goes on.
"""
