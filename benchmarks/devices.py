"""Many devices against one: exactness, throughput, start, and ranks killed at random moments.

`python benchmarks/devices.py [--quick] [--json] [PART…]`, from the project's folder, with the parts
exactness, throughput, start, kills, together (default: all). Needs no GPU: a device is a process
on the CPU, which takes the same path. Data: scikit-learn's digits.
"""

from __future__ import annotations

import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
# As the driver sets them for its workers; here they are forked from one warm process.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import numpy as np  # noqa: E402
import psutil  # noqa: E402
from mlflow.tracking import MlflowClient  # noqa: E402

from benchmarks import table  # noqa: E402
from benchmarks.table import Part  # noqa: E402
from runforge.job import Job  # noqa: E402
from tests.conftest import Project  # noqa: E402
from tests.jobs import SIZES, digits_project, fit, make_job, prepare_digits, say  # noqa: E402
from tests.processes import together  # noqa: E402
from tests.trees import start_in  # noqa: E402

ALONE = ("machine=cpu", "trainer.log_every_steps=1")
BATCH = "data.batch_size=50"
SGD = ("optimizer=sgd", "optimizer.learning_rate=0.05", "optimizer.fused=false")
CASES = {
    "cnn, dropout, augmentation": (BATCH, *SGD, "network.dropout=0.3", "augmentation=digits"),
    "mlp, 3 batches a step, clipped": (
        *(BATCH, "optimizer.learning_rate=0.001", "network=mlp"),
        *("trainer.accumulate=3", "trainer.gradient_clip_norm=0.5"),
    ),
    "smooth mlp, dropout, 3 batches a step, clipped": (
        *(BATCH, "optimizer.learning_rate=0.001", "network=mlp", "network.activation=gelu"),
        *("network.dropout=0.3", "augmentation=digits"),
        *("trainer.accumulate=3", "trainer.gradient_clip_norm=0.5"),
    ),
}


def fit_rolled(rank: int, count: int, job: Job) -> dict[str, str]:
    """A training whose batches hold the same samples in another order: sums round differently."""
    from runforge import orders

    whole = orders.BatchOrder._batch
    orders.BatchOrder._batch = lambda self, step: np.roll(whole(self, step), 1)  # type: ignore
    return fit(rank, count, job)


def train(folder: Path, count: int, *overrides: str, how: Any = fit) -> Job:
    """A training shared by `count` processes."""
    job = make_job(folder, *ALONE, f"machine.devices={count}", *overrides)
    job.write()
    together(how, count, Path(job.run_folder) / "ranks", job)
    return job


def losses(job: Job) -> dict[int, tuple[float, int]]:
    """Loss, and milliseconds since 1970, of each step."""
    entries = [json.loads(line) for line in job.journal.read_text().splitlines()]
    name = "train/step_loss"
    steps = [entry for entry in entries if name in entry["metrics"]]
    return {entry["step"]: (entry["metrics"][name], entry["timestamp_ms"]) for entry in steps}


def apart(one: Job, other: Job) -> float:
    """The largest relative difference between two trainings' losses at any step."""
    mine, theirs = losses(one), losses(other)
    assert mine.keys() == theirs.keys()
    return max(abs(mine[s][0] - theirs[s][0]) / abs(mine[s][0]) for s in mine)


def exactness(quick: bool) -> Iterator[tuple[str, str, bool]]:
    """Losses of every step and predictions, on 1, 2 and 3 processes."""
    epochs = f"trainer.max_epochs={2 if quick else 8}"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare_digits(folder)
        for case, overrides in CASES.items():
            three = "24" if "accumulate" in str(overrides) and not quick else None
            length = f"trainer.max_epochs={three}" if three else epochs
            alone = train(folder, 1, *overrides, length)
            steps = len(losses(alone))
            rolled = apart(alone, train(folder, 1, *overrides, length, how=fit_rolled))
            yield f"{case}: control, 1 process", f"losses differ by {rolled:.1e}", True
            for count in (2, 3):
                for strategy in ("ddp", "fsdp"):
                    how = f"machine.strategy={strategy}"
                    found = apart(alone, train(folder, count, *overrides, length, how))
                    what = f"{case}: {steps} steps, {count} processes, {strategy}"
                    yield what, f"losses differ by {found:.1e}", found <= 1e-5
        given = Path(alone.model), folder / "prepared"
        (one,) = together(say, 1, folder / "said-1", *given)
        for count in (2, 3):
            said = together(say, count, folder / f"said-{count}", *given)
            pairs = (pair for rank in said for pair in zip(one, rank, strict=True))
            same = all(np.array_equal(mine, theirs) for mine, theirs in pairs)
            what = f"predictions of {', '.join(map(str, SIZES))} samples, {count} processes"
            yield what, "bit for bit" if same else "differ", same


def rate(job: Job, skip: int = 5) -> float:
    """Steps each second, once the first ones are done."""
    times = [stamp for _, stamp in losses(job).values()]
    return (len(times) - 1 - skip) / (times[-1] - times[skip]) * 1000


