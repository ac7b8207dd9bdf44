"""Tasks: what of a decorated function is registered, and how tasks are found in modules."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

import pytest

import lacewing
from lacewing.errors import TaskLoadError
from lacewing.v1 import task_pb2


@lacewing.task
def add(a: int, b: int = 2) -> int:
    """Adds two numbers.

    In a long way.
    """
    return a + b


@lacewing.task(isolation="thread")
async def shout(text: str) -> str:
    """Shouts."""
    return text.upper()


async def test_a_task_is_called_like_its_function() -> None:
    """The local call runs the function, without server and worker."""
    assert add(40) == 42
    assert add(a=1, b=1) == 2
    assert await shout("hey") == "HEY"
    assert add.__name__ == "add"
    assert shout.is_async
    assert not add.is_async
    assert shout.isolation == "thread"


def test_the_name_is_that_of_module_and_function() -> None:
    """Unless it is given."""
    assert add.name == f"{__name__}.add"
    assert lacewing.task(name="sum")(add.function).name == "sum"


def test_a_plain_task_declares_nothing_but_its_interface() -> None:
    """Without options the spec has type, interface, defaults and description: all else is the server's default."""
    spec = add.spec
    assert spec.template.type == "python-task"
    assert set(spec.template.interface.inputs.variables) == {"a", "b"}
    assert set(spec.default_inputs.parameters) == {"b"}
    assert spec.description == "Adds two numbers."
    assert not spec.template.metadata.HasField("retries")
    assert not spec.template.metadata.HasField("timeout")
    assert not spec.template.metadata.discoverable
    assert spec.policy == task_pb2.TaskPolicy()


def test_every_option_is_declared_where_the_protocol_has_it() -> None:
    """Options become metadata as in Flyte, or the policy."""

    @lacewing.task(
        name="all",
        version="v1",
        project="p",
        domain="d",
        cache=lacewing.Cache(version="7", ttl=60, ignore=("b",), serialize=True, scope="project"),
        retries=3,
        backoff=lacewing.Backoff(initial=0, multiplier=3, max=timedelta(minutes=1), jitter=False),
        timeout=1.5,
        queue_timeout=timedelta(seconds=2),
        deadline=3,
        max_losses=0,
        max_queued=5,
        max_concurrency=6,
        rate_limit=lacewing.RateLimit(count=100, period=timedelta(minutes=1)),
        non_retryable=(ValueError, "Broken"),
        queue="gpu",
        retention=timedelta(days=1),
        task_type="my-type",
    )
    def everything(a: int, b: int) -> None:
        """Does everything."""

    metadata, policy = everything.spec.template.metadata, everything.spec.policy
    assert everything.spec.template.type == "my-type"
    assert (metadata.retries.retries, metadata.timeout.ToTimedelta()) == (3, timedelta(seconds=1.5))
    assert (metadata.discoverable, metadata.discovery_version, metadata.cache_serializable) == (True, "7", True)
    assert list(metadata.cache_ignore_input_vars) == ["b"]
    assert policy.cache.ttl.ToTimedelta() == timedelta(seconds=60)
    assert policy.cache.scope == task_pb2.CachePolicy.SCOPE_PROJECT
    assert (policy.backoff.initial.ToTimedelta(), policy.backoff.multiplier) == (timedelta(0), 3)
    assert policy.backoff.max.ToTimedelta() == timedelta(minutes=1)
    assert policy.backoff.jitter == task_pb2.Backoff.JITTER_NONE
    assert policy.queue_timeout.ToTimedelta() == timedelta(seconds=2)
    assert policy.deadline.ToTimedelta() == timedelta(seconds=3)
    assert policy.HasField("max_losses")
    assert (policy.max_losses, policy.max_queued, policy.queue) == (0, 5, "gpu")
    assert (policy.max_concurrency, policy.rate_limit.count) == (6, 100)
    assert policy.rate_limit.period.ToTimedelta() == timedelta(minutes=1)
    assert list(policy.non_retryable_codes) == ["ValueError", "Broken"]
    assert policy.retention.ToTimedelta() == timedelta(days=1)
    identity = everything.id("other", "other")
    assert (identity.project, identity.domain, identity.name, identity.version) == ("p", "d", "all", "v1")


