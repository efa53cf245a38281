"""Runs whose driver is gone are closed, and no others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from runforge import places
from runforge.journal import Journal
from runforge.tracking.drivers import BOOT, HOST, MACHINE, PID, STARTED, driver_tags, is_gone
from runforge.tracking.run import Run
from runforge.tracking.store import Store, open_store

DRIVER = """
import os, sys
from pathlib import Path
from runforge.tracking.run import Run
from runforge.tracking.store import open_store

print(Run.start(open_store(Path(sys.argv[1]), "mine"), "run", {}).run_id, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield open_store(tmp_path_factory.mktemp("project"), "mine")


def recorded(store: Store, run_id: str):
    return store.client.get_run(run_id)


def dead(store: Store, **changed: str) -> str:
    """A run of a driver that is no more."""
    run = Run.start(store, "run", {})
    number = next(n for n in range(4_000_000, 1, -1) if not psutil.pid_exists(n))
    run.set_tags({PID: str(number), **changed})
    return run.run_id


def test_a_killed_driver_s_run_is_closed_and_can_be_resumed(store, capfd):
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(store.project)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        run_id = process.stdout.readline().strip()
        open_store(store.project, "mine")
        assert recorded(store, run_id).info.status == "RUNNING"
        with Journal(places.run_folder(store.project, run_id) / "journal.jsonl") as journal:
            journal.append({"loss": 0.5}, step=1)
        process.kill()
        # Not waited for yet: a process that ended, as one whose parent is busy.
        while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        open_store(store.project, "other")
    run = recorded(store, run_id)
    assert run.info.status == "FAILED" and run.info.end_time
    cause = f"its driver (pid {process.pid}) is gone; go on with the same command"
    assert run.data.tags["runforge.error"] == cause
    assert run.data.metrics == {"loss": 0.5}
    assert f"run {run_id} was closed" in capfd.readouterr().err

    Run.resume(store, run_id)
    open_store(store.project, "mine")
    run = recorded(store, run_id)
    assert run.info.status == "RUNNING" and "runforge.error" not in run.data.tags
    assert run.data.tags[PID] == str(os.getpid())


def test_a_signal_file_says_that_it_was_killed(store):
    run_id = dead(store)
    folder = places.run_folder(store.project, run_id)
    folder.mkdir(parents=True)
    (folder / "signal").write_text("SIGTERM\n")
    open_store(store.project, "mine")
    run = recorded(store, run_id)
    assert run.info.status == "KILLED"
    assert run.data.tags["runforge.error"].startswith("interrupted by SIGTERM: its driver (pid ")


def test_a_run_whose_true_end_waits_on_disk_is_not_closed(store):
    run_id = dead(store)
    (places.run_folder(store.project, run_id) / "outbox").mkdir(parents=True)
    open_store(store.project, "mine")
    assert recorded(store, run_id).info.status == "RUNNING"


def test_runs_of_other_hosts_and_finished_ones_stay_as_they_are(store):
    foreign, finished = dead(store, **{HOST: "elsewhere"}), dead(store)
    store.client.set_terminated(finished, "FINISHED")
    open_store(store.project, "mine")
    assert recorded(store, foreign).info.status == "RUNNING"
    assert recorded(store, finished).info.status == "FINISHED"


OTHER_BOOT = {BOOT: f"0-0 {driver_tags()[BOOT].partition(' ')[2]}"}
OTHER_CONTAINER = {BOOT: f"{driver_tags()[BOOT].partition(' ')[0]} pid:[1]"}


@pytest.mark.parametrize(
    ("changed", "local", "gone"),
    [
        ({}, True, False),
        ({STARTED: "1"}, True, True),
        ({PID: "4194304"}, True, True),
        (OTHER_BOOT, True, True),
        ({**OTHER_BOOT, MACHINE: "another"}, False, False),
        (OTHER_CONTAINER, True, False),
        ({**OTHER_CONTAINER, PID: "4194304"}, False, False),
    ],
)
def test_a_driver_is_gone_only_where_that_is_certain(changed, local, gone):
    assert is_gone({**driver_tags(), **changed}, local=local) is gone


def test_a_driver_that_was_stopped_lives(store):
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(store.project)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        run_id = process.stdout.readline().strip()
        process.send_signal(signal.SIGSTOP)
        open_store(store.project, "mine")
        assert recorded(store, run_id).info.status == "RUNNING"
        process.kill()
