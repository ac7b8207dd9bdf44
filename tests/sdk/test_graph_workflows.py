"""Workflows and dynamic tasks as what is registered: their specs, versions, options, and how they are found."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import lacewing
from lacewing.errors import NonRecoverableError
from lacewing.graph import GraphBuildError, GraphFailure, OnFailure, PromiseUsedAsValueError
from lacewing.task import AnyTask
from lacewing.types import derived_version, digest_spec
from lacewing.v1 import task_pb2, types_pb2, workflow_pb2
from sdk.graph_tasks import add, graph, inputs, nodes, outputs

Policy = workflow_pb2.WorkflowMetadata


@lacewing.workflow
def double(n: int, times: int = 1) -> int:
    """Doubles a number.

    Once.
    """
    return add(n, n)


@lacewing.dynamic
def power(n: int, exponent: int) -> int:
    """Raises a number to a power, by adding."""
    result = 1
    for _ in range(exponent):
        result = lacewing.map_task(add)([result], b=[0])[0] if n == 1 else add(result, result)
    return result


@lacewing.task
def report(n: int, err: GraphFailure, prefix: str = "!") -> None:
    """Tells of a failure."""
    print(prefix, n, err.failed_node_id, err.message)


def test_what_a_workflow_registers() -> None:
    """Type, interface with defaults, description and graph; without options nothing else."""
    spec = double.spec
    assert spec.template.type == "workflow"
    assert set(spec.template.interface.inputs.variables) == {"n", "times"}
    assert set(spec.default_inputs.parameters) == {"times"}
    assert spec.description == "Doubles a number."
    assert spec.policy == task_pb2.TaskPolicy()
    assert not spec.graph.workflow.HasField("metadata")
    assert double.name == f"{__name__}.double"
    assert double.is_workflow
    assert repr(double) == f"<task {__name__}.double>"


def test_the_options_of_a_workflow() -> None:
    """Each is where the server looks for it."""

    @lacewing.workflow(
        name="w",
        version="3",
        project="p",
        domain="d",
        description="Says more.",
        cache="7",
        deadline=60,
        retention=timedelta(days=1),
        max_parallelism=5,
        on_failure="fail_after_executable_nodes_complete",
        failure_node=report,
    )
    def full(n: int) -> int:
        return add(n)

    spec = full.spec
    assert full.id() == task_pb2.TaskVersion(id=full.id()).id
    assert (full.id().name, full.id().version, full.id().project, full.id().domain) == ("w", "3", "p", "d")
    assert (spec.description, spec.template.metadata.discovery_version) == ("Says more.", "7")
    assert (spec.policy.deadline.seconds, spec.policy.retention.seconds) == (60, 86_400)
    assert spec.policy.max_parallelism == 5
    workflow = spec.graph.workflow
    assert workflow.metadata.on_failure == Policy.ON_FAILURE_POLICY_FAIL_AFTER_EXECUTABLE_NODES_COMPLETE
    assert (workflow.failure_node.id, inputs(workflow.failure_node)) == ("failure", {"n": "in.n", "prefix": "!"})
    assert workflow.failure_node.task_node.reference_id.name == report.name
    assert {task.template.id.name for task in spec.graph.tasks} == {add.name, report.name}


def test_the_error_of_a_failure_node_has_its_type() -> None:
    """It is an ERROR, and comes back as it was."""
    variable = report.spec.template.interface.inputs.variables["err"]
    assert variable.type.simple == types_pb2.SIMPLE_TYPE_ERROR
    failure = GraphFailure("n3", "no")
    literals = report.interface.inputs_to_literals({"n": 1, "err": failure})
    assert literals.literals["err"].scalar.error.failed_node_id == "n3"
    assert report.interface.literals_to_inputs(literals)["err"] == failure


def test_what_is_wrong_with_failure_nodes() -> None:
    """What they take must be there, with its type."""

    def take(m: int, err: GraphFailure) -> None:
        raise NotImplementedError

    def text(n: str) -> None:
        raise NotImplementedError

    def error(err: str) -> None:
        raise NotImplementedError

    for function, words in (
        (take, "takes m, which the graph does not have"),
        (text, "n takes STRING, not <promise of n, INTEGER>"),
        (error, "takes `err` as a GraphFailure"),
    ):
        failing: Any = lacewing.workflow(failure_node=lacewing.task(name="f")(function))(double.function)
        with pytest.raises(GraphBuildError, match=words):
            _ = failing.spec


def test_the_version_follows_what_is_called() -> None:
    """A workflow has another version if its graph changes, or what the tasks in it declare."""

    def body(task: AnyTask) -> lacewing.Workflow[..., int]:
        @lacewing.workflow(name="w")
        def calling(n: int) -> int:
            result: int = task(n)
            return result

        return calling

    plain = body(lacewing.task(name="t")(add.function))
    same = body(lacewing.task(name="t")(add.function))
    retried = body(lacewing.task(name="t", retries=1)(add.function))
    assert plain.exact_version == same.exact_version
    assert plain.exact_version != retried.exact_version
    assert plain.spec == same.spec


def test_the_spec_is_the_same_in_every_process() -> None:
    """The version does not depend on the order of hashes."""
    folder = Path(__file__).parent
    code = f"import sys; sys.path[:0] = [{str(folder)!r}, {str(folder.parent)!r}]; "
    code += f"from {__name__} import outer; print(outer.exact_version)"
    versions = {
        subprocess.check_output([sys.executable, "-c", code], text=True, env={"PYTHONHASHSEED": seed})
        for seed in ("1", "2")
    }
    assert versions == {outer.exact_version + "\n"}


@lacewing.workflow
def outer(n: int) -> int:
    """Calls a workflow and a dynamic task."""
    return power(double(n), 2)


def test_workflows_and_dynamic_tasks_are_single_nodes() -> None:
    """A call of one makes one node, and it comes along with what it needs."""
    inner, last = nodes(outer)
    assert inner.workflow_node.sub_workflow_ref.name == double.name
    assert inner.workflow_node.sub_workflow_ref.version == double.exact_version
    assert last.task_node.reference_id.name == power.name
    assert [task.template.id.name for task in graph(outer).tasks] == [add.name, double.name, power.name]
    inner_spec, power_spec = graph(outer).tasks[1:]
    assert (inner_spec.template.type, len(inner_spec.graph.tasks)) == ("workflow", 0)
    assert inner_spec.graph.workflow == graph(double).workflow
    assert derived_version(digest_spec(inner_spec)) == double.exact_version
    assert (power_spec.template.type, power_spec.HasField("graph")) == ("python-task", False)


def test_plain_calls_run_everything_here() -> None:
    """Without a server a workflow and a dynamic task are functions."""
    assert outer(1) == 4
    assert double(n=4) == 8
    assert power(1, 3) == 1


def test_the_options_of_a_dynamic_task() -> None:
    """It takes those of a task, and those of graphs."""

    @lacewing.dynamic(name="d", retries=2, timeout=30, cache=True, max_parallelism=4, isolation="thread")
    def decide(n: int) -> int:
        return n

    spec = decide.spec
    assert (spec.template.type, spec.template.metadata.retries.retries, spec.policy.max_parallelism) == (
        "python-task",
        2,
        4,
    )
    assert (spec.template.metadata.timeout.seconds, spec.template.metadata.discoverable) == (30, True)
    assert decide.isolation == "thread"
    assert not decide.is_workflow
    assert lacewing.dynamic(decide.function).spec.policy == task_pb2.TaskPolicy()


@pytest.mark.parametrize("decorator", [lacewing.dynamic, lacewing.workflow])
def test_options_have_bounds(decorator: Any) -> None:
    """Numbers and words out of bounds are refused at once."""
    with pytest.raises(ValueError, match="max_parallelism is at least 0"):
        decorator(max_parallelism=-1)(add.function)
    wrong: OnFailure = "stop"  # type: ignore[assignment] # that is what is tested
    with pytest.raises(ValueError, match="on_failure is one of 'fail_immediately'"):
        decorator(on_failure=wrong)(add.function)


def test_what_is_wrong_with_a_workflow() -> None:
    """A graph without an end, without nodes, and bodies that wait for what is not there."""

    @lacewing.workflow
    def endless(n: int) -> int:
        return other(n)

    @lacewing.workflow
    def other(n: int) -> int:
        return endless(n)

    @lacewing.workflow
    def empty(n: int) -> int:
        return n

    @lacewing.workflow
    async def waiting(n: int) -> int:
        await asyncio.sleep(0)
        return add(n)

    for workflow, words in (
        (endless, "calls itself"),
        (other, "calls itself"),
        (empty, "calls no task"),
        (waiting, "waits for something else"),
    ):
        with pytest.raises(GraphBuildError, match=words):
            _ = workflow.spec


def test_a_spec_can_be_asked_for_in_several_threads() -> None:
    """Each gets the same, and none takes another's building for a circle."""
    for _ in range(20):
        fresh = lacewing.workflow(double.function)
        with ThreadPoolExecutor(4) as threads:
            specs = list(threads.map(lambda workflow: workflow.spec, [fresh] * 4))
        assert specs == [double.spec] * 4


