"""The driver: starts a run's worker, watches it, and ends the MLflow run with its true status.

It imports neither torch nor Lightning. Metrics reach the store from here, by a thread that reads
the worker's journal.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from runforge.errors import Interrupted, RunforgeError
from runforge.job import Job, Result
from runforge.tracking.forward import Forwarder
from runforge.tracking.run import Run
from runforge.tracking.system import system_metrics

GRACE_S = 10.0
"""How long a worker may take to end after it was told to."""


class WorkerFailed(RunforgeError):
    """The worker ended without having done its work; carries its exit code and cause."""

    def __init__(self, result: Result) -> None:
        self.exit_code = result.exit_code
        super().__init__(result.cause)


def work(job: Job, run: Run) -> None:
    """Runs the job's worker to its end, sending its metrics to `run`.

    Raises `WorkerFailed` with the worker's cause, or `Interrupted` where a signal came.
    """
    job.write()
    with system_metrics(run), Forwarder(job.journal, run):
        result = _watch(job)
    if result.exit_code in (128 + signal.SIGINT, 128 + signal.SIGTERM):
        raise Interrupted(result.exit_code - 128)
    if result.exit_code:
        raise WorkerFailed(result)
    run.set_tags(result.tags)


@contextmanager
def true_status(run: Run) -> Iterator[None]:
    """Ends `run` as what happens inside says: FINISHED, FAILED or KILLED, with the cause."""
    try:
        yield
    except (Interrupted, KeyboardInterrupt) as error:
        run.end("KILLED", str(error) or "interrupted by SIGINT")
        raise
    except BaseException as error:
        run.end("FAILED", str(error) or type(error).__name__)
        raise
    run.end("FINISHED")


@contextmanager
def signals_as_errors() -> Iterator[None]:
    """Turns SIGTERM into `Interrupted`, so that it passes through every `finally`."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt as error:
        raise Interrupted(signal.SIGINT) from error
    finally:
        signal.signal(signal.SIGTERM, before)


def _watch(job: Job) -> Result:
    command = [sys.executable, "-m", "runforge.worker", str(job.file)]
    # Results go to standard output; all that a worker says is progress.
    # Threads that spin while they wait lose whole time slices as soon as anything else runs: with
    # one busy process beside it, a small network trained 2.7 times as slowly as with waiting ones.
    environment = {"OMP_WAIT_POLICY": "passive", **os.environ}
    process = subprocess.Popen(command, stdout=sys.stderr.fileno(), env=environment)
    try:
        code = process.wait()
    finally:
        _end(process)
    result = Result.read(job.result)
    if result is None or result.exit_code != code:
        return _lost(code)
    return result


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _lost(code: int) -> Result:
    """The worker ended without a word."""
    if code < 0:
        name = signal.Signals(-code).name
        hint = " (out of memory?)" if -code == signal.SIGKILL else ""
        ended_by_us = code in (-signal.SIGTERM, -signal.SIGINT)
        return Result(128 - code if ended_by_us else 1, f"the worker was ended by {name}{hint}")
    return Result(1, f"the worker ended without a result (exit code {code})")
