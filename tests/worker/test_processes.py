"""Bodies in child processes: they crash, hang, leak and shout, and the worker lives on."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

import lacewing
from lacewing.v1 import worker_service_pb2
from lacewing.worker import WorkerStartError
from lacewing.worker._attempt import Attempt
from worker import process_bodies as bodies
from worker.pool import Pool, is_running, lease, running, until, written

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool() -> AsyncIterator[Pool]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LACEWING_INLINE_LIMIT", str(1 << 30))  # there is no server that would keep large values
        async with running() as pool:
            yield pool


def kind(completion: worker_service_pb2.Completion) -> str | None:
    """Returns what came of an attempt."""
    return completion.WhichOneof("result")


async def test_bodies_run_and_their_process_stays(pool: Pool) -> None:
    """Synchronous and asynchronous bodies give their outputs; one warm process runs one after the other."""
    assert await pool.value(bodies.double, number=21) == 42
    assert await pool.value(bodies.double_soon, number=21) == 42
    first = await pool.value(bodies.process_id)
    assert await pool.value(bodies.process_id) == first


async def test_large_values_pass(pool: Pool) -> None:
    """Five megabytes go in and come out."""
    text = "large " * 900_000
    assert await pool.value(bodies.length, text=text) == text + "l"


async def test_what_a_body_writes_is_its_log(pool: Pool) -> None:
    """Output of Python and of programs that the body starts is kept, of each body apart, also when it succeeds."""
    said = await pool.run(bodies.say, text="hello")
    assert said.log_tail.splitlines() == ["hello", "to the error stream", "by another program"]
    assert (await pool.run(bodies.quiet)).log_tail == ""


async def test_a_long_log_is_cut_at_the_front(pool: Pool) -> None:
    """Of a long log the last 16 KiB are kept, in whole characters."""
    log = (await pool.run(bodies.say, text="ü" * 100_000)).log_tail
    assert len(log.encode()) <= 16 * 1024
    assert log.endswith("üü\nto the error stream\nby another program\n")
    assert log.startswith("ü")


async def test_a_log_can_be_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """What bodies write can be shown line by line, each with the attempt that wrote it."""
    async with running(echo=True) as pool:
        attempt = pool.start(bodies.say, text="hello")
        await pool.result(attempt)
    assert f"[say {attempt.lease.execution.name}#1] hello\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("task", "inputs", "words"),
    [
        (bodies.exit_hard, {"code": 3}, "exit code 3"),
        (bodies.exit_hard, {"code": 0}, "exit code 0"),
        (bodies.segfault, {}, "SIGSEGV"),
        (bodies.kill_itself, {"number": signal.SIGKILL}, "SIGKILL"),
    ],
)
async def test_a_crash_is_the_failure_of_one_attempt(
    pool: Pool, task: lacewing.Task[..., object], inputs: dict[str, int], words: str
) -> None:
    """A process that ends under its body fails the attempt, which may be repeated; the next body runs."""
    crashed = await pool.run(task, **inputs)
    assert (crashed.error.code, crashed.error.recoverable) == ("WorkerCrashed", True)
    assert words in crashed.error.message
    assert await pool.value(bodies.double, number=2) == 4


async def test_a_crash_keeps_the_log(pool: Pool) -> None:
    """What a body said before its process ended is not lost."""
    assert (await pool.run(bodies.exit_hard, code=9)).log_tail == "the last words\n"


async def test_sys_exit_is_an_ordinary_failure(pool: Pool) -> None:
    """`sys.exit` in a body fails the attempt, and does not end the process."""
    before = await pool.value(bodies.process_id)
    assert (await pool.run(bodies.exit_soft)).error.code == "SystemExit"
    assert await pool.value(bodies.process_id) == before


async def test_sigterm_from_outside_gives_the_attempt_back(pool: Pool, tmp_path: Path) -> None:
    """When somebody else stops the process, as a service manager does with all of a service, nothing has failed."""
    attempt = pool.start(bodies.sleep, marker=str(tmp_path / "marker"))
    process = int(await written(tmp_path / "marker"))
    os.kill(process, signal.SIGTERM)
    assert kind(await pool.result(attempt)) == "abandoned"
    assert await pool.value(bodies.double, number=2) == 4


@pytest.mark.parametrize("task", [bodies.sleep, bodies.sleep_async])
async def test_a_stopped_body_may_put_things_in_order(
    pool: Pool, task: lacewing.Task[..., object], tmp_path: Path
) -> None:
    """A body that is stopped is told by an exception, and the result says where it was and what it had written."""
    marker = tmp_path / "marker"
    attempt = pool.start(task, marker=str(marker))
    await written(marker)
    pool.stop(attempt, grace=20)
    stopped = await pool.result(attempt)
    assert marker.read_text() == "stopped"
    assert "sleep(LONG)" in stopped.timed_out.stack_trace
    assert "lacewing/worker" not in stopped.timed_out.stack_trace.rpartition("sleep(LONG)")[0]


async def test_a_body_that_does_not_stop_is_killed(pool: Pool, tmp_path: Path) -> None:
    """After the grace the process is killed, whatever it does about SIGTERM."""
    attempt = pool.start(bodies.stubborn, marker=str(tmp_path / "marker"))
    process = int(await written(tmp_path / "marker"))
    pool.stop(attempt, grace=0.05)
    await pool.result(attempt)
    assert not is_running(process)


async def test_a_stop_takes_everything_along(pool: Pool, tmp_path: Path) -> None:
    """When a body is stopped, what it started ends with it: its process group, and daemons that left the group."""
    program, daemon = tmp_path / "program", tmp_path / "daemon"
    attempt = pool.start(bodies.family, marker=str(program), daemon_marker=str(daemon), wait=True)
    processes = [int(await written(path)) for path in (daemon, program)]
    assert all(map(is_running, processes))
    pool.stop(attempt, grace=0.05)
    await pool.result(attempt)
    await until(lambda: not any(map(is_running, processes)))


async def test_a_crash_takes_everything_along(pool: Pool, tmp_path: Path) -> None:
    """What a body started ends with its process, also when that ends by itself."""
    program, daemon = tmp_path / "program", tmp_path / "daemon"
    crashed = await pool.run(bodies.family, marker=str(program), daemon_marker=str(daemon), wait=False)
    assert crashed.error.code == "WorkerCrashed"
    processes = [int(path.read_text()) for path in (daemon, program)]
    await until(lambda: not any(map(is_running, processes)))


async def test_a_daemon_lives_as_long_as_the_process_of_its_body(pool: Pool, tmp_path: Path) -> None:
    """The end of one process does not touch what the body of another has started."""
    program, daemon = tmp_path / "program", tmp_path / "daemon"
    attempt = pool.start(bodies.family, marker=str(program), daemon_marker=str(daemon), wait=True)
    await written(program)
    await pool.run(bodies.segfault)
    assert is_running(int(daemon.read_text()))
    pool.stop(attempt, grace=0)
    await pool.result(attempt)


async def test_outputs_of_a_stopped_body_are_kept(pool: Pool, tmp_path: Path) -> None:
    """A body that returns when it is told to stop has its outputs in the result."""
    attempt = pool.start(bodies.finish_when_stopped, marker=str(tmp_path / "marker"))
    await written(tmp_path / "marker")
    pool.stop(attempt, grace=20)
    assert kind(await pool.result(attempt)) == "outputs"


async def test_a_process_retires_after_so_many_bodies() -> None:
    """A process that has run `max_calls` bodies is replaced."""
    async with running(max_calls=2) as pool:
        processes = [await pool.value(bodies.process_id) for _ in range(4)]
        assert processes[0] == processes[1] != processes[2] == processes[3]
        await until(lambda: not is_running(processes[0]))


async def test_a_process_that_grows_retires() -> None:
    """A process whose memory is above the limit is replaced after its body."""
    async with running(max_memory_bytes=200 << 20) as pool:
        small = await pool.value(bodies.grow, megabytes=1)
        grown = await pool.value(bodies.grow, megabytes=300)
        assert small == grown != await pool.value(bodies.process_id)


async def test_progress_arrives_while_the_body_runs(pool: Pool) -> None:
    """What a body reports of itself is told in order, before its result."""
    pool.progress.clear()
    await pool.run(bodies.report)
    assert [(each.fraction, each.message) for each in pool.progress] == [
        (0.25, "step 1"),
        (0.5, "step 2"),
        (0.75, "step 3"),
    ]


async def test_errors_say_what_another_attempt_is_good_for(pool: Pool) -> None:
    """The error has the code, the message, the place without our own frames, whether to repeat, and the causes."""
    plain = (await pool.run(bodies.fail, how="plain")).error
    assert (plain.code, plain.message, plain.recoverable) == ("ValueError", "plain", True)
    assert plain.stack_trace.startswith('Traceback (most recent call last):\n  File "' + bodies.__file__)
    busy = (await pool.run(bodies.fail, how="recoverable")).error
    assert (busy.code, busy.recoverable, busy.retry_delay.ToTimedelta()) == ("Busy", True, timedelta(seconds=2.5))
    broken = (await pool.run(bodies.fail, how="final")).error
    assert (broken.code, broken.recoverable) == ("Broken", False)
    outer = (await pool.run(bodies.fail, how="cause")).error
    assert (outer.code, outer.cause.code, outer.cause.message) == ("ValueError", "KeyError", "'inner'")
    assert not outer.cause.HasField("cause")


async def test_values_that_do_not_fit_are_not_tried_again(pool: Pool) -> None:
    """Outputs that break the annotation, and inputs that the function does not take, are final failures."""
    lied = (await pool.run(bodies.lie)).error
    assert (lied.code, lied.recoverable) == ("OutputsInvalid", False)
    wrong = Attempt(lease(bodies.double, number=1), bodies.double)
    wrong.lease.inputs.CopyFrom(bodies.length.interface.inputs_to_literals({"text": "one"}))
    refused = (await pool.finish(wrong)).error
    assert (refused.code, refused.recoverable) == ("InputsInvalid", False)


async def test_many_bodies_at_a_time() -> None:
    """More bodies than warm processes run side by side, each in its own."""
    async with running(warm=2) as pool:
        attempts = [pool.start(bodies.double, number=number) for number in range(20)]
        results = [await pool.result(attempt) for attempt in attempts]
        assert [bodies.double.interface.literals_to_outputs(result.outputs) for result in results] == [
            2 * number for number in range(20)
        ]


async def test_the_end_of_the_zygote_is_survived(tmp_path: Path) -> None:
    """If the process that forks is killed, running attempts are given back, and new ones run from another."""
    async with running() as pool:
        attempt = pool.start(bodies.with_program, marker=str(tmp_path / "program"))
        process = int(await written(tmp_path / "program"))
        zygote = pool.executor._zygote._process
        assert zygote is not None
        zygote.kill()
        assert kind(await pool.result(attempt)) == "abandoned"
        assert await pool.value(bodies.double, number=2) == 4
        await until(lambda: not is_running(process))
        assert not pool.failures


async def test_the_end_of_a_zygote_that_starts_is_survived() -> None:
    """The one that follows a killed one is killed before it is ready, as by a lack of memory: a third one serves."""
    async with running() as pool:
        killed: list[object] = [None]

        def has_successor() -> bool:
            return pool.executor._zygote._process not in killed

        for _ in range(2):
            zygote = pool.executor._zygote._process
            assert zygote is not None
            killed.append(zygote)
            zygote.kill()
            await until(has_successor)
        assert not pool.executor._is_ready
        assert await pool.value(bodies.double, number=2) == 4
        assert not pool.failures


async def test_a_task_that_is_no_global_name_is_refused_at_the_start() -> None:
    """A child process cannot find a task that is defined inside a function; the message says what to do."""

    @lacewing.task(name="hidden")
    def hidden() -> None: ...

    with pytest.raises(WorkerStartError, match=r"'hidden' as a global name.*isolation=\"thread\""):
        async with running(tasks=[hidden]):
            pass