def throughput(quick: bool) -> Iterator[tuple[str, str, bool]]:
    """Two processes with a thread each against one with two, in turns."""
    size = ("data.modality.height=32", "data.modality.width=32", "data.batch_size=128")
    length = ("trainer.max_epochs=1", f"trainer.steps_per_epoch={20 if quick else 40}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare_digits(folder, *size)
        one, two = [], []
        for _ in range(1 if quick else 5):
            one.append(rate(train(folder, 1, *size, *length, "machine.threads=2")))
            two.append(rate(train(folder, 2, *size, *length, "machine.threads=1")))
    ratio = statistics.median(two) / statistics.median(one)
    for what, rates in (("1 process × 2 threads", one), ("2 processes × 1 thread", two)):
        low, mid, high = min(rates), statistics.median(rates), max(rates)
        yield what, f"{low:.2f} / {mid:.2f} / {high:.2f} steps/s", True
    yield "throughput, 2 processes : 1", f"{ratio:.3f}", ratio >= 0.9


def warm_project(folder: Path) -> Project:
    """A project with 300 digits, prepared, and its store made."""
    project = digits_project(folder)
    project.runforge("train", *SHORT)
    return project


SHORT = ("machine=cpu", "trainer.max_epochs=2", "evaluation.resamples=100")


def start(quick: bool) -> Iterator[tuple[str, str, bool]]:
    """From the command to the first step done, on one process and on two, in turns."""
    times: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as name:
        project = warm_project(Path(name))
        for _ in range(2 if quick else 7):
            for count, found in times.items():
                found.append(_first_step_s(project, count))
    for count, found in times.items():
        low, mid, high = min(found), statistics.median(found), max(found)
        yield f"start on {count}", f"{low:.2f} / {mid:.2f} / {high:.2f} s", True
    ratio = statistics.median(times[2]) / statistics.median(times[1])
    yield "start, 2 processes : 1", f"{ratio:.2f}", ratio <= 1.3


def _first_step_s(project: Project, count: int) -> float:
    began = time.time()
    devices = f"machine.devices={count}"
    done = project.runforge("train", *SHORT, devices, "trainer.log_every_steps=1")
    journal = project.folder / "out" / "runs" / done.stdout.strip() / "journal.jsonl"
    first = json.loads(journal.read_text().splitlines()[0])
    return float(first["timestamp_ms"] / 1000 - began)


def kills(quick: bool) -> Iterator[tuple[str, str, bool]]:
    """One of two ranks, killed at a random moment of the whole command."""
    chance = random.Random(0)
    trials, finished = 3 if quick else 20, 0
    with tempfile.TemporaryDirectory() as name:
        project = warm_project(Path(name))
        for _ in range(trials):
            finished += _survives(project, chance)
    yield f"a rank killed at {trials} random moments", f"{finished} finished", finished == trials


def _survives(project: Project, chance: random.Random) -> bool:
    often = ("trainer.max_epochs=20", "machine.checkpoint_interval_s=0", "machine.timeout_s=60")
    before = len(_runs(project))
    process = _started(project, *SHORT[::2], *often)
    time.sleep(chance.uniform(1.0, 9.0))
    _kill_one(project, process, chance)
    out, err = process.communicate(timeout=180)
    runs = _runs(project)
    left = _left(project)
    fine = (
        process.returncode == 0
        and len(runs) == before + 1
        and runs[0].info.run_id == out.strip()
        and runs[0].info.status == "FINISHED"
        and not left
    )
    if not fine:
        print(process.returncode, len(runs) - before, left, err[-1500:], file=sys.stderr)
    return fine


def _started(project: Project, *overrides: str) -> subprocess.Popen[str]:
    command = (sys.executable, "-m", "runforge", "train", "machine.devices=2", *overrides)
    return start_in(project.folder, *command, out=subprocess.PIPE, err=subprocess.PIPE)


def _kill_one(project: Project, process: subprocess.Popen[str], chance: random.Random) -> None:
    """Kills a rank, as soon as there is one."""
    while process.poll() is None:
        every = psutil.process_iter(["name", "cwd"])
        here = [p for p in every if p.info["cwd"] == str(project.folder)]
        ranks = [p.pid for p in here if p.info["name"].startswith("rank-")]
        if len(ranks) == 2:
            os.kill(chance.choice(ranks), signal.SIGKILL)
            return
        time.sleep(0.05)


def _runs(project: Project) -> list[Any]:
    client = MlflowClient(f"sqlite:///{project.folder}/mlflow.db")
    experiments = [e.experiment_id for e in client.search_experiments()]
    return list(client.search_runs(experiments, order_by=["attributes.start_time DESC"]))


def _left(project: Project) -> list[str]:
    """Processes that still work in the project."""
    time.sleep(0.5)
    every = psutil.process_iter(["name", "cwd"])
    return [p.info["name"] for p in every if p.info["cwd"] == str(project.folder)]


def at_once(quick: bool) -> Iterator[tuple[str, str, bool]]:
    """Three runs of two processes each, at the same time on the same machine."""
    with tempfile.TemporaryDirectory() as name:
        project = warm_project(Path(name))
        processes = [_started(project, *SHORT) for _ in range(3)]
        codes = [process.communicate(timeout=300) and process.returncode for process in processes]
        runs = _runs(project)[:3]
        left = _left(project)
    fine = codes == [0, 0, 0] and {r.info.status for r in runs} == {"FINISHED"} and not left
    yield "three runs of 2 processes at once", f"exit codes {codes}", fine


PARTS: dict[str, Part] = {
    "exactness": exactness,
    "throughput": throughput,
    "start": start,
    "kills": kills,
    "together": at_once,
}


def main() -> int:
    """Prints a table, or with --json one object; returns 1 where a measure is not reached."""
    options = table.options(__doc__, PARTS)
    rows = table.rows(PARTS, options, verdict="reached", otherwise="NOT REACHED")
    if options.json:
        ratios = (float(row["found"]) for row in rows if " : 1" in row["what"])
        print(json.dumps({"ratio": next(ratios, None), "rows": rows}))
    return 0 if all(row["reached"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
