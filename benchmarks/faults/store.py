"""Faults of the store: what may be lost, doubled or left behind, and is not.

A part of `python benchmarks/faults`. Real processes that are killed, a real sqlite store, a real
`mlflow server`. Processes that only record are forks of one that has imported MLflow.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import chdir, closing, redirect_stdout
from io import StringIO
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

from mlflow.tracking import MlflowClient

from benchmarks.faults.arrived import lost_and_doubled, stored, what_arrived
from benchmarks.faults.processes import SHORT, Server, Training, ended, forked
from runforge import cli, places
from runforge.journal import Journal, JournalReader
from runforge.tracking import forward
from runforge.tracking.drivers import HOST, PID, STARTED
from runforge.tracking.forward import Forwarder
from runforge.tracking.run import Run
from runforge.tracking.store import open_store
from tests.conftest import Project
from tests.jobs import digits_project

Row = tuple[str, str, bool]


def rows(quick: bool) -> Iterator[Row]:
    """What was tried, what was found, whether it holds; `quick`: few repetitions."""
    for part in PARTS:
        yield from part(quick)


def made_store(folder: Path) -> None:
    """Makes the store in another process: a fork must not inherit an open database."""
    assert ended(forked(lambda: void(open_store(folder, "faults")))) == 0


def void(_: object) -> None:
    """Nothing comes back from another process."""


def many_at_once(quick: bool) -> Iterator[Row]:
    """Many processes that record into one store at the same time."""
    count, steps = (8, 100) if quick else (16, 1000)

    def record(folder: Path, number: int) -> None:
        run = Run.start(open_store(folder, "faults"), f"run {number}", {})
        path = places.run_folder(folder, run.run_id) / "journal.jsonl"
        with Forwarder(run, path), Journal(path) as journal:
            for step in range(steps):
                journal.append({"loss": step / 7}, step=step)
        run.end("FINISHED")

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for state in ("fresh", "existing"):
            known = runs(folder)
            children = [forked(lambda n=n: record(folder, n)) for n in range(count)]  # type: ignore
            errors = sum(ended(child) != 0 for child in children)
            fresh = runs(folder) - known
            found = Counter(
                {k: n for k, n in stored(folder / "mlflow.db").items() if k[0] in fresh}
            )
            wanted = {(run_id, "loss", step) for run_id in fresh for step in range(steps)}
            said, fine = lost_and_doubled(found, wanted)
            what = f"{count} processes × {steps} metrics into one {state} store"
            yield what, f"{said}, {errors} errors", fine and not errors and len(fresh) == count


def runs(folder: Path) -> set[str]:
    """The ids of all runs in a store, none while there is no store."""
    database = folder / "mlflow.db"
    if not database.exists():
        return set()
    with closing(sqlite3.connect(database)) as connection:
        return {run_id for (run_id,) in connection.execute("SELECT run_uuid FROM runs")}


def killed_forwarders(quick: bool) -> Iterator[Row]:
    """Drivers killed one after the other while they send one run's metrics."""
    chance, kills = random.Random(0), 3 if quick else 30
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        assert ended(forked(lambda: void(Run.start(open_store(folder, "faults"), "run", {})))) == 0
        (run_id,) = runs(folder)
        path = places.run_folder(folder, run_id) / "journal.jsonl"
        writer = forked(lambda: write_for_ever(path))
        for _ in range(kills):
            sender = forked(lambda: send_for_ever(folder, run_id, path))
            await_file(folder / "sending")
            time.sleep(chance.uniform(0.0, 0.6))
            os.kill(sender, signal.SIGKILL)
            ended(sender)
        os.kill(writer, signal.SIGKILL)
        ended(writer)
        assert ended(forked(lambda: send_rest(folder, run_id, path))) == 0
        wanted = {
            (run_id, point.name, point.step)
            for entry in JournalReader(path).read()
            for point in entry.points()
        }
        said, fine = lost_and_doubled(stored(folder / "mlflow.db"), wanted)
    yield f"a driver killed at {kills} random moments while it sends metrics", said, fine


def await_file(path: Path) -> None:
    """Waits for a file that says something, and removes it."""
    while not path.exists():
        time.sleep(0.002)
    path.unlink()


def write_for_ever(path: Path) -> None:
    """A worker that was started again every 400 steps from 100 steps before."""
    with Journal(path) as journal:
        first = 0
        while True:
            for step in range(first, first + 400):
                journal.append({"loss": step / 7, "accuracy": step / 9}, step=step)
                time.sleep(0.001)
            first += 300


def send_for_ever(folder: Path, run_id: str, path: Path) -> None:
    """A driver that sends all the time, so that most kills come while it does."""
    forward.POLL_S = 0.001
    sender = Forwarder(Run.resume(open_store(folder, "faults"), run_id), path)
    (folder / "sending").touch()
    sender._thread.join()


def send_rest(folder: Path, run_id: str, path: Path) -> None:
    """The driver that goes on at last."""
    Forwarder(Run.resume(open_store(folder, "faults"), run_id), path).close()


