"""A task version made ready to run: everything the engine needs, computed once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from lacewing.types import InterfaceChecker, digest_interface, digest_literal_map
from lacewing.v1 import (
    execution_pb2,
    identifiers_pb2,
    interface_pb2,
    literals_pb2,
    project_pb2,
    task_pb2,
    worker_service_pb2,
)
from lacewing_server.domain import identity, names
from lacewing_server.domain.durations import milliseconds

MAX_LOSSES_DEFAULT: Final = 3
CACHE_MAX_DEFAULT: Final = 1 << 30
QUEUE_DEFAULT: Final = "default"
WORKFLOW: Final = "workflow"
"""The type of tasks that are a graph, which servers run."""
_A_NAME: Final = identity.execution_name(bytes(identity.ID_BYTES))
UNNAMED: Final = (
    execution_pb2.Execution(id=identifiers_pb2.ExecutionId(name=_A_NAME))
    .SerializeToString()
    .removesuffix(_A_NAME.encode())
)
"""A serialized ``Execution`` but for its name, which was given none: all such names are equally long."""
NAME_END: Final = len(UNNAMED) + len(_A_NAME)


@dataclass(frozen=True, slots=True)
class Defaults:
    """What applies where a task declares nothing. Durations are milliseconds, 0 for without bound."""

    attempt_timeout: int
    retention: int
    max_queued: int
    queue_timeout: int = 0
    deadline: int = 0
    max_losses: int = MAX_LOSSES_DEFAULT
    cache_ttl: int = 0
    cache_max: int = CACHE_MAX_DEFAULT
    """How many bytes the cache entries of the project may take."""

    def within(self, project: project_pb2.Project, domain: str) -> Defaults:
        """What applies in a domain of a project: what is set for the domain, else for the project, else these."""
        set_here = project_pb2.TaskDefaults()
        set_here.CopyFrom(project.defaults.task)
        if domain in project.defaults.domains:
            for field, value in project.defaults.domains[domain].ListFields():
                # Each as a whole: merging would add the seconds of one duration to the nanoseconds of the other.
                if field.message_type is None:
                    setattr(set_here, field.name, value)
                else:
                    getattr(set_here, field.name).CopyFrom(value)
        bounds = project.limits
        return Defaults(
            attempt_timeout=milliseconds(set_here.attempt_timeout) or self.attempt_timeout,
            retention=milliseconds(set_here.retention) or self.retention,
            max_queued=self.max_queued,
            queue_timeout=milliseconds(set_here.queue_timeout) or self.queue_timeout,
            deadline=milliseconds(set_here.deadline) or self.deadline,
            max_losses=set_here.max_losses if set_here.HasField("max_losses") else self.max_losses,
            cache_ttl=milliseconds(set_here.cache_ttl) or self.cache_ttl,
            cache_max=bounds.cache_max_bytes if bounds.HasField("cache_max_bytes") else self.cache_max,
        )


class ReadyTask:
    """One task version with its checkers, its bounds and the static half of its cache key."""

    def __init__(self, version: task_pb2.TaskVersion, defaults: Defaults) -> None:
        spec = version.spec
        template, policy = spec.template, spec.policy
        task_id = version.id
        self.version = version
        self.id: identifiers_pb2.TaskId = task_id
        self.queue_label = policy.queue or QUEUE_DEFAULT
        own_id = identifiers_pb2.ExecutionId(project=task_id.project, domain=task_id.domain)
        self.meta = execution_pb2.Execution(id=own_id, task=task_id).SerializeToString()
        """The part of an execution's stored `meta` that all executions of the version have in common."""
        self.shown = names.display_task(task_id)
        self.ref = identity.task_ref(task_id.project, task_id.domain, task_id.name)
        self.queue_ref = identity.queue_ref(
            task_id.project, task_id.domain, task_id.name, template.type, self.queue_label
        )
        self.project_ref = identity.project_ref(task_id.project)
        self.input_variables: interface_pb2.VariableMap = template.interface.inputs
        self.output_variables: interface_pb2.VariableMap = template.interface.outputs
        self.inputs = InterfaceChecker(self.input_variables, spec.default_inputs, root="inputs")
        self.outputs = InterfaceChecker(self.output_variables, root="outputs")
        nothing = literals_pb2.LiteralMap()
        self.has_defaults = self.inputs.complete(nothing) is not nothing
        """Whether inputs that were left out have a value."""
        self.max_failures = template.metadata.retries.retries + 1
        self.max_losses = policy.max_losses if policy.HasField("max_losses") else defaults.max_losses
        self.attempt_timeout = milliseconds(template.metadata.timeout) or defaults.attempt_timeout
        self.queue_timeout = milliseconds(policy.queue_timeout) or defaults.queue_timeout
        self.deadline = milliseconds(policy.deadline) or defaults.deadline
        self.retention = milliseconds(policy.retention) or defaults.retention
        self.max_queued = policy.max_queued if policy.HasField("max_queued") else defaults.max_queued
        self.idempotent = policy.idempotent if policy.HasField("idempotent") else True
        self.non_retryable = frozenset(policy.non_retryable_codes)
        self.cached = template.metadata.discoverable
        self.serialized = self.cached and template.metadata.cache_serializable
        self.cache_version = template.metadata.discovery_version
        self.cache_ttl = milliseconds(policy.cache.ttl) or defaults.cache_ttl
        self.cache_max = defaults.cache_max
        own_id.name = _A_NAME
        own_lease = worker_service_pb2.Lease(task=task_id)
        own_lease.attempt_timeout.FromMilliseconds(self.attempt_timeout)
        named = worker_service_pb2.Lease(execution=own_id).SerializeToString()
        self.lease = own_lease.SerializeToString() + named.removesuffix(_A_NAME.encode())
        """What leases of executions that have nothing of their own but a generated name have in common: a serialized
        ``Lease`` but for that name."""
        self.is_workflow = template.type == WORKFLOW
        self.max_parallelism = policy.max_parallelism
        self.audit_rate = policy.cache.audit_rate if self.cached else 0.0
        self._ignored = frozenset(template.metadata.cache_ignore_input_vars)
        self._key = self._static_key()

    def overridden(self, overrides: execution_pb2.NodeOverrides, defaults: Defaults) -> ReadyTask:
        """The version as a node of a graph has it: what the node sets counts."""
        version = task_pb2.TaskVersion()
        version.CopyFrom(self.version)
        metadata, given = version.spec.template.metadata, overrides.metadata
        if given.timeout.ByteSize():
            metadata.timeout.CopyFrom(given.timeout)
        if given.retries.retries:
            metadata.retries.CopyFrom(given.retries)
        if given.HasField("cacheable"):
            metadata.discoverable = given.cacheable
        if given.HasField("cache_version"):
            metadata.discovery_version = given.cache_version
        if given.HasField("cache_serializable"):
            metadata.cache_serializable = given.cache_serializable
        return ReadyTask(version, defaults)

    def cache_key(self, inputs: literals_pb2.LiteralMap) -> bytes:
        """The key of the entry for these inputs, which are complete: defaults are filled in."""
        key = self._key.copy()
        key.update(digest_literal_map(inputs, ignore=self._ignored))
        return key.digest()[:16]

    def _static_key(self) -> hashlib._Hash:
        shared = self.version.spec.policy.cache.scope == task_pb2.CachePolicy.SCOPE_PROJECT
        parts = (
            b"v1:cache",
            self.id.project.encode(),
            b"" if shared else self.id.domain.encode(),
            self.id.name.encode(),
            self.cache_version.encode(),
            digest_interface(self.version.spec.template.interface),
        )
        key = hashlib.sha256()
        for part in parts:
            key.update(len(part).to_bytes(4, "big"))
            key.update(part)
        return key
