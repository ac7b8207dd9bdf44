"""Runs a worker as a program: until a signal drains it."""

from __future__ import annotations

import asyncio
import gc
import signal

from lacewing.worker._worker import Worker

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


async def serve(worker: Worker) -> None:
    """Run a worker until it is drained. The first SIGTERM or SIGINT drains it, the second stops it at once.

    Raises:
        LacewingError: As `Worker.run`.
    """
    loop = asyncio.get_running_loop()

    def on_signal(number: signal.Signals) -> None:
        if number_of_signals:
            worker.stop(f"the worker got {number.name} again")
        else:
            worker.drain(f"the worker got {number.name}")
        number_of_signals.append(number)

    number_of_signals: list[signal.Signals] = []
    for number in _SIGNALS:
        loop.add_signal_handler(number, on_signal, number)
    try:
        await worker.run()
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


def run_worker(worker: Worker) -> None:
    """Run a worker as the whole of a program; see `serve`.

    Raises:
        LacewingError: As `Worker.run`.
    """
    # What was imported lives as long as the process: to look for cycles in it again and again would find nothing. How
    # often the collector looks at what is new is for the bodies to say, some of which run here.
    gc.collect()
    gc.freeze()
    asyncio.run(serve(worker))
