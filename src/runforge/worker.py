"""The worker: `python -m runforge.worker JOB.json` does the steps of one job.

It ends with the exit code of its result, which it also writes beside the job with the one line
of cause: a worker without a result was killed, whatever its exit code says.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import traceback
from pathlib import Path

from runforge.errors import Interrupted, RunforgeError
from runforge.job import Job, Result

STEPS = {"train": "runforge.fitting", "evaluate": "runforge.evaluating"}
"""The module of each step, imported when it is due: evaluating needs nothing of training."""


def main(arguments: list[str]) -> int:
    """Does the job in the file that the one argument names; returns the exit code."""
    job = Job.read(Path(arguments[0]))
    _set_threads(job)
    result = _attempt(job)
    result.write(job.result)
    return result.exit_code


def _attempt(job: Job) -> Result:
    tags: dict[str, str] = {}
    try:
        for step in job.steps:
            tags.update(importlib.import_module(STEPS[step]).run(job))
    except RunforgeError as error:
        return Result(error.exit_code, str(error))
    except KeyboardInterrupt:
        interrupted = Interrupted(signal.SIGINT)
        return Result(interrupted.exit_code, str(interrupted))
    except Exception as error:  # noqa: BLE001 - the border of the process: told, recorded, exit 1
        traceback.print_exc()
        return Result(1, " ".join(f"{type(error).__name__}: {error}".split()))
    return Result(0, tags=tags)


def _set_threads(job: Job) -> None:
    """Before torch is imported: its thread pools read the environment once."""
    threads = job.configuration["machine"]["threads"]
    if threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(threads)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
