"""What may go wrong in a training: each ends in one line, and the same command goes on after it."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil

from benchmarks.faults.mishaps import (
    EPOCHS,
    SHORT,
    Row,
    goes_on,
    is_at_work,
    is_one_line,
    statuses,
    told,
    train,
)
from runforge.datamodule import BatchPlan, PackedData
from runforge.errors import in_one_line
from runforge.prepared import PreparedSet
from tests.conftest import Project
from tests.jobs import digits_project
from tests.trees import everything_below, left_in
from tests.warm import CONTEXT

HUNG_S = 10


def rows(quick: bool) -> Iterator[Row]:
    """The quick form leaves out what needs a long wait."""
    with tempfile.TemporaryDirectory() as name:
        project = digits_project(Path(name))
        yield from _nan(project)
        yield from _lost_loader(project)
        yield from _error_that_can_not_be_sent(project)
        if not quick:
            yield from _nothing_to_train_on(project)
            yield from _data_cut_off(project)
            yield from _stuck_rank(project)
            yield from _out_of_memory(project)


def _nan(project: Project) -> Iterator[Row]:
    wild = ("optimizer=sgd", "optimizer.learning_rate=1e30")
    done = train(project, *SHORT, *wild)
    yield told("a loss that is no number", project, done, "lower optimizer.learning_rate")


def _lost_loader(project: Project) -> Iterator[Row]:
    """A loading process is killed; the same command goes on."""
    shutil.rmtree(project.folder / "out" / "runs")
    loaded = (*SHORT, EPOCHS, "machine.workers=1")

    def kill_loader(process: subprocess.Popen[str]) -> bool:
        loaders = _named(process, "pt_data_worker")
        if not loaders or not is_at_work(project):
            return False
        for loader in loaders:
            loader.kill()
        return True

    done = train(project, *loaded, meanwhile=kill_loader)
    yield told("a loading process that is killed", project, done, "a loading process was lost")
    yield goes_on("after it", project, loaded)


def _data_cut_off(project: Project) -> Iterator[Row]:
    """The file of the packed samples loses its content while a loading process reads it."""
    loaded = (*SHORT, EPOCHS, "machine.workers=1", "seed=1")
    (inputs,) = (project.folder / "out" / "sets").glob("*/inputs.npy")
    content = inputs.read_bytes()

    def cut_off(process: subprocess.Popen[str]) -> bool:
        if not is_at_work(project):
            return False
        os.truncate(inputs, 0)
        return True

    done = train(project, *loaded, meanwhile=cut_off)
    yield told("packed samples cut off in mid-training", project, done, "loading process was lost")
    done = train(project, *loaded)
    fine = done.returncode == 2 and is_one_line(done, "inputs.npy")
    last = done.stderr.splitlines()[-1].replace(str(project.folder), "…")
    yield "the same command while they are", f"exit {done.returncode}: {last[:160]}", fine
    inputs.write_bytes(content)
    yield goes_on("with the samples back", project, loaded)


class _Unreadable:
    """Rows whose reading fails with an exception that no other process can be sent."""

    def __getitem__(self, rows: object) -> object:
        class Unsendable(Exception):
            """A class inside a function can't be pickled."""

        raise Unsendable("the disk says no")


def _error_that_can_not_be_sent(project: Project) -> Iterator[Row]:
    """In a loading process; memory-mapped arrays raise none, so the rows are others here."""
    (folder,) = (path.parent for path in (project.folder / "out" / "sets").glob("*/inputs.npy"))
    said = project.folder.parent / "caught.txt"

    began_s = time.monotonic()
    # Not forked from here: of a process with torch's threads a fork may wait for ever.
    process = CONTEXT.Process(target=_load, args=(folder, said))
    process.start()
    process.join(60)
    code, took_s = process.exitcode, time.monotonic() - began_s
    process.kill()
    text = said.read_text() if said.is_file() else "nothing"
    fine = code == 0 and "a batch can't be read: Unsendable: the disk says no" in text
    yield "an exception that can't be pickled, while loading", f"{text}, {took_s:.1f} s", fine


def _load(folder: Path, said: Path) -> None:
    """Asks for a batch, and writes down what comes of it."""
    prepared = replace(PreparedSet.open(folder), inputs=_Unreadable())  # type: ignore
    data = PackedData(prepared, BatchPlan(batch_size=8, seed=0), draw_count=0, workers=1)
    try:
        next(iter(data.train_dataloader()))
    except RuntimeError as error:
        said.write_text(in_one_line(error))


def _nothing_to_train_on(project: Project) -> Iterator[Row]:
    """A table that gives all its rows to the test split, and then some to training."""
    project.runforge("sample", "diabetes")
    table = project.folder / "samples" / "diabetes" / "data.csv"
    head, *lines = table.read_text().splitlines()
    given = (*SHORT, "experiment=diabetes", "trainer.max_epochs=2", "data.source.split_column=for")

    def give(training: int) -> None:
        splits = ["train"] * training + ["test"] * (len(lines) - training)
        rows = (f"{line},{split}\n" for line, split in zip(lines, splits, strict=True))
        table.write_text(f"{head},for\n{''.join(rows)}")

    give(0)
    before = statuses(project)
    done = train(project, *given)
    last = done.stderr.splitlines()[-1].replace(str(project.folder), "…")
    after = statuses(project)
    fine = done.returncode == 2 and is_one_line(done, "train split is empty") and after == before
    runs = f"{len(after) - len(before)} runs more"
    yield "a training split without samples", f"exit {done.returncode}, {runs}: {last[:160]}", fine
    give(300)
    done = train(project, *given)
    status = statuses(project)[0]
    yield "the same command with samples", f"exit {done.returncode}, {status}", not done.returncode


def _stuck_rank(project: Project) -> Iterator[Row]:
    """One of two ranks is stopped as by a debugger, and answers nobody."""
    bounded = f"machine.timeout_s={HUNG_S}"
    two = (*SHORT, EPOCHS, "machine.devices=2", "machine.restarts=0", bounded)

    def stop_rank(process: subprocess.Popen[str]) -> bool:
        ranks = _named(process, "rank-1")
        if not ranks or not is_at_work(project):
            return False
        ranks[0].suspend()
        return True

    done = train(project, *two, meanwhile=stop_rank)
    left = left_in(project.folder, within_s=5)
    what, found, fine = told("a rank that is stuck", project, done, "rank 1 has not been heard of")
    yield what, f"{found}; {len(left)} processes left", fine and not left
    yield goes_on("after a stuck rank", project, two)


def _out_of_memory(project: Project) -> Iterator[Row]:
    """The training may take no more memory from the system than it has at its first step."""
    large = (*SHORT, "network=mlp", "network.hidden=[60000,60000]", "data.batch_size=8")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (12 * 2**30, 12 * 2**30))

    done = train(project, *large, before=limit)
    yield told("memory that is not there", project, done, "out of memory")


def _named(process: subprocess.Popen[str], name: str) -> list[psutil.Process]:
    return [one for one in everything_below(process.pid) if one.name().startswith(name)]
