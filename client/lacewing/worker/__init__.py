"""Workers: what runs the bodies of tasks.

`Worker` leases attempts from a server and runs them, in child processes that can be killed or in threads that cannot.
As a program it is `lacewing worker MODULE...`, or `python -m lacewing.worker MODULE...` without the extra `cli`.
"""

from __future__ import annotations

from lacewing.worker._attempt import WorkerStartError
from lacewing.worker._run import run_worker, serve
from lacewing.worker._stopped import AttemptStopped
from lacewing.worker._worker import Worker

__all__ = ["AttemptStopped", "Worker", "WorkerStartError", "run_worker", "serve"]