@pytest.mark.parametrize(("cache", "version"), [(True, "1"), ("2024", "2024"), (lacewing.Cache(), "1")])
def test_caching_can_be_declared_shortly(
    cache: bool | str | lacewing.Cache,  # noqa: FBT001 as the option is
    version: str,
) -> None:
    """True means cache version 1, a string is the cache version."""
    metadata = lacewing.task(cache=cache)(add.function).spec.template.metadata
    assert (metadata.discoverable, metadata.discovery_version) == (True, version)


def test_what_must_not_be_repeated_says_so() -> None:
    """Only idempotent=False is declared; True is the default of the protocol."""
    spec = lacewing.task(idempotent=False)(add.function).spec
    assert spec.policy.HasField("idempotent")
    assert not spec.policy.idempotent


def test_wrong_options_are_refused_where_they_are_written() -> None:
    """The decorator raises, not the server later."""
    with pytest.raises(ValueError, match="timeout is positive, not 0"):
        lacewing.task(timeout=0)(add.function)
    with pytest.raises(ValueError, match="the cache ignores 'c', which are not inputs"):
        lacewing.task(cache=lacewing.Cache(ignore=["c"]))(add.function)
    with pytest.raises(TypeError, match="a task is made of a function"):
        lacewing.task(len)


def test_outside_a_worker_a_body_sees_a_stand_in_of_an_attempt() -> None:
    """So that a body can be called as a function."""
    context = lacewing.current_attempt()
    assert (context.execution.name, context.attempt, context.timeout, context.deadline) == ("local", 1, None, None)
    context.report_progress(0.5, "half")
    with pytest.raises(ValueError, match="between 0 and 1"):
        context.report_progress(2)


TASKS = """
import lacewing

@lacewing.task
def one(a: int) -> int:
    return a

two = lacewing.task(name="second")(one.function)
same = one
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    return tmp_path


def test_tasks_are_loaded_from_a_file(folder: Path) -> None:
    """A file is imported by its stem; each task comes once, in the order of definition."""
    (folder / "lacewing_test_file.py").write_text(TASKS)
    tasks = lacewing.load_tasks([folder / "lacewing_test_file.py"])
    assert [each.name for each in tasks] == ["lacewing_test_file.one", "second"]


def test_tasks_are_loaded_from_a_module_of_the_current_directory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A console script does not have it on its path by itself."""
    (folder / "lacewing_test_module.py").write_text(TASKS)
    monkeypatch.chdir(folder)
    assert len(lacewing.load_tasks(["lacewing_test_module"])) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "holds no task"),
        ("import lacewing_test_missing", "importing lacewing_test_bad failed: No module named 'lacewing_test_missing'"),
        ("1 / 0", "importing lacewing_test_bad failed: ZeroDivisionError: division by zero"),
        (TASKS.replace("second", "lacewing_test_bad.one"), "two tasks are named 'lacewing_test_bad.one'"),
    ],
)
def test_what_cannot_be_loaded_is_explained(folder: Path, text: str, message: str) -> None:
    """Each way to fail has its message."""
    (folder / "lacewing_test_bad.py").write_text(text)
    with pytest.raises(TaskLoadError, match=message):
        lacewing.load_tasks([folder / "lacewing_test_bad.py"])


def test_what_is_not_there_is_explained(folder: Path) -> None:
    """Neither a file nor a module."""
    with pytest.raises(TaskLoadError, match="there is no file"):
        lacewing.load_tasks([folder / "nothing.py"])
    with pytest.raises(TaskLoadError, match="there is no module 'lacewing_test_nothing'"):
        lacewing.load_tasks(["lacewing_test_nothing"])


def test_a_file_that_another_module_hides_is_refused(folder: Path) -> None:
    """Its tasks would otherwise silently be those of the other one."""
    (folder / "json.py").write_text(TASKS)
    with pytest.raises(TaskLoadError, match="cannot be imported as 'json'"):
        lacewing.load_tasks([folder / "json.py"])