def dead_drivers(quick: bool) -> Iterator[Row]:
    """Drivers killed with SIGKILL, beside one that lives and one of another host."""
    count = 4 if quick else 24
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made_store(folder)

        def start(number: int, wait: bool) -> None:
            Run.start(open_store(folder, "faults"), f"run {number}", {})
            time.sleep(600 if wait else 0)
            os.kill(os.getpid(), signal.SIGKILL)

        killed = [forked(lambda n=n: start(n, False)) for n in range(count)]  # type: ignore
        for child in killed:
            ended(child)
        dead = runs(folder)
        living = forked(lambda: start(count, True))
        while len(runs(folder)) == len(dead):
            time.sleep(0.05)
        (lives,) = runs(folder) - dead
        began = time.perf_counter()
        store = open_store(folder, "faults")
        took_s = time.perf_counter() - began
        foreign = Run.start(store, "of another host", {HOST: "elsewhere", PID: "1"}).run_id
        reused = Run.start(store, "its number was given again", {STARTED: "1"}).run_id
        open_store(folder, "faults")
        status = {run_id: store.client.get_run(run_id).info.status for run_id in runs(folder)}
        os.kill(living, signal.SIGKILL)
        ended(living)
    closed = sum(status[run_id] == "FAILED" for run_id in dead)
    what = f"{count} drivers killed: closed by the next command"
    yield what, f"{closed} of {count}, in {took_s:.2f} s", closed == count
    left = status[lives] == status[foreign] == "RUNNING"
    yield "a driver that lives, one of another host", "left alone" if left else "closed", left
    yield "a process number given again", status[reused], status[reused] == "FAILED"


def sub_folders(quick: bool) -> Iterator[Row]:
    """Commands below the project's folder, and after it was moved; too slow for a quick look."""
    if quick:
        return
    with tempfile.TemporaryDirectory() as name:
        project = digits_project(Path(name))
        below = project.folder / "conf" / "data"
        Project(below).runforge("train", *SHORT, "trainer.max_epochs=1")
        stores = sorted(str(p.relative_to(project.folder)) for p in project.folder.rglob("*.db"))
        yield (
            "a run started in a sub-folder",
            f"stores: {', '.join(stores)}",
            stores == ["mlflow.db"],
        )
        run_id = min(runs(project.folder))
        for how, act in (("moved", shutil.move), ("copied", shutil.copytree)):
            there = Project(Path(act(project.folder, Path(name) / how)))
            whole = there.runforge("train", *SHORT, "trainer.max_epochs=1", f"init_from={run_id}")
            files = MlflowClient(f"sqlite:///{there.folder}/mlflow.db").list_artifacts(run_id)
            found = f"{len(files)} artifacts, exit code {whole.returncode}"
            yield f"a project {how}: init_from an earlier run", found, len(files) > 3
            project = there


def server_away(quick: bool) -> Iterator[Row]:
    """A server killed and started again while a run goes on, and at last away at its end."""
    restarts, epochs = (0, 30) if quick else (3, 900)
    away: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as name:
        project, server = digits_project(Path(name)), Server(Path(name) / "server")
        run = Training(project, server, epochs)
        for number in range(restarts):
            run.await_entries(500 + number * 1200)
            began = time.time()
            server.kill()
            time.sleep(3)
            server.start()
            away.append((began, time.time()))
        run.await_entries(50 + restarts * 1300)
        server.kill()
        code, run_id, lines = run.end()
        waits = len(list(places.runs(project.folder).glob("*/outbox")))
        told = sum("runforge sync" in line for line in lines)
        yield (
            "a server away at a run's end",
            f"exit code {code}, {waits} run waits on disk, told in {told} line",
            (code, waits, told) == (0, 1, 1),
        )
        server.start()
        done = project.runforge("sync", "--json", MLFLOW_TRACKING_URI=server.address)
        delivered = json.loads(done.stdout)
        yield from what_arrived(project, server.database, server.address, run_id, delivered)
        again = synced_again(project, server)
        yield "`runforge sync` again", again, again == "nothing waits"
        server.kill()
        if away:
            yield stall(project, run_id, away)


def synced_again(project: Project, server: Server) -> str:
    """What `runforge sync` says in this process, which has its imports already."""
    environment = patch.dict(os.environ, MLFLOW_TRACKING_URI=server.address)
    with chdir(project.folder), environment, redirect_stdout(StringIO()) as said:
        assert cli.main(["sync"]) == 0
    return said.getvalue().strip()


def stall(project: Project, run_id: str, away: list[tuple[float, float]]) -> Row:
    """The longest time between two steps while the server was away, against before."""
    path = places.run_folder(project.folder, run_id) / "journal.jsonl"
    times = [
        e.timestamp_ms / 1000 for e in JournalReader(path).read() if "learning_rate" in e.metrics
    ]
    gaps = list(pairwise(times))
    while_away = [b - a for a, b in gaps if any(s < b and a < e for s, e in away)]
    before = [b - a for a, b in gaps if b <= away[0][0]]
    found = f"{max(while_away):.2f} s between two steps, before {max(before):.2f} s"
    return (
        f"a server killed and started again {len(away)} times: training stalls",
        found,
        (max(while_away) < 1),
    )


PARTS = (killed_forwarders, dead_drivers, many_at_once, sub_folders, server_away)
