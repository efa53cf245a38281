"""Starting processes, telling them their job, and leaving none behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from runforge import config
from runforge.errors import ConfigError
from runforge.handover import Order, node_rank, on_this_node
from runforge.job import Job, Step
from runforge.launch import Launched, launched
from runforge.process import ended_by
from runforge.settings import Settings
from tests.conftest import REPOSITORY

LIMIT_S = 20.0


@pytest.fixture(autouse=True)
def no_node(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NODE_RANK", "SLURM_NODEID"):
        monkeypatch.delenv(name, raising=False)


def settings_of(*overrides: str) -> Settings:
    return config.compose(REPOSITORY, ["machine=cpu", *overrides]).settings


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < deadline, f"not within {LIMIT_S} s"
        time.sleep(0.05)


def family(started: Launched) -> list[psutil.Process]:
    """The process that was started, and all that it has started."""
    first = psutil.Process(started._process.pid)
    return [first, *first.children(recursive=True)]


def runs(process: psutil.Process) -> bool:
    """Whether it has not ended; what has, and was not waited for, keeps its number."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def assert_nothing_is_left(started: Launched, processes: list[psutil.Process]) -> None:
    # Python's own tracker of shared resources ends by itself, a moment after the one it serves.
    wait_until(lambda: not any(runs(process) for process in processes))
    assert not started.folder.exists()


def job_of(folder: Path, *steps: Step, **changes: Any) -> Job:
    """A job that can't be done: there is neither a prepared set nor a model."""
    places = {name: str(folder / name) for name in ("prepared", "model", "evaluation")}
    values = config.compose(REPOSITORY, []).values
    given: dict[str, Any] = {"configuration": values, "run_id": "abc", "run_name": "test"}
    return Job(steps=steps, run_folder=str(folder / "run"), **{**given, **places, **changes})


SEVERAL = ("machine.nodes=3", "machine.rendezvous='localhost:29400'")


@pytest.mark.parametrize(
    ("environment", "rank"),
    [
        ({"NODE_RANK": "0"}, 0),
        ({"NODE_RANK": "2"}, 2),
        ({"SLURM_NODEID": "1"}, 1),
        ({"NODE_RANK": "2", "SLURM_NODEID": "1"}, 2),
    ],
)
def test_the_number_of_a_node(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], rank: int
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert node_rank(settings_of(*SEVERAL).machine) == rank
    # Where there is one node, a batch system's number of it says nothing.
    assert node_rank(settings_of().machine) == 0


@pytest.mark.parametrize("given", [None, "", "3", "17", "-1", "one"])
def test_a_node_without_a_number(monkeypatch: pytest.MonkeyPatch, given: str | None) -> None:
    if given is not None:
        monkeypatch.setenv("NODE_RANK", given)
    with pytest.raises(ConfigError) as caught:
        node_rank(settings_of(*SEVERAL).machine)
    line = str(caught.value)
    assert line.startswith(f"environment: NODE_RANK is {given or 'not set'}, and machine.nodes=3")
    assert "\n" not in line and "1…2 on the others" in line


def test_a_step_on_this_node_needs_no_number() -> None:
    settings = settings_of(*SEVERAL, "machine.devices=2")
    alone = on_this_node(settings)
    assert (alone.machine.nodes, alone.machine.rendezvous) == (1, None)
    assert alone.machine.devices == 2
    assert node_rank(alone.machine) == 0
    changed = {"machine": settings.machine}
    assert alone.model_copy(update=changed) == settings


@pytest.mark.parametrize(
    ("overrides", "needs_agent"),
    [
        ((), False),
        (("machine.workers=2", "machine.threads=3"), False),
        (("machine.devices=2",), True),
        (("machine.devices=auto",), True),
        (("machine.strategy=fsdp",), True),
        (SEVERAL, True),
    ],
)
def test_an_order_is_read_as_it_was_written(
    tmp_path: Path, overrides: tuple[str, ...], needs_agent: bool
) -> None:
    machine = settings_of(*overrides).machine
    order = Order(machine, ("train", "evaluate"), batch_size=64, node_rank=2)
    order.write(tmp_path)
    read = Order.read(tmp_path)
    assert read == order
    assert read.needs_agent is needs_agent


