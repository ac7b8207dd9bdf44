"""What is raised in a body that is told to stop."""

from __future__ import annotations


class AttemptStopped(BaseException):
    """Raised in the body of a synchronous task when its attempt is stopped: timed out, cancelled, or given back.

    The body has `grace` seconds (5 unless the worker is set up otherwise) to put things in order, by `finally` or
    `with`; then its process is killed. Like `KeyboardInterrupt` it is no `Exception`, so that `except Exception` lets
    it pass. In an asynchronous body `asyncio.CancelledError` is raised instead.
    """
