"""References: tasks that are declared and registered elsewhere, in any language."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ClassVar, NoReturn, ParamSpec, TypeVar

from lacewing.graph._errors import GraphBuildError
from lacewing.task import Task

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


class Reference(Task[_Parameters, _Result]):
    """A task that is registered elsewhere. Made by `reference_task`."""

    is_reference: ClassVar[bool] = True

    @functools.cached_property
    def spec(self) -> NoReturn:
        """Nothing: what the task declares is not known here."""
        raise GraphBuildError(f"{self.name} is registered elsewhere: what it declares is not known here")


def reference_task(
    name: str, *, version: str = "", project: str = "", domain: str = ""
) -> Callable[[Callable[_Parameters, _Result]], Reference[_Parameters, _Result]]:
    """Let a function stand for a task that is registered elsewhere, in any language, so that bodies can call it.

    Only the parameters and the returned annotation of the function count, which must be those of the task; a graph in
    which they do not fit is refused. Its body is what a local call runs.

    Args:
        name: The name of the task.
        version: Its version. Default: the one that is registered last when the graph is compiled.
        project: Its project. Default: that of what calls it.
        domain: Its domain. Default: that of what calls it.

    Raises:
        ConversionError: An annotation is missing, or is no type that Lacewing knows.
    """
    return functools.partial(Reference, name=name, version=version, project=project, domain=domain)