def test_ends_are_named() -> None:
    assert ended_by(-signal.SIGKILL) == "ended by SIGKILL (out of memory?)"
    assert ended_by(-signal.SIGSEGV) == "ended by SIGSEGV"


def test_no_worker_is_left_without_a_job() -> None:
    with launched(settings_of(), "evaluate") as started:
        processes = family(started)
        assert runs(processes[0]) and started.folder.is_dir()
    assert_nothing_is_left(started, processes)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep what was left")
def test_the_folder_of_a_driver_that_was_killed_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left, mine, others = (f"runforge-{n}-abc" for n in (dead.pid, os.getpid(), "notes"))
    for name in (left, mine, others):
        (tmp_path / name / "results").mkdir(parents=True)
    with launched(settings_of(), "evaluate"):
        assert not (tmp_path / left).exists()
    assert (tmp_path / mine).exists() and (tmp_path / others).exists()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_no_worker_is_left_after_an_error(error: type[BaseException]) -> None:
    with pytest.raises(error), launched(settings_of(), "train") as started:
        processes = family(started)
        raise error
    assert_nothing_is_left(started, processes)


def test_no_process_of_an_agents_is_left() -> None:
    with (
        pytest.raises(ValueError),
        launched(settings_of("machine.devices=2", "data.batch_size=8"), "evaluate") as started,
    ):
        wait_until(lambda: len(family(started)) >= 3)
        processes = family(started)
        raise ValueError
    assert_nothing_is_left(started, processes)


def test_no_worker_is_started_where_the_node_has_no_number() -> None:
    before = {child.pid for child in psutil.Process().children()}
    with pytest.raises(ConfigError, match="NODE_RANK"), launched(settings_of(*SEVERAL), "train"):
        pass
    assert {child.pid for child in psutil.Process().children()} == before


@pytest.mark.parametrize(
    ("number", "exit_code", "cause"),
    [
        (signal.SIGKILL, 1, "the worker was ended by SIGKILL (out of memory?)"),
        (signal.SIGSEGV, 1, "the worker was ended by SIGSEGV"),
        (signal.SIGTERM, 143, "the worker was ended by SIGTERM"),
    ],
)
def test_a_worker_that_is_killed_has_a_result(
    tmp_path: Path, number: signal.Signals, exit_code: int, cause: str
) -> None:
    with launched(settings_of(), "train") as started:
        os.kill(started._process.pid, number)
        result = started.do(job_of(tmp_path, "train"))
    assert (result.exit_code, result.cause) == (exit_code, cause)


def test_a_mistake_is_the_result_of_a_worker(tmp_path: Path) -> None:
    job = job_of(tmp_path, "evaluate")
    with launched(settings_of(), "evaluate") as started:
        result = started.do(job)
        # The processes have ended by themselves when the result is there.
        assert started._process.poll() == result.exit_code == 2
    assert result.final and "\n" not in result.cause
    assert str(tmp_path / "prepared") in result.cause
    assert Job.read(job.file) == job and job.done("evaluate") is None


DRIVER = """
import sys, time
from pathlib import Path
from runforge import config
from runforge.launch import launched
settings = config.compose(Path(sys.argv[1]), ["machine=cpu"]).settings
with launched(settings, "evaluate") as started:
    print(started._process.pid, flush=True)
    time.sleep(600)
"""


def has_imported_its_step(process: psutil.Process) -> bool:
    """It has done what it does at the beginning: evaluating alone needs safetensors."""
    return any("safetensors" in mapped.path for mapped in process.memory_maps())


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux ends them")
@pytest.mark.parametrize("early", [False, True])
def test_a_driver_that_is_killed_takes_its_worker_along(tmp_path: Path, early: bool) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", DRIVER, str(REPOSITORY)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as driver:
        assert driver.stdout is not None
        worker = psutil.Process(int(driver.stdout.readline()))
        if not early:
            wait_until(lambda: has_imported_its_step(worker))
        driver.kill()
    try:
        wait_until(lambda: not runs(worker))
    finally:
        if runs(worker):
            worker.kill()
