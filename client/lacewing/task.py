"""Tasks: Python functions with a declared interface and declared promises."""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Generic, Literal, ParamSpec, TypeAlias, TypedDict, TypeVar, Unpack, overload

from google.protobuf import duration_pb2

from lacewing._durations import positive_duration
from lacewing._tracing import current_tracer
from lacewing.errors import TaskLoadError
from lacewing.types import FunctionInterface, derived_version, digest_spec, interface_of
from lacewing.v1 import identifiers_pb2, task_pb2, task_template_pb2

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")

Isolation: TypeAlias = Literal["process", "thread"]
"""Where a body runs: in a child process that can be killed, or in a thread of the worker that cannot."""

_MAX_DESCRIPTION_LENGTH = 4096
# A script is `__main__` where it is run, and `__mp_main__` in the child processes of its worker.
_SCRIPT_MODULES = frozenset({"__main__", "__mp_main__"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """How results of a task are memoized."""

    version: str = "1"
    """Results are shared by all versions of the task with this string: change it when the results change."""
    ttl: timedelta | float | None = None
    """How long a result is kept, in seconds if a number. None: until it is evicted."""
    ignore: Sequence[str] = ()
    """Inputs that have no effect on the result."""
    serialize: bool = False
    """Whether of several executions that would compute the same result only one does, and the others wait for it."""
    scope: Literal["domain", "project"] = "domain"
    """Which executions share results: those of the same project and domain, or of all domains of the project."""
    audit_rate: float = 0.0
    """The share of hits, from 0 to 1, that are run again in the background to see whether the results are the same. If
    they are not, the task is marked as not deterministic; `lacewing tasks get` and `lacewing cache get` show why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """How the waits between attempts grow: `min(initial * multiplier ** k, max)`. Durations in seconds if numbers."""

    initial: timedelta | float = 1.0
    """The first wait. May be 0."""
    multiplier: float = 2.0
    """The factor from one wait to the next, at least 1."""
    max: timedelta | float = 300.0
    """The longest wait."""
    jitter: bool = True
    """Whether the wait is spread at random between 0 and what was computed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """How many attempts may start in a time: a whole count at once after a pause, and spread evenly in the long run."""

    count: int
    """How many, 1 to 1,000,000."""
    period: timedelta | float = 1.0
    """In how long, 1 ms to one day. In seconds if a number."""


class TaskOptions(TypedDict, total=False):
    """The options of a task; `task` says what each means."""

    name: str
    version: str
    project: str
    domain: str
    cache: bool | str | Cache
    retries: int
    backoff: Backoff | None
    timeout: timedelta | float | None
    queue_timeout: timedelta | float | None
    deadline: timedelta | float | None
    max_losses: int | None
    max_queued: int | None
    max_concurrency: int | None
    rate_limit: RateLimit | None
    non_retryable: Iterable[type[BaseException] | str]
    queue: str
    retention: timedelta | float | None
    isolation: Isolation
    task_type: str
    idempotent: bool


class Task(Generic[_Parameters, _Result]):
    """A function that can be registered and executed. Made by `task`; calling it runs the function here and now.

    In the body of a dynamic task or a workflow a call does not run it, but makes a node of a graph and gives promises.

    Attributes:
        name: The name it is registered under.
        version: Its version. If empty, the server derives one from the digest of the spec.
        project: The project. If empty, that of the client, else the server's default.
        domain: The domain. If empty, that of the client, else the server's default.
        function: The function itself.
        interface: What the function takes and gives.
        isolation: Where a worker runs it.
        is_async: Whether it is an `async def`.
        is_workflow: Whether servers run it themselves, so that no worker does.
        is_reference: Whether it only stands for a task that is declared and registered elsewhere.
    """

    __name__: str
    is_workflow: ClassVar[bool] = False
    is_reference: ClassVar[bool] = False

    def __init__(
        self,
        function: Callable[_Parameters, _Result],
        *,
        name: str = "",
        version: str = "",
        project: str = "",
        domain: str = "",
        cache: bool | str | Cache = False,
        retries: int = 0,
        backoff: Backoff | None = None,
        timeout: timedelta | float | None = None,
        queue_timeout: timedelta | float | None = None,
        deadline: timedelta | float | None = None,
        max_losses: int | None = None,
        max_queued: int | None = None,
        max_concurrency: int | None = None,
        rate_limit: RateLimit | None = None,
        non_retryable: Iterable[type[BaseException] | str] = (),
        queue: str = "",
        retention: timedelta | float | None = None,
        isolation: Isolation = "process",
        task_type: str = "python-task",
        idempotent: bool = True,
    ) -> None:
        """Make a task of a function; see `task` for the arguments."""
        if not inspect.isfunction(function):
            raise TypeError(f"a task is made of a function, not of {function!r}")
        if isolation not in ("process", "thread"):
            raise ValueError(f'isolation is "process" or "thread", not {isolation!r}')
        functools.update_wrapper(self, function)
        self.function: Callable[_Parameters, _Result] = function
        self.name = name or _name_of(function)
        self.version = version
        self.project = project
        self.domain = domain
        self.isolation: Isolation = isolation
        self.is_async = inspect.iscoroutinefunction(function)
        self.interface: FunctionInterface = interface_of(function)
        self._task_type = task_type
        self._description = _summary(function)
        self._metadata = task_template_pb2.TaskMetadata(
            runtime=task_template_pb2.RuntimeMetadata(flavor="python"),
            retries=task_template_pb2.RetryStrategy(retries=retries) if retries else None,
            timeout=_duration("timeout", timeout),
        )
        self._policy = task_pb2.TaskPolicy(
            backoff=_backoff(backoff) if backoff is not None else None,
            max_losses=max_losses,
            queue_timeout=_duration("queue_timeout", queue_timeout),
            deadline=_duration("deadline", deadline),
            non_retryable_codes=[code if isinstance(code, str) else code.__name__ for code in non_retryable],
            queue=queue,
            retention=_duration("retention", retention),
            max_queued=max_queued,
            max_concurrency=max_concurrency,
            rate_limit=_rate_limit(rate_limit) if rate_limit is not None else None,
            # Declared only where it departs from the default, so that specs written before and after are equal.
            idempotent=None if idempotent else False,
        )
        if cache is not False:
            self._memoize(_cache(cache))

    def __call__(self, *args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
        """Call the function here and now, without server and worker; or make it a node of the graph that is built."""
        tracer = current_tracer()
        if tracer is None:
            return self.function(*args, **kwargs)
        promised: _Result = tracer.call(self, args, kwargs)
        return promised

    def __repr__(self) -> str:
        return f"<task {self.name}{'@' + self.version if self.version else ''}>"

    def id(self, project: str = "", domain: str = "") -> identifiers_pb2.TaskId:
        """Return its identity.

        Args:
            project: The project, unless the task names its own.
            domain: The domain, unless the task names its own.
        """
        return identifiers_pb2.TaskId(
            project=self.project or project, domain=self.domain or domain, name=self.name, version=self.version
        )

    @functools.cached_property
    def exact_version(self) -> str:
        """The version it is registered as: its own, or the one that servers derive from what it declares."""
        return self.version or derived_version(digest_spec(self.spec))

    @functools.cached_property
    def spec(self) -> task_pb2.TaskSpec:
        """What is registered. Not to be changed."""
        return self._declaration()

    def _declaration(self) -> task_pb2.TaskSpec:
        return task_pb2.TaskSpec(
            template=task_template_pb2.TaskTemplate(
                type=self._task_type, metadata=self._metadata, interface=self.interface.typed_interface
            ),
            policy=self._policy,
            default_inputs=self.interface.defaults,
            description=self._description,
        )

    def _memoize(self, cache: Cache) -> None:
        unknown = [name for name in cache.ignore if name not in self.interface.typed_interface.inputs.variables]
        if unknown:
            raise ValueError(f"{self.name}: the cache ignores {', '.join(map(repr, unknown))}, which are not inputs")
        if not 0 <= cache.audit_rate <= 1:
            raise ValueError(f"{self.name}: the audit rate is from 0 to 1, not {cache.audit_rate}")
        self._metadata.discoverable = True
        self._metadata.discovery_version = cache.version
        self._metadata.cache_serializable = cache.serialize
        self._metadata.cache_ignore_input_vars.extend(cache.ignore)
        ttl = _duration("ttl", cache.ttl)
        if ttl is not None:
            self._policy.cache.ttl.CopyFrom(ttl)
        if cache.scope == "project":
            self._policy.cache.scope = task_pb2.CachePolicy.SCOPE_PROJECT
        if cache.audit_rate:
            self._policy.cache.audit_rate = cache.audit_rate


AnyTask: TypeAlias = Task[..., Any]
"""A task, whatever its parameters and result are."""


@overload
def task(function: Callable[_Parameters, _Result], /) -> Task[_Parameters, _Result]: ...


@overload
def task(
    **options: Unpack[TaskOptions],
) -> Callable[[Callable[_Parameters, _Result]], Task[_Parameters, _Result]]: ...


def task(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:  # noqa: D417 they are named one by one
    """Make a task of an annotated function, sync or async; use as `@task` or `@task(retries=3, ...)`.

    The function can be called as before. All durations are in seconds if they are numbers.

    An exception of the body is recoverable: the task is tried again as `retries` allow. `NonRecoverableError`, and what
    `non_retryable` names, ends the execution at once.

    Args:
        function: The function, where the decorator is used without arguments.
        name: The name. Default: the module, a dot, and the name of the function; for a script the name of its file
            stands for the module.
        version: The version, 1 to 255 printable characters. Default: the server derives it from the spec, so that equal
            specs are one version.
        project: The project. Default: that of the client.
        domain: The domain. Default: that of the client.
        cache: Whether results are memoized: False, True (cache version `"1"`), a cache version, or a `Cache`.
        retries: How often it is tried again after it failed by its own doing.
        backoff: How the waits between attempts grow. Default: 1 s, doubled up to 5 min, with full jitter.
        timeout: How long one attempt may take; after that it is stopped and counts as failed. Default: the server's,
            1 h unless changed.
        queue_timeout: How long it may wait for a worker. Default: without bound.
        deadline: How long it may take in all, from creation to end. Default: without bound.
        max_losses: How many attempts may be lost to infrastructure without counting as failures. Default: 3.
        max_queued: How many executions may wait for a worker; more are refused. Default: the server's, 100,000 unless
            changed.
        max_concurrency: How many attempts of it may run at a time, over all workers. Default: without bound.
        rate_limit: How many attempts of it may start in a time, over all workers. Default: without bound.
        non_retryable: Exception types, or codes of errors, after which it is not tried again. Compared exactly, by the
            name of the type.
        queue: The label that workers must offer to be given it. Default: `default`.
        retention: How long a finished execution can be read. Default: the server's, 7 days unless changed.
        isolation: `"process"`: in a child process, which a timeout or a cancellation kills. `"thread"`: in the worker,
            for trusted short work.
        task_type: Which workers can run it.
        idempotent: Whether the body may safely run again after it was interrupted. If False, it is never repeated after
            a loss or a timeout, and must not be memoized.

    Raises:
        ConversionError: An annotation is missing, or is no type that Lacewing knows.
        TypeError: It is not a function.
        ValueError: An option is out of its bounds.
    """
    if function is not None:
        return Task(function, **options)
    return functools.partial(Task, **options)


def load_tasks(modules: Iterable[str | os.PathLike[str]]) -> list[AnyTask]:
    """Import modules and return the tasks that are global names of them, each once, in the order of definition.

    Args:
        modules: Names of modules, importable from the current directory too, or paths of `.py` files, which are
            imported by their stem with their folder on the path, as if they were run.

    Raises:
        TaskLoadError: A module cannot be imported or holds no task, or two tasks have the same name.
    """
    found: dict[str, AnyTask] = {}
    for source in [os.fspath(each) for each in modules]:
        module = _import_file(Path(source)) if source.endswith(".py") else _import_module(source)
        tasks = [value for value in vars(module).values() if isinstance(value, Task) and not value.is_reference]
        if not tasks:
            raise TaskLoadError(f"{source} holds no task: no global name is a function with @task")
        for each in tasks:
            if found.setdefault(each.name, each) is not each:
                raise TaskLoadError(f"{source}: two tasks are named {each.name!r}; give one of them a name of its own")
    return list(found.values())


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise TaskLoadError(f"there is no file {path}")
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    module = _import_module(path.stem)
    loaded = getattr(module, "__file__", None)
    if loaded is None or not path.samefile(loaded):
        raise TaskLoadError(
            f"{path} cannot be imported as {path.stem!r}: that is {loaded or 'built in'}; rename the file"
        )
    return module


def _import_module(name: str) -> ModuleType:
    # A console script does not have the current directory on its path, unlike `python -m`.
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name + ".").startswith(error.name + "."):
            raise TaskLoadError(f"there is no module {name!r}, neither installed nor below {Path.cwd()}") from error
        raise TaskLoadError(f"importing {name} failed: {error}") from error
    except Exception as error:
        raise TaskLoadError(f"importing {name} failed: {type(error).__name__}: {error}") from error


def _name_of(function: Callable[..., Any]) -> str:
    module = function.__module__
    if module in _SCRIPT_MODULES:
        module = Path(inspect.unwrap(function).__code__.co_filename).stem
    return f"{module}.{function.__name__}"


def _summary(function: Callable[..., Any]) -> str:
    paragraph = (inspect.getdoc(function) or "").split("\n\n", maxsplit=1)[0]
    return " ".join(paragraph.split())[:_MAX_DESCRIPTION_LENGTH]


def _duration(name: str, value: timedelta | float | None) -> duration_pb2.Duration | None:
    return None if value is None else positive_duration(name, value, may_be_zero=name == "initial")


def _rate_limit(rate_limit: RateLimit) -> task_pb2.RateLimit:
    return task_pb2.RateLimit(count=rate_limit.count, period=_duration("rate_limit.period", rate_limit.period))


def _backoff(backoff: Backoff) -> task_pb2.Backoff:
    return task_pb2.Backoff(
        initial=_duration("initial", backoff.initial),
        multiplier=backoff.multiplier,
        max=_duration("max", backoff.max),
        jitter=task_pb2.Backoff.JITTER_UNSPECIFIED if backoff.jitter else task_pb2.Backoff.JITTER_NONE,
    )


def _cache(cache: Literal[True] | str | Cache) -> Cache:
    if isinstance(cache, Cache):
        return cache
    return Cache(version=cache) if isinstance(cache, str) else Cache()
