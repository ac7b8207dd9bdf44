"""The rules of what a project sets for its tasks: its defaults, and the bound of its cache."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from lacewing.v1 import project_pb2
from lacewing_server.domain import limits
from lacewing_server.domain.durations import check_duration
from lacewing_server.domain.errors import Violations

_DURATIONS: Final = ("attempt_timeout", "queue_timeout", "deadline", "retention", "cache_ttl")
_DOMAINS_MAX: Final = 100


def check_settings(project: project_pb2.Project, domains: Collection[str], violations: Violations) -> None:
    """Checks the defaults and the bound of the cache.

    Args:
        project: What is asked for.
        domains: The domains that are configured.
        violations: Takes what is wrong.
    """
    if project.limits.HasField("cache_max_bytes") and project.limits.cache_max_bytes < 1:
        violations.add("project.limits.cache_max_bytes", f"must be at least 1, got {project.limits.cache_max_bytes}")
    _check(project.defaults.task, "project.defaults.task", violations)
    if len(project.defaults.domains) > _DOMAINS_MAX:
        violations.add("project.defaults.domains", f"must have at most {_DOMAINS_MAX} entries")
        return
    for domain, defaults in sorted(project.defaults.domains.items()):
        path = f'project.defaults.domains["{domain[: limits.LABEL_MAX]}"]'
        if domain not in domains:
            violations.add(path, f"is no domain; configured are {', '.join(domains)}")
        _check(defaults, path, violations)


def _check(defaults: project_pb2.TaskDefaults, path: str, violations: Violations) -> None:
    for name in _DURATIONS:
        if defaults.HasField(name):
            check_duration(getattr(defaults, name), f"{path}.{name}", violations, positive=True)
    if defaults.max_losses > limits.RETRIES_MAX:
        violations.add(f"{path}.max_losses", f"must be at most {limits.RETRIES_MAX}, got {defaults.max_losses}")
