"""The keys in Redis.

All begin with a prefix that ends in the partition's hash tag (``lw:{0}:``), so that one partition lives in one slot
of a cluster and a script may touch all of its keys. Scripts are given the prefix as their only key and build the rest
themselves.

=====================  ===========  ================================================================================
key                    type         content
=====================  ===========  ================================================================================
``x:<id>``             string       the packed record of an execution; expires after its retention
``b:<id>``             string       its inputs, if over 16 KiB: written once, never rewritten by a transition
``a:<id>``             list         its attempts that ended and are worth keeping: serialized ``Attempt``
``w:<id>``             set          servers, other than its creator, that wait for its changes
``q:<queue ref>``      zset         ready executions by when they were queued in microseconds, less their head start
``timer``              zset         by time: what the clock has to do next for an execution (one entry each)
``run:<server>``       set          executions leased on that server's streams: the index for crash recovery
``server:<server>``    string PX    the server's own lease; its value is the server's workers
``servers``            set          servers that have not been reaped
``ix:<task ref>``      zset         executions of a task by time of creation
``ix:<project/domain>`` zset        executions of a domain by time of creation
``ix:<id>``            zset         executions of the nodes of an execution's graph by time of creation
``g:<id>``             hash         the graph of a dynamic task (``spec``); the journal of a graph
``gx``                 zset         executions that have ended, and of whose graph something may still run, by that time
``m:<cache key>``      string       cache entry: pending (holder) or done (outputs, producer)
``mw:<cache key>``     list         executions that wait for a pending entry
``mx:<task ref>``      zset         keys of a task's cache entries by time of filling
``mz``                 hash         books of the cache: key of an entry → its size, task and project
``ml:<project>``       zset         keys of a project's cache entries by time of last use, to the minute
``me``                 zset         keys of cache entries by time of expiry
``mo``                 set          projects that are over the bound of their cache
``ms:<task ref>``      hash         cache statistics of a task: hits, misses, saved_ms, entries, bytes, evictions, ...
``mp:<project>``       hash         the same of a project
``t:<task ref>``       hash         a task: its fields, each version (``v:``), what audits found of it (``n:``)
``tv:<task ref>``      zset         versions by time of registration
``tn:<project/domain>`` zset        names of tasks, in lexical order
``janitor``            string PX    the server that trims the indexes
``catalog``            hash         ready queues: queue ref → which task, type and label
``p``                  hash         projects: id → serialized ``Project``
``p:<project ref>``    hash         bounds of a project; those of a task are fields of ``t:``
``c:<task/project ref>`` set        executions that hold a place of a bound on what runs
``rl:<task/project ref>`` string PX when the next attempt may start, by a bound on what starts
``n:<project ref>``    string       how many executions of a project wait
``ch:<server>``        channel      news for one server
``ch:all``             channel      news for all servers
``ch:confirm``         channel      what nobody listens to, see ``link.Confirmation``
=====================  ===========  ================================================================================
"""

from __future__ import annotations


class Keys:
    """Builds the keys of one partition."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix.encode()
        p = self.prefix
        self.timer = p + b"timer"
        self.graphs_to_close = p + b"gx"
        self.servers = p + b"servers"
        self.cache_over = p + b"mo"
        self.catalog = p + b"catalog"
        self.projects = p + b"p"
        self.all_channel = p + b"ch:all"
        self.confirmation_channel = p + b"ch:confirm"

    def execution(self, execution_id: bytes) -> bytes:
        """The record of an execution."""
        return self.prefix + b"x:" + execution_id

    def inputs(self, execution_id: bytes) -> bytes:
        """The inputs of an execution, if big."""
        return self.prefix + b"b:" + execution_id

    def attempts(self, execution_id: bytes) -> bytes:
        """The recorded attempts of an execution."""
        return self.prefix + b"a:" + execution_id

    def queue(self, queue_ref: bytes) -> bytes:
        """A ready queue."""
        return self.prefix + b"q:" + queue_ref

    def running(self, server: bytes) -> bytes:
        """What a server's streams hold."""
        return self.prefix + b"run:" + server

    def server(self, server: bytes) -> bytes:
        """A server's own lease."""
        return self.prefix + b"server:" + server

    def task_index(self, task_ref: bytes) -> bytes:
        """The executions of a task."""
        return self.prefix + b"ix:" + task_ref

    def child_index(self, execution_id: bytes) -> bytes:
        """The executions of the nodes of an execution's graph."""
        return self.prefix + b"ix:" + execution_id

    def graph(self, execution_id: bytes) -> bytes:
        """The graph of an execution and its journal."""
        return self.prefix + b"g:" + execution_id

    def domain_index(self, project: str, domain: str) -> bytes:
        """The executions of a domain."""
        return self.prefix + f"ix:{project}/{domain}".encode()

    def cache_entry(self, cache_key: bytes) -> bytes:
        """A cache entry."""
        return self.prefix + b"m:" + cache_key

    def cache_index(self, task_ref: bytes) -> bytes:
        """The cache entries of a task."""
        return self.prefix + b"mx:" + task_ref

    def cache_stats(self, task_ref: bytes) -> bytes:
        """The cache statistics of a task."""
        return self.prefix + b"ms:" + task_ref

    def project_cache_stats(self, project: str) -> bytes:
        """The cache statistics of a project."""
        return self.prefix + b"mp:" + project.encode()

    def task(self, task_ref: bytes) -> bytes:
        """A task and its versions."""
        return self.prefix + b"t:" + task_ref

    def task_versions(self, task_ref: bytes) -> bytes:
        """The versions of a task in order."""
        return self.prefix + b"tv:" + task_ref

    def task_names(self, project: str, domain: str) -> bytes:
        """The names of the tasks of a domain."""
        return self.prefix + f"tn:{project}/{domain}".encode()

    def channel(self, server: bytes) -> bytes:
        """The channel of a server."""
        return self.prefix + b"ch:" + server
