"""What goes into which message to the server."""

from __future__ import annotations

import asyncio

import pytest

from lacewing.v1 import errors_pb2, execution_pb2, worker_service_pb2
from lacewing.worker._attempt import Ledger
from lacewing.worker._outbox import MAX_BATCH_BYTES, MAX_BATCH_ITEMS, Outbox

SLOTS = 4


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(SLOTS)


@pytest.fixture
def outbox(ledger: Ledger) -> Outbox:
    return Outbox(ledger)


def completion(number: int, size: int = 0) -> worker_service_pb2.Completion:
    """Makes a result with outputs of about so many bytes."""
    result = worker_service_pb2.Completion(token=f"token-{number}".encode())
    result.outputs.literals["o0"].scalar.primitive.string_value = "x" * size
    return result


def messages(outbox: Outbox) -> list[worker_service_pb2.WorkRequest]:
    """Takes what there is."""
    taken = []
    while (request := outbox.take()) is not None:
        taken.append(worker_service_pb2.WorkRequest.FromString(request))
    return taken


def test_many_results_go_out_in_few_messages(outbox: Outbox) -> None:
    """A message takes a thousand results, and the credit of all slots that are free goes with the first."""
    for number in range(MAX_BATCH_ITEMS + 10):
        outbox.complete(completion(number))
    first, second = messages(outbox)
    assert (len(first.completions), len(second.completions)) == (MAX_BATCH_ITEMS, 10)
    assert (first.credit, second.credit) == (SLOTS, 0)


def test_large_results_go_out_apart(outbox: Outbox) -> None:
    """A message takes no further result above its size, but always one."""
    for number in range(3):
        outbox.complete(completion(number, MAX_BATCH_BYTES * 2 // 3))
    outbox.complete(completion(3, MAX_BATCH_BYTES * 2))
    assert [len(message.completions) for message in messages(outbox)] == [1, 1, 1, 1]


def test_credit_is_what_is_free_and_not_granted_yet(outbox: Outbox, ledger: Ledger) -> None:
    """Credit is given once for each free slot, and again when a lease that used it has ended."""
    assert [message.credit for message in messages(outbox)] == [SLOTS]
    outbox.spend(3)
    ledger.occupied = 3
    assert messages(outbox) == []
    ledger.occupied = 1
    assert [message.credit for message in messages(outbox)] == [2]
    outbox.server_drains()
    ledger.occupied = 0
    assert messages(outbox) == []


def test_outputs_that_are_too_large_become_an_error(outbox: Outbox) -> None:
    """Outputs over the limit of the server are not sent: the attempt fails for good, and the message says why."""
    outbox.welcome(worker_service_pb2.Welcome(max_outputs_bytes=1000))
    outbox.complete(completion(1, 2000))
    ((sent,),) = [message.completions for message in messages(outbox)]
    assert (sent.error.code, sent.error.recoverable) == ("OutputsInvalid", False)
    assert "the server takes 1,000" in sent.error.message


def test_a_result_that_is_malformed_for_the_server_becomes_an_error(outbox: Outbox) -> None:
    """A result that the server cannot take at all fails the attempt, so that it does not run into its timeout."""
    outbox.complete(completion(1))
    messages(outbox)
    refusal = errors_pb2.RequestError(reason=errors_pb2.ERROR_REASON_FIELD_INVALID, message="not like this")
    result = worker_service_pb2.CompletionResult(token=b"token-1", error=refusal)
    outbox.acknowledge(result)
    ((sent,),) = [message.completions for message in messages(outbox)]
    assert "not like this" in sent.error.message
    outbox.acknowledge(result)
    assert outbox.is_clear


def test_what_is_not_acknowledged_is_sent_on_the_next_stream(outbox: Outbox) -> None:
    """A new stream begins with every open result, names it as held, and gives all credit anew."""
    outbox.complete(completion(1))
    outbox.complete(completion(2))
    messages(outbox)
    outbox.acknowledge(worker_service_pb2.CompletionResult(token=b"token-1"))
    assert outbox.open_stream() == [b"token-2"]
    (message,) = messages(outbox)
    assert [each.token for each in message.completions] == [b"token-2"]
    assert message.credit == SLOTS


async def test_progress_is_sent_at_once_and_then_now_and_then(outbox: Outbox) -> None:
    """The first progress goes out at once; what follows within a second waits, and only the newest counts."""
    messages(outbox)
    outbox.report_progress(b"token", execution_pb2.Progress(fraction=0.1))
    assert [message.heartbeats[0].progress.fraction for message in messages(outbox)] == [0.1]
    outbox.report_progress(b"token", execution_pb2.Progress(fraction=0.2))
    outbox.report_progress(b"token", execution_pb2.Progress(fraction=0.3))
    assert messages(outbox) == []
    outbox._next_progress = 0.0  # A second has passed.
    assert [message.heartbeats[0].progress.fraction for message in messages(outbox)] == [0.3]


async def test_progress_is_sent_after_an_attempt_that_ended_before_its_own_was(outbox: Outbox) -> None:
    """What one attempt left unsent does not hold up what the next one reports."""
    messages(outbox)
    outbox.report_progress(b"token-1", execution_pb2.Progress(fraction=0.1))
    messages(outbox)
    outbox._next_progress = asyncio.get_running_loop().time() + 0.01  # Most of a second has passed.
    outbox.report_progress(b"token-1", execution_pb2.Progress(fraction=0.2))
    outbox.complete(completion(1))
    messages(outbox)
    outbox.wake.clear()
    await outbox.wake.wait()
    assert messages(outbox) == []
    outbox.wake.clear()
    outbox.report_progress(b"token-2", execution_pb2.Progress(fraction=0.5))
    async with asyncio.timeout(5):
        await outbox.wake.wait()
    assert [message.heartbeats[0].progress.fraction for message in messages(outbox)] == [0.5]
