"""Finding in a fresh process the tasks that the worker was given."""

from __future__ import annotations

import importlib
import importlib.util
import runpy
import sys
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any, NamedTuple

from lacewing.task import AnyTask, Task
from lacewing.worker._attempt import WorkerStartError


class ModuleSource(NamedTuple):
    """Where a module comes from."""

    name: str
    """The name to import it by; `__main__` for a script that has none."""
    file: str | None
    """Its file, to load it from if it cannot be imported by its name."""
    is_main: bool
    """Whether it is what the worker's interpreter was started with."""


def module_sources(tasks: Iterable[AnyTask]) -> list[ModuleSource]:
    """Return the modules that define the functions of the tasks, each once."""
    sources = []
    for name in dict.fromkeys(task.function.__module__ for task in tasks):
        module = sys.modules.get(name)
        spec = getattr(module, "__spec__", None)
        # What runs by `python -m` has a spec with its real name, and a script has none.
        real_name = spec.name if name == "__main__" and spec is not None else name
        sources.append(ModuleSource(real_name, getattr(module, "__file__", None), name == "__main__"))
    return sources


def find_tasks(sources: Iterable[ModuleSource], names: Sequence[str]) -> dict[str, AnyTask]:
    """Import the modules and return the named tasks.

    Raises:
        WorkerStartError: if a task is not a global name of a module.
        Exception: whatever importing a module raises.
    """
    found: dict[str, AnyTask] = {}
    for source in sources:
        for value in _import(source).values():
            if isinstance(value, Task) and not value.is_reference:
                found.setdefault(value.name, value)
    missing = [name for name in names if name not in found]
    if missing:
        raise WorkerStartError(
            f"no module has {', '.join(map(repr, missing))} as a global name, so that a child process cannot find it. "
            'Define the task at the top level of its module, or give it isolation="thread".'
        )
    return {name: found[name] for name in names}


def _import(source: ModuleSource) -> dict[str, Any]:
    if source.is_main:
        # Not as `__main__`, so that `if __name__ == "__main__":` does not start a worker in the child.
        if source.name != "__main__":
            return runpy.run_module(source.name, run_name="__mp_main__")
        if source.file is None:
            raise WorkerStartError(
                "a task defined in an interactive session cannot be run in a child process. "
                'Put it into a module, or give it isolation="thread".'
            )
        return runpy.run_path(source.file, run_name="__mp_main__")
    try:
        return vars(importlib.import_module(source.name))
    except ModuleNotFoundError as error:
        is_own = error.name is not None and (source.name + ".").startswith(error.name + ".")
        if not is_own or source.file is None:
            raise
        return vars(_load_file(source.name, source.file))


def _load_file(name: str, file: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise WorkerStartError(f"the module {name!r} cannot be loaded from {file}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
