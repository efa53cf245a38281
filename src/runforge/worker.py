"""The worker: `python -m runforge.worker FOLDER` does a job, alone or as one of many.

It imports what its steps need, waits until the driver has put the job into the folder, and ends
with the exit code of its result, which it also writes there with the one line of cause: a worker
without a result was killed, whatever its exit code says.
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import torch

from runforge import allocator, console, ranks, stopping
from runforge.devices import device_type
from runforge.errors import RunforgeError, in_one_line, of_the_machine
from runforge.fingerprint import compare_nodes
from runforge.handover import ATTEMPT, STEP_MODULES, Order, await_job, result_file
from runforge.heartbeat import heartbeat
from runforge.job import Job, Result, Step
from runforge.process import die_with_parent, leave, name_process
from runforge.watch import Watch


def main(arguments: list[str]) -> int:
    """Does the job that comes to the folder; returns the exit code."""
    console.take_over(result=False)
    # A rank's parent is only lost when its agent was killed, which would have told it to stop.
    die_with_parent(signal.SIGKILL if ranks.in_group() else signal.SIGTERM)
    folder = Path(arguments[0])
    _use_threads(os.environ.get("OMP_NUM_THREADS", ""))
    allocator.keep_freed_memory()
    order, attempt = Order.read(folder), int(os.environ.get(ATTEMPT, "0"))
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    watch = Watch(result_file(folder, local_rank, attempt), order.machine.stop_s)
    watch.start()
    result = _attempt(folder, order, attempt)
    if result.exit_code:
        watch.end(result)  # other ranks may wait for this one: nothing here may wait for them
    watch.done(result)
    return 0


def _use_threads(told: str) -> None:
    """As `OMP_NUM_THREADS` says, of which a fork has read an older one.

    OpenMP takes a list (`4,2`: inner regions too) and passes over what is no number.
    """
    first = told.partition(",")[0].strip()
    if first.isdecimal() and int(first):
        torch.set_num_threads(int(first))


def _attempt(folder: Path, order: Order, attempt: int) -> Result:
    try:
        return Result(0, tags=_work(folder, order, attempt))
    except RunforgeError as error:
        return Result(error.exit_code, str(error), final=True)
    except Exception as error:  # noqa: BLE001 - the border of the process: told, recorded, exit 1
        known = of_the_machine(error)
        if known is not None:
            return Result(1, known, final=True)
        lost, trace = ranks.is_lost_contact(error), traceback.format_exc()
        final = not (lost or ranks.is_device_fault(error))
        return Result(1, in_one_line(error), final=final, lost_contact=lost, trace=trace)


def _work(folder: Path, order: Order, attempt: int) -> dict[str, str]:
    place = ranks.take_place(order.node_rank)
    name_process(f"rank-{place.rank}")
    modules = {step: importlib.import_module(STEP_MODULES[step]) for step in order.steps}
    # To look through all that was imported for garbage takes a third of a second each time.
    gc.freeze()
    with ExitStack() as inside:
        job = await_job(folder)
        inside.enter_context(heartbeat(place.rank, attempt))
        stopping.HERE.share(place, attempt)
        machine = order.machine
        inside.enter_context(ranks.joined(place, attempt, device_type(machine), machine.timeout_s))
        if machine.nodes > 1:
            compare_nodes(job, order.node_rank)
        tags: dict[str, str] = {}
        for step in job.steps:
            tags.update(_once(job, step, modules[step].run))
    return tags


def _once(job: Job, step: Step, run: Callable[[Job], dict[str, str]]) -> dict[str, str]:
    """Does a step, unless an attempt that was lost later had done it."""
    done = ranks.tell_all(job.done(step) if ranks.is_first() else None)
    if done is not None:
        return done
    tags = run(job)
    if ranks.is_first():
        job.note_done(step, tags)
    return tags


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
