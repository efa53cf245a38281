"""What may go wrong in a training: each ends in one line, and the same command goes on after it."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mlflow.tracking import MlflowClient

from runforge.checkpoint_files import newest_whole
from tests.conftest import Project, clean_environment
from tests.jobs import digits_project
from tests.trees import everything_below

SHORT = ("machine=cpu", "evaluation.resamples=100", "machine.checkpoint_interval_s=0.05")
EPOCHS = "trainer.max_epochs=60"
SMALL_DISK_MB = 64
AT_WORK = 5
"""Lines in the journal of a training that goes on."""


def rows(quick: bool) -> Iterator[tuple[str, str, bool]]:
    """The quick form leaves out what needs a long wait or a file system of its own."""
    with tempfile.TemporaryDirectory() as name:
        project = digits_project(Path(name))
        yield from _nan(project)
        yield from _lost_loader(project)
        if not quick:
            yield from _out_of_memory(project)
            yield from _other_file_system(project)
    if not quick:
        yield from _full_disk()


def _nan(project: Project) -> Iterator[tuple[str, str, bool]]:
    wild = ("optimizer=sgd", "optimizer.learning_rate=1e30")
    done = _train(project, *SHORT, *wild)
    yield _told("a loss that is no number", project, done, "lower optimizer.learning_rate")


def _lost_loader(project: Project) -> Iterator[tuple[str, str, bool]]:
    """A loading process is killed; the same command goes on."""
    shutil.rmtree(project.folder / "out" / "runs")
    loaded = (*SHORT, EPOCHS, "machine.workers=1")

    def kill_loader(process: subprocess.Popen[str]) -> bool:
        below = everything_below(process.pid)
        loaders = [p for p in below if p.name().startswith("pt_data_worker")]
        journal = _newest_run(project) / "journal.jsonl"
        if not loaders or not journal.is_file() or journal.read_bytes().count(b"\n") < AT_WORK:
            return False
        for loader in loaders:
            loader.kill()
        return True

    done = _train(project, *loaded, meanwhile=kill_loader)
    yield _told("a loading process that is killed", project, done, "")
    yield _goes_on("after it", project, loaded)


def _out_of_memory(project: Project) -> Iterator[tuple[str, str, bool]]:
    """The training may take no more memory from the system than it has at its first step."""
    large = (*SHORT, "network=mlp", "network.hidden=[60000,60000]", "data.batch_size=8")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (12 * 2**30, 12 * 2**30))

    done = _train(project, *large, before=limit)
    yield _told("memory that is not there", project, done, "out of memory")


def _other_file_system(project: Project) -> Iterator[tuple[str, str, bool]]:
    """Killed while `TMPDIR` is on another file system, ten times."""
    good = 0
    for _ in range(10):
        _train(project, *SHORT, EPOCHS, "fresh=true", TMPDIR="/dev/shm", meanwhile=_kill_later)
        good += newest_whole(_newest_run(project) / "checkpoints") is not None
    yield "killed, TMPDIR on another file system", f"{good} of 10 checkpoints load", good == 10


def _full_disk() -> Iterator[tuple[str, str, bool]]:
    """A project on a file system of a few megabytes, filled up at its first checkpoint."""
    with tempfile.TemporaryDirectory() as name, _small_disk(Path(name) / "disk") as disk:
        project = digits_project(disk)
        _train(project, *SHORT, "trainer.max_epochs=1")
        filler = disk / "filler"
        for when in ("preparing", "training"):
            if when == "preparing":
                shutil.rmtree(project.folder / "out" / "sets")
                _fill(filler)
                done = _train(project, *SHORT, EPOCHS)
            else:
                done = _train(project, *SHORT, EPOCHS, meanwhile=_filling(project, filler))
            yield _told(f"a full disk while {when}", project, done, "space left")
            filler.unlink()
            yield _goes_on(f"after a full disk while {when}", project, (*SHORT, EPOCHS))


def _train(
    project: Project,
    *overrides: str,
    before: Callable[[], None] | None = None,
    meanwhile: Callable[[subprocess.Popen[str]], bool] | None = None,
    **environment: str,
) -> subprocess.CompletedProcess[str]:
    """A run to which something happens: `meanwhile` is called until it returns True."""
    command = [sys.executable, "-m", "runforge", "train", *overrides]
    said = project.folder.parent / "said.txt"
    with said.open("w") as err:
        process = subprocess.Popen(
            command,
            cwd=project.folder,
            env={**clean_environment(), **environment},
            stdout=subprocess.DEVNULL,
            stderr=err,
            text=True,
            preexec_fn=before,
        )
        happened = meanwhile is None
        while process.poll() is None:
            happened = happened or (meanwhile is not None and meanwhile(process))
            _pause(process)
    return subprocess.CompletedProcess(command, process.returncode, "", said.read_text())


def _pause(process: subprocess.Popen[str]) -> None:
    try:
        process.wait(0.05)
    except subprocess.TimeoutExpired:
        return


def _told(
    what: str, project: Project, done: subprocess.CompletedProcess[str], text: str
) -> tuple[str, str, bool]:
    """One line of cause, a failed run, no traceback."""
    last = done.stderr.splitlines()[-1]
    status = _status(project)
    fine = (
        done.returncode == 1
        and last.startswith("runforge: ")
        and text in last
        and "Traceback" not in done.stderr
        # Of a run whose store lies on the full disk, the next command says that it has ended.
        and status in ("FAILED", *(("RUNNING", "FINISHED") if "full disk" in what else ()))
    )
    return what, f"exit {done.returncode}, {status}: {last[:160]}", fine


def _goes_on(what: str, project: Project, overrides: tuple[str, ...]) -> tuple[str, str, bool]:
    done = _train(project, *overrides)
    resumed = "going on with run" in done.stderr or "preparing" in what
    fine = done.returncode == 0 and resumed and _status(project) == "FINISHED"
    return f"the same command {what}", f"exit {done.returncode}, {_status(project)}", fine


def _newest_run(project: Project) -> Path:
    folders = [p for p in (project.folder / "out" / "runs").glob("*") if p.is_dir()]
    return max(folders, key=lambda folder: folder.stat().st_mtime, default=Path("/nowhere"))


def _has_checkpoint(project: Project) -> bool:
    return any((project.folder / "out" / "runs").glob("*/checkpoints/last-*"))


def _kill_later(process: subprocess.Popen[str]) -> bool:
    every = everything_below(process.pid)
    folder = Path(every[0].cwd()) / "out" / "runs" if every else Path("/nowhere")
    if not any(folder.glob("*/checkpoints/last-000002*")):
        return False
    for one in every:
        one.kill()
    return True


def _filling(project: Project, filler: Path) -> Callable[[subprocess.Popen[str]], bool]:
    def fill(process: subprocess.Popen[str]) -> bool:
        if not _has_checkpoint(project):
            return False
        _fill(filler)
        return True

    return fill


def _fill(filler: Path) -> None:
    """Leaves nothing free."""
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


@contextmanager
def _small_disk(folder: Path) -> Iterator[Path]:
    folder.mkdir()
    options = f"size={SMALL_DISK_MB}m"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _status(project: Project) -> str:
    client = MlflowClient(f"sqlite:///{project.folder}/mlflow.db")
    experiments = [e.experiment_id for e in client.search_experiments()]
    order = ["attributes.start_time DESC"]
    return str(client.search_runs(experiments, order_by=order, max_results=1)[0].info.status)