def test_an_error_says_where_in_the_body() -> None:
    """File and line, through functions that the body calls; the type of the error stays."""

    def helper(n: int) -> int:
        return n + 1

    @lacewing.workflow(name="wrong")
    def wrong(n: int) -> int:
        return helper(add(n))

    with pytest.raises(PromiseUsedAsValueError) as caught:
        _ = wrong.spec
    line = helper.__code__.co_firstlineno + 1
    assert str(caught.value).startswith(f"workflow wrong ({__file__}:{line}): <promise of n0.o0, INTEGER> cannot be")


def test_errors_of_graphs_are_final() -> None:
    """A body that builds a wrong graph would build it again, so that no attempt follows."""
    assert issubclass(GraphBuildError, NonRecoverableError)


def test_an_error_leaves_nothing_behind() -> None:
    """After a body has failed calls run again, and so does the workflow when it is built anew."""
    fail = [True]

    @lacewing.workflow
    def failing(n: int) -> int:
        if fail.pop():
            raise ValueError("no")
        fail.append(False)
        return add(n)

    with pytest.raises(GraphBuildError, match="ValueError: no"):
        _ = failing.spec
    assert add(1) == 3
    fail.append(False)
    assert outputs(failing) == {"o0": "n0.o0"}


def test_workflows_are_found_in_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Like tasks; what only stands for a task elsewhere is not."""
    (tmp_path / "graphs_of_mine.py").write_text(
        "import lacewing\n"
        "@lacewing.task\ndef one(n: int) -> int: return n\n"
        "@lacewing.dynamic\ndef two(n: int) -> int: return one(n)\n"
        "@lacewing.workflow\ndef three(n: int) -> int: return two(n)\n"
        "@lacewing.reference_task('elsewhere')\ndef four(n: int) -> int: return n\n"
        "five = lacewing.map_task(one)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "graphs_of_mine", raising=False)
    found = lacewing.load_tasks(["graphs_of_mine"])
    assert [each.name for each in found] == [f"graphs_of_mine.{name}" for name in ("one", "two", "three")]
