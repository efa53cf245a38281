"""The driver: has a run's work done, watches it, and ends the MLflow run with its true status.

It imports neither torch nor Lightning. Metrics reach the store from here, by a thread that reads
the worker's journal.
"""

from __future__ import annotations

import sys

from runforge.errors import Interrupted, RunforgeError
from runforge.job import Job, Result
from runforge.launch import Launched
from runforge.signals import ENDING
from runforge.tracking.forward import Forwarder
from runforge.tracking.run import Run
from runforge.tracking.system import system_metrics


class WorkerFailed(RunforgeError):
    """The worker ended without having done its work; carries its exit code and cause."""

    def __init__(self, result: Result) -> None:
        self.exit_code = result.exit_code
        super().__init__(result.cause)


def work(job: Job, run: Run, launched: Launched) -> None:
    """Has the job done to its end, sending its metrics to `run`; raises as `assist` does."""
    with Forwarder(run, job.journal, job.system_journal), system_metrics(job.system_journal):
        tags = assist(job, launched)
    run.set_tags(tags)


def assist(job: Job, launched: Launched) -> dict[str, str]:
    """Has this node's part of the job done to its end; returns the tags that it noted.

    Raises `WorkerFailed` with the workers' cause, or `Interrupted` where a signal came.
    """
    result = launched.do(job)
    if result.exit_code - 128 in ENDING:
        raise Interrupted(result.exit_code - 128)
    if result.exit_code:
        print(result.trace, end="", file=sys.stderr)
        raise WorkerFailed(result)
    return result.tags
