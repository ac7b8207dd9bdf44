"""Gates: what waits in a graph, and what answers where none is built."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

import lacewing
from lacewing.errors import NonRecoverableError
from lacewing.graph import GraphBuildError, approve, local_answers, sleep, wait_for_input
from lacewing.types import AnnotationError, ConversionError
from lacewing.v1 import types_pb2
from sdk.graph_tasks import Config, add, configure, inputs, nodes, note, outputs, split, use


@lacewing.workflow
def release(rate: float) -> str:
    """Releases what was approved."""
    config = approve(configure(rate), "review")
    count = wait_for_input("how many", int)
    add(count)
    done = use(config)
    lacewing.in_order(sleep(timedelta(milliseconds=1)), done)
    return done


def test_gates_are_nodes() -> None:
    """Each waits for what it says; what is approved and what is given are promises with their types."""
    _, review, signal, added, done, pause = nodes(release)
    assert (review.metadata.name, review.gate_node.approve.signal_id) == ("review", "review")
    assert inputs(review) == {"value": "n0.o0"}
    assert signal.gate_node.signal.signal_id == "how many"
    assert signal.gate_node.signal.type.simple == types_pb2.SIMPLE_TYPE_INTEGER
    assert inputs(added) == {"a": f"n2.{signal.gate_node.signal.output_variable_name}", "b": "2"}
    assert pause.gate_node.sleep.duration.ToTimedelta() == timedelta(milliseconds=1)
    assert inputs(done) == {"config": "n1.value"}
    assert list(done.upstream_node_ids) == ["n5"]


def test_what_is_approved_keeps_its_fields() -> None:
    """The promise of an approval is one of the value."""

    @lacewing.workflow
    def approved(rate: float) -> float:
        return approve(configure(rate), "review").rate

    assert outputs(approved) == {"o0": "n1.value.rate"}


def test_that_something_has_run_is_approved() -> None:
    """What gives nothing can be approved too: the gate waits for it."""

    @lacewing.workflow
    def approved() -> None:
        written: Any = note("a")
        approve(written, "seen") >> note("b")

    _, gate, after = nodes(approved)
    assert (inputs(gate), list(gate.upstream_node_ids), list(after.upstream_node_ids)) == ({}, ["n0"], ["n1"])


def test_local_answers() -> None:
    """Where no graph is built, values and agreement come from the context, and nothing waits."""
    with local_answers({"review": True, "how many": 3}):
        assert release(1.0) == "a,b"
    with pytest.raises(NonRecoverableError, match="'review' was refused"), local_answers({"review": False}):
        release(1.0)
    with pytest.raises(ConversionError, match="expected int"), local_answers({"review": True, "how many": "3"}):
        release(1.0)


def test_without_an_answer_a_local_call_says_what_to_do() -> None:
    """Nobody could answer, so it does not wait."""
    with pytest.raises(GraphBuildError, match=r"call it inside local_answers\(\{'review': \.\.\.\}\)"):
        release(1.0)


def test_what_is_wrong_with_gates() -> None:
    """Negative times, values that are none, types that are none, and gates without a name."""

    def constant() -> int:
        return approve(3, "x")

    def several(n: int) -> int:
        return approve(split(n), "x").whole

    def nameless(n: int) -> int:
        return approve(add(n), "")

    for body, words in (
        (constant, "a promise of one value, not 3"),
        (several, "a promise of one value"),
        (nameless, "needs a name"),
    ):
        with pytest.raises(GraphBuildError, match=words):
            _ = lacewing.workflow(body).spec
    with pytest.raises(ValueError, match="no less than nothing"):
        sleep(timedelta(seconds=-1))
    with pytest.raises(AnnotationError):
        wait_for_input("x", object)


def test_gates_have_no_promises_of_tasks() -> None:
    """Only their name can be overridden."""

    @lacewing.workflow
    def retried(n: int) -> Config:
        return lacewing.with_overrides(approve(configure(1.0), "x"), retries=3)

    with pytest.raises(GraphBuildError, match="only its name"):
        _ = retried.spec
