"""Signals to every process of a run, in every phase: true status, nobody left, nothing locked.

SIGINT to `dvc` alone is left out: DVC ignores it while a stage runs, and the run goes on.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psutil
import yaml

from tests.conftest import Project
from tests.jobs import digits_project
from tests.trees import everything_below, left_in, start_in

TARGETS = ("dvc", "driver", "rank-0", "rank-1", "group")
NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGKILL)
TWO = ("machine=cpu", "machine.devices=2", "machine.restarts=0")
LONG, NEVER = "trainer.max_epochs=100000", "evaluation.resamples=100"
PHASES = {
    "setup": (LONG, NEVER),
    "training": (LONG, NEVER),
    "validation": (LONG, NEVER, "trainer.steps_per_epoch=1", "data.split.validation=0.6"),
    "evaluation": ("trainer.max_epochs=1", "evaluation.resamples=3000000"),
}
QUICK = (
    ("training", "dvc", signal.SIGTERM),
    ("training", "rank-1", signal.SIGINT),
    ("validation", "driver", signal.SIGKILL),
    ("evaluation", "group", signal.SIGINT),
)
"""Every signal once, one rank for both. To `dvc` in training: its evaluation is the longest way."""
GONE = ("evaluation", "rank-1")
"""It has said what it had to say, and ended, when rank 0 computes the figures."""
STATUS_S, GONE_S = 5.0, 10.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a run after a signal."""

    exit_code: int
    status: str
    status_s: float
    gone_s: float
    left: list[str]
    locked: bool


def rows(quick: bool) -> Iterator[tuple[str, str, bool]]:
    """Each phase, target and signal once."""
    every = [(p, t, n) for p in PHASES for t in TARGETS for n in NUMBERS]
    left_out = [c for c in every if c[1:] == ("dvc", signal.SIGINT) or c[:2] == GONE]
    cases = QUICK if quick else [c for c in every if c not in left_out]
    with tempfile.TemporaryDirectory() as name:
        project = digits_project(Path(name))
        project.run("dvc", "add", "--quiet", "data")
        chance = random.Random(3)
        for phase, target, number in cases:
            found = case(project, phase, target, number, chance)
            told = (
                f"exit {found.exit_code}, {found.status} after {found.status_s:.1f} s, "
                f"all gone after {found.gone_s:.1f} s"
            )
            what = f"{signal.Signals(number).name} to {target} in {phase}"
            yield what, told, holds(found, target, number)


def holds(found: Outcome, target: str, number: int) -> bool:
    """Whether it is as it must be."""
    died = number == signal.SIGKILL and target in ("driver", "group")
    killed = "FAILED" if number == signal.SIGKILL and target != "dvc" else "KILLED"
    code = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGKILL: 1}[signal.Signals(number)]
    return (
        not found.left
        and not found.locked
        and found.gone_s <= GONE_S
        and found.status == killed
        # Who was killed says nothing: the next command does.
        and (died or found.status_s <= STATUS_S)
        and (found.exit_code == code or (found.exit_code != 0 and (died or target == "dvc")))
    )


def case(project: Project, phase: str, target: str, number: int, chance: random.Random) -> Outcome:
    """One run of two ranks, and one signal."""
    settings = (*PHASES[phase], *TWO, "fresh=true")
    with _started(project, target, settings) as process:
        try:
            _await(project, process, phase)
            time.sleep(chance.uniform(0, 0.5))
            _send(project, process, target, number)
            status_s, gone_s = _watch(project, time.monotonic())
            code = process.wait(60)
        finally:
            for one in _below(process):
                one.kill()
    left = left_in(project.folder, within_s=0)
    if _status(project) == "RUNNING":
        project.runforge("sync")
    return Outcome(code, _status(project), status_s, gone_s, left, _locked(project, phase))


def _started(project: Project, target: str, settings: tuple[str, ...]) -> subprocess.Popen[str]:
    _clean(project)
    if target == "dvc":
        _write_params(project, settings)
        return start_in(project.folder, sys.executable, "-m", "dvc", "repro")
    return start_in(project.folder, sys.executable, "-m", "runforge", "train", *settings)


def _write_params(project: Project, settings: tuple[str, ...]) -> None:
    """As `dvc exp run -S` does: DVC's own composing is not what is tried here."""
    groups = [s for s in settings if s.startswith(("machine=", "fresh="))]
    conf = project.folder / "conf" / "config.yaml"
    text = conf.read_text().split("# signals\n")[0].replace("fresh: false", "fresh: true")
    values = yaml.safe_dump(_nested(s for s in settings if s not in groups))
    conf.write_text(f"{text.rstrip()}\n# signals\n{values}")


def _nested(settings: Iterator[str]) -> dict[str, object]:
    found: dict[str, object] = {}
    for setting in settings:
        key, _, value = setting.partition("=")
        *path, last = key.split(".")
        node = found
        for part in path:
            node = node.setdefault(part, {})  # type: ignore[assignment]
        node[last] = yaml.safe_load(value)
    return found


def _clean(project: Project) -> None:
    for name in ("train-done.json", "journal.jsonl", "job.json"):
        for path in (project.folder / "out" / "runs").glob(f"*/{name}"):
            path.unlink()
    for name in ("dvc.lock", ".dvc/tmp/rwlock"):
        (project.folder / name).unlink(missing_ok=True)


def _await(project: Project, process: subprocess.Popen[str], phase: str) -> None:
    """Waits until the run has come to a phase."""
    runs = project.folder / "out" / "runs"
    name = {"setup": "job.json", "evaluation": "train-done.json"}.get(phase, "journal.jsonl")
    lines = 3 if name == "journal.jsonl" else 0
    while process.poll() is None:
        if any(path.read_bytes().count(b"\n") >= lines for path in runs.glob(f"*/{name}")):
            return
        time.sleep(0.02)
    raise AssertionError(f"it ended before its {phase}")


def _send(project: Project, process: subprocess.Popen[str], target: str, number: int) -> None:
    if target == "group":
        os.killpg(process.pid, number)
    elif target in ("dvc", "driver"):
        os.kill(process.pid, number)
    else:
        while not (found := [p for p in _below(process) if p.name() == target]):
            time.sleep(0.02)
        os.kill(found[0].pid, number)


def _below(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return everything_below(process.pid)


def _watch(project: Project, began_s: float) -> tuple[float, float]:
    """After how long the run had ended, and all its processes had."""
    status_s = gone_s = float("inf")
    while time.monotonic() - began_s < 4 * GONE_S and gone_s == float("inf"):
        now_s = time.monotonic() - began_s
        if status_s == float("inf") and _status(project) != "RUNNING":
            status_s = now_s
        if not left_in(project.folder, within_s=0):
            gone_s = now_s
        time.sleep(0.05)
    return status_s, gone_s


def _status(project: Project) -> str:
    query = "SELECT status FROM runs ORDER BY start_time DESC LIMIT 1"
    with closing(sqlite3.connect(project.folder / "mlflow.db")) as connection:
        return str(connection.execute(query).fetchone()[0])


def _locked(project: Project, phase: str) -> bool:
    """Whether DVC takes the stage that was ended for done."""
    lock = project.folder / "dvc.lock"
    stages = yaml.safe_load(lock.read_text())["stages"] if lock.is_file() else {}
    return ("evaluate" if phase == "evaluation" else "train") in stages
