"""SIGKILL at random moments: the same command goes on, and ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from mlflow.tracking import MlflowClient

from runforge.job import Job
from tests.conftest import Project
from tests.jobs import digits_project, make_job, prepare_digits
from tests.trees import everything_below, left_in, start_in
from tests.warm import Attempt

OFTEN = "machine.checkpoint_interval_s=0.05"
SMALL = ("machine=cpu", "data.batch_size=20", "trainer.max_epochs=3", "trainer.log_every_steps=1")
NETWORKS = {
    "cnn": ("network=cnn", "network.filters=[4,8]", "network.dense=16", "augmentation=digits"),
    "mlp": ("network=mlp", "network.hidden=[32]", "network.dropout=0.2"),
}
TRIALS = {1: 1000, 2: 100, 3: 100, 4: 100}
SIDE_BY_SIDE = 6
"""Processes of trainings at once."""
COMPOSING = threading.Lock()
"""Hydra composes one configuration at a time in a process."""
QUICK_TRIALS = {1: 2, 2: 1}
"""Both networks, with loading processes and without; and a group."""
MEASURED = "system/"
"""How the metrics begin that are another each time."""
OUTPUTS = ("model/weights.safetensors", "model/history.csv", "evaluation/predictions.parquet")


def rows(quick: bool) -> Iterator[tuple[str, str, bool]]:
    """Of trainings forked from a warm process, and of the whole pipeline."""
    for count, trials in (QUICK_TRIALS if quick else TRIALS).items():
        yield from trainings(count, trials)
    yield from pipeline(1 if quick else 50)


def trainings(count: int, trials: int) -> Iterator[tuple[str, str, bool]]:
    """Trainings of `count` ranks; half of them are a CNN, half use two loading processes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare_digits(folder, "machine=cpu", each=30)
        tried = list(NETWORKS)[:trials]
        _whole(folder, tried[0], count)  # the first waits for the imports
        expected = {network: _whole(folder, network, count) for network in tried}

        def one(trial: int) -> tuple[bool, int]:
            network, workers = list(NETWORKS)[trial % 2], (trial + trial // 2) % 2 * 2
            often = (OFTEN, f"machine.workers={workers}")
            job = _job(folder, count, *NETWORKS[network], *often)
            chance = random.Random(1000 * count + trial)
            killed = _killed_until_done(job, count, expected[network][1], chance)
            same = _results(job) == expected[network][0]
            shutil.rmtree(job.run_folder)
            return same, killed

        # Most of the time they wait for the moment to kill, or for a disk.
        with ThreadPoolExecutor(max(1, SIDE_BY_SIDE // count)) as pool:
            found = list(pool.map(one, range(trials)))
    same, killed = sum(same for same, _ in found), sum(killed for _, killed in found)
    told = f"{same} bit-identical after {killed} kills"
    yield f"{trials} trainings, {count} processes", told, same == trials and killed > 0


def pipeline(trials: int) -> Iterator[tuple[str, str, bool]]:
    """The whole tree of a `dvc repro`, killed so many times."""
    chance, same, left, running = random.Random(7), 0, 0, 0
    with tempfile.TemporaryDirectory() as name:
        project = digits_project(Path(name))
        project.edit("conf/machine/auto.yaml", "interval_s: 10.0", "interval_s: 0.1")
        project.run("dvc", "add", "--quiet", "data")
        began_s = time.monotonic()
        project.run("dvc", "repro")
        length_s, expected = time.monotonic() - began_s, _recorded(project)
        for _ in range(trials):
            _forget(project)
            while not _kill_the_tree(project, chance.uniform(0, length_s)):
                _forget(project)  # it had been done by then
            left += len(left_in(project.folder))
            done = project.run("dvc", "repro", code=None)
            same += done.returncode == 0 and _recorded(project) == expected
            running += len(_running(project))
    told = f"{same} bit-identical; {left} orphans; {running} left RUNNING"
    yield f"{trials} kills of `dvc repro`", told, same == trials and not left and not running


def _whole(folder: Path, network: str, count: int) -> tuple[tuple[bytes, ...], float]:
    """What a training that is never interrupted leaves, and how long it takes."""
    rarely = "machine.checkpoint_interval_s=1000"
    job = _job(folder, count, *NETWORKS[network], rarely)
    began_s = time.monotonic()
    assert Attempt(job, count, folder / "whole").wait() == [0] * count
    return _results(job), time.monotonic() - began_s


def _job(folder: Path, count: int, *overrides: str) -> Job:
    with COMPOSING:
        job = make_job(folder, *SMALL, f"machine.devices={count}", *overrides)
    job.write()
    return job


def _killed_until_done(job: Job, count: int, length_s: float, chance: random.Random) -> int:
    """Kills all ranks at random moments, at most three times; returns how often."""
    for kills in range(3):
        attempt = Attempt(job, count, Path(job.run_folder) / f"ranks-{kills}")
        time.sleep(chance.uniform(0, length_s))
        if not attempt.kill():
            return kills
    assert Attempt(job, count, Path(job.run_folder) / "ranks").wait() == [0] * count
    return 3


def _results(job: Job) -> tuple[bytes, ...]:
    model = Path(job.model)
    names = ("weights.safetensors", "history.csv")
    return tuple((model / name).read_bytes() for name in names if (model / name).is_file())


def _forget(project: Project) -> None:
    """As after a clone: nothing is done, and the store remembers."""
    # Without DVC's run cache, which would bring back what is to be done again.
    for name in ("out", ".dvc/cache/runs"):
        shutil.rmtree(project.folder / name, ignore_errors=True)
    for name in ("dvc.lock", ".dvc/tmp/rwlock"):
        (project.folder / name).unlink(missing_ok=True)


def _kill_the_tree(project: Project, after_s: float) -> bool:
    """Starts it and kills it; whether it had still been at work."""
    with start_in(project.folder, sys.executable, "-m", "dvc", "repro") as process:
        time.sleep(after_s)
        if process.poll() is not None:
            return False
        for one in everything_below(process.pid):
            os.kill(one.pid, signal.SIGKILL)
    return True


def _recorded(project: Project) -> tuple[list[bytes], list[tuple[object, ...]]]:
    """What the pipeline wrote, and every metric that the store has of its run."""
    outputs = [(project.folder / "out" / name).read_bytes() for name in OUTPUTS]
    run_id = json.loads((project.folder / "out/model/bundle.json").read_text())["run_id"]
    with closing(sqlite3.connect(project.folder / "mlflow.db")) as store:
        query = "SELECT key, step, value FROM metrics WHERE run_uuid = ? ORDER BY key, step, value"
        every = store.execute(query, (run_id,)).fetchall()
    return outputs, [row for row in every if not row[0].startswith(MEASURED)]


def _running(project: Project) -> list[str]:
    client = MlflowClient(f"sqlite:///{project.folder}/mlflow.db")
    experiments = [e.experiment_id for e in client.search_experiments()]
    found = client.search_runs(experiments, "attributes.status = 'RUNNING'")
    return [run.info.run_id for run in found]
