"""Trainings to which something happens, and what became of them."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from mlflow.tracking import MlflowClient

from tests.conftest import Project
from tests.trees import start_in

Row = tuple[str, str, bool]
Happening = Callable[[subprocess.Popen[str]], bool]
"""Looks at a command that runs and, when the time has come, does it harm; whether it has."""

SHORT = ("machine=cpu", "evaluation.resamples=100", "machine.checkpoint_interval_s=0.05")
EPOCHS = "trainer.max_epochs=60"
AT_WORK = 5
"""Lines in the journal of a training that goes on."""


def train(
    project: Project,
    *overrides: str,
    before: Callable[[], None] | None = None,
    meanwhile: Happening | None = None,
    **environment: str,
) -> subprocess.CompletedProcess[str]:
    """A run to which something happens: `meanwhile` is called until it returns True."""
    command = (sys.executable, "-m", "runforge", "train", *overrides)
    # Not in the project's folder, whose disk may be the one that is full.
    with tempfile.TemporaryFile("w+") as said:
        process = start_in(project.folder, *command, err=said, before=before, **environment)
        happened = meanwhile is None
        while process.poll() is None:
            happened = happened or (meanwhile is not None and meanwhile(process))
            _pause(process)
        said.seek(0)
        # torch's loading processes write the zero byte that ends their last words in C too.
        text = said.read().replace("\0", "")
    return subprocess.CompletedProcess(command, process.returncode, "", text)


def _pause(process: subprocess.Popen[str]) -> None:
    try:
        process.wait(0.05)
    except subprocess.TimeoutExpired:
        return


def told(
    what: str,
    project: Project,
    done: subprocess.CompletedProcess[str],
    text: str,
    status: tuple[str, ...] = ("FAILED",),
) -> Row:
    """One line of cause, a failed run, no traceback."""
    last, found = done.stderr.splitlines()[-1], newest_status(project)
    fine = done.returncode == 1 and is_one_line(done, text) and found in status
    return what, f"exit {done.returncode}, {found}: {last[:160]}", fine


def is_one_line(done: subprocess.CompletedProcess[str], text: str) -> bool:
    """Whether a command ended with one line that holds the text."""
    last = done.stderr.splitlines()[-1]
    return last.startswith("runforge: ") and text in last and "Traceback" not in done.stderr


def goes_on(what: str, project: Project, overrides: tuple[str, ...]) -> Row:
    """The same command once more: it goes on with the run, and finishes."""
    done = train(project, *overrides)
    resumed = "going on with run" in done.stderr or "it begins anew" in done.stderr
    fine = done.returncode == 0 and resumed and newest_status(project) == "FINISHED"
    return f"the same command {what}", f"exit {done.returncode}, {newest_status(project)}", fine


def newest_run(project: Project) -> Path:
    """The folder of the run that was at work last."""
    folders = [p for p in (project.folder / "out" / "runs").glob("*") if p.is_dir()]
    return max(folders, key=lambda folder: folder.stat().st_mtime, default=Path("/nowhere"))


def is_at_work(project: Project) -> bool:
    """Whether the newest run trains."""
    journal = newest_run(project) / "journal.jsonl"
    return journal.is_file() and journal.read_bytes().count(b"\n") >= AT_WORK


def statuses(project: Project) -> list[str]:
    """Of all runs in the project's store, the newest first."""
    client = MlflowClient(f"sqlite:///{project.folder}/mlflow.db")
    experiments = [e.experiment_id for e in client.search_experiments()]
    found = client.search_runs(experiments, order_by=["attributes.start_time DESC"])
    return [str(run.info.status) for run in found]


def newest_status(project: Project) -> str:
    """Of the run that was started last."""
    return statuses(project)[0]
