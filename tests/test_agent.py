"""Runs on several processes and several nodes, as whole commands: lost, hung and missing ranks."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from runforge.checkpoint_files import newest_whole
from tests.conftest import Project, clean_environment
from tests.jobs import digits_project
from tests.trees import left_in

TWO = ("machine=cpu", "machine.devices=2", "evaluation.resamples=100", "fresh=true")
SHORT = ("trainer.max_epochs=2",)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a few digits; the tests of this file share its store."""
    return digits_project(tmp_path_factory.mktemp("agent"))


def newest(project: Project) -> Run:
    client = MlflowClient(f"sqlite:///{project.folder}/mlflow.db")
    experiments = [e.experiment_id for e in client.search_experiments()]
    order = ["attributes.start_time DESC"]
    return client.search_runs(experiments, order_by=order, max_results=1)[0]


def history(project: Project, run: Run, name: str) -> list[int]:
    """The steps at which the store has a metric."""
    client = MlflowClient(f"sqlite:///{project.folder}/mlflow.db")
    return [m.step for m in client.get_metric_history(run.info.run_id, name)]


@contextmanager
def started(
    project: Project, *overrides: str, **environment: str
) -> Iterator[subprocess.Popen[str]]:
    """A run that goes on while the test does something to it."""
    command = [sys.executable, "-m", "runforge", "train", *overrides]
    with subprocess.Popen(
        command,
        cwd=project.folder,
        env={**clean_environment(), **environment},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def wait_for(process: subprocess.Popen[str], text: str) -> None:
    assert process.stderr is not None
    while text not in (line := process.stderr.readline()):
        assert line, "it ended before it said so"


def worker(process: subprocess.Popen[str], rank: int) -> psutil.Process:
    """The process of a rank."""
    below = psutil.Process(process.pid).children(recursive=True)
    return next(p for p in below if p.name() == f"rank-{rank}")


def assert_nobody_left(project: Project) -> None:
    assert left_in(project.folder, within_s=5.0) == []


def test_a_killed_rank_is_started_again_in_the_same_run(project: Project) -> None:
    long = ("trainer.max_epochs=30", "machine.checkpoint_interval_s=0")
    with started(project, *TWO, *long) as process:
        wait_for(process, "epoch 4/30")
        worker(process, 1).kill()
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "rank 1 was ended by SIGKILL" in err
    first_again = next(line for line in err.splitlines() if line.startswith("epoch"))
    assert not first_again.startswith(("epoch 1/", "epoch 2/"))
    run = newest(project)
    assert (run.info.run_id, run.info.status) == (out.strip(), "FINISHED")
    assert run.data.tags["runforge.restarts"] == "1"
    assert 0 <= run.data.metrics["test/accuracy"] <= 1
    for name in ("validation/loss", "train/loss", "train/step_loss"):
        steps = Counter(history(project, run, name))
        assert set(steps.values()) == {1}, name
    assert len(history(project, run, "validation/loss")) == 30
    assert_nobody_left(project)


def test_a_rank_that_hangs_is_named(project: Project) -> None:
    bounded = ("trainer.max_epochs=10000", "machine.timeout_s=6", "machine.restarts=0")
    with started(project, *TWO, *bounded) as process:
        wait_for(process, "epoch 2/")
        worker(process, 1).suspend()
        err = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert "rank 1 has not been heard of for" in err.splitlines()[-1]
    assert "Traceback" not in err
    run = newest(project)
    assert run.info.status == "FAILED"
    assert "rank 1 has not been heard of" in run.data.tags["runforge.error"]
    assert_nobody_left(project)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("to", ["driver", "group"])
def test_a_signal_ends_all_of_them(project: Project, number: int, code: int, to: str) -> None:
    with started(project, *TWO, "trainer.max_epochs=10000") as process:
        wait_for(process, "epoch 2/")
        (os.killpg if to == "group" else os.kill)(process.pid, number)
        err = process.communicate(timeout=30)[1]
    assert process.returncode == code, err
    assert newest(project).info.status == "KILLED"
    assert_nobody_left(project)


def test_a_second_interrupt_waits_for_nobody(project: Project) -> None:
    patient = ("trainer.max_epochs=10000", "machine.stop_s=60")
    with started(project, *TWO, *patient) as process:
        wait_for(process, "epoch 2/")
        worker(process, 1).suspend()
        process.send_signal(signal.SIGINT)
        time.sleep(1)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        err = process.communicate(timeout=15)[1]
    assert process.returncode == 130, err
    assert newest(project).info.status == "KILLED"
    assert_nobody_left(project)


def test_a_signal_to_one_rank_stops_all_at_one_step(project: Project) -> None:
    with started(project, *TWO, "trainer.max_epochs=10000") as process:
        wait_for(process, "epoch 2/")
        worker(process, 1).terminate()
        err = process.communicate(timeout=30)[1]
    assert process.returncode == 143, err
    run = newest(project)
    assert run.info.status == "KILLED"
    kept = project.folder / "out" / "runs" / run.info.run_id / "checkpoints"
    assert newest_whole(kept) is not None
    assert_nobody_left(project)


def test_a_mistake_is_told_once_and_not_tried_again(project: Project) -> None:
    done = project.runforge("train", *TWO, *SHORT, "trainer.monitor=validation/r2", code=2)
    assert "trainer.monitor: nothing of that name is measured" in done.stderr.splitlines()[-1]
    assert "starting again" not in done.stderr
    assert newest(project).info.status == "FAILED"
    done = project.runforge("train", *TWO, "optimizer=sgd", "optimizer.learning_rate=1e30", code=1)
    assert "lower optimizer.learning_rate" in done.stderr.splitlines()[-1]
    assert "starting again" not in done.stderr


@pytest.mark.parametrize(
    ("overrides", "where"),
    [
        (("machine=multi_gpu",), "machine.accelerator: there is no GPU"),
        ((*TWO, "data.batch_size=1"), "data.batch_size: 1 samples can't be shared by 2 devices"),
        ((*TWO, "machine.nodes=2"), "machine.rendezvous: 2 nodes have nowhere to meet"),
        ((*TWO, "machine.nodes=2", "machine.rendezvous=a:1"), "NODE_RANK is not set"),
    ],
)
def test_what_can_not_be(project: Project, overrides: tuple[str, ...], where: str) -> None:
    done = project.runforge("train", *overrides, code=2)
    assert where in done.stderr.splitlines()[-1]


def test_a_sweep_over_devices_runs_each_trial_once(project: Project) -> None:
    together = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    devices = ("machine=cpu", "machine.devices=1,2", "evaluation.resamples=100")
    parent = project.runforge("train", "-m", *devices, *SHORT, *together).stdout.strip()
    client = MlflowClient(f"sqlite:///{project.folder}/mlflow.db")
    experiments = [e.experiment_id for e in client.search_experiments()]
    trials = client.search_runs(experiments, f"tags.`mlflow.parentRunId` = '{parent}'")
    assert sorted(t.info.run_name for t in trials) == ["devices=1", "devices=2"]
    assert {t.info.status for t in trials} == {"FINISHED"}
    one, two = (t.data.metrics for t in trials)
    assert one["test/log_loss"] == pytest.approx(two["test/log_loss"], rel=1e-4)
    assert one["test/accuracy"] == two["test/accuracy"]


@pytest.fixture
def nodes(project: Project, tmp_path: Path) -> tuple[Project, Project]:
    """The project, and a copy in another folder with a store of its own, as on another machine."""
    ignored = shutil.ignore_patterns("mlflow.db*", "out")
    shutil.copytree(project.folder, tmp_path / "node", symlinks=True, ignore=ignored)
    return project, Project(tmp_path / "node")


def several(*overrides: str, timeout_s: int = 60) -> tuple[str, ...]:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    where = f"machine.rendezvous=localhost:{port}"
    bounded = f"machine.timeout_s={timeout_s}"
    return (
        "machine=cpu",
        "machine.nodes=2",
        where,
        bounded,
        "evaluation.resamples=100",
        "fresh=true",
        *overrides,
    )


def test_two_nodes_make_one_run(nodes: tuple[Project, Project]) -> None:
    common = several(*SHORT, "machine.devices=2")
    with (
        started(nodes[1], *common, NODE_RANK="1") as other,
        started(nodes[0], *common, SLURM_NODEID="0") as first,
    ):
        out, err = first.communicate(timeout=200)
        quiet, said = other.communicate(timeout=60)
    assert (first.returncode, other.returncode) == (0, 0), err + said
    assert newest(nodes[0]).info.run_id == out.strip()
    assert newest(nodes[0]).info.status == "FINISHED"
    assert quiet == "" and "epoch" not in said
    assert not (nodes[1].folder / "mlflow.db").exists()
    figures = nodes[0].folder / "out" / "runs" / out.strip() / "evaluation" / "metrics.json"
    assert figures.is_file()


def test_a_rank_lost_on_another_node(nodes: tuple[Project, Project]) -> None:
    common = several("trainer.max_epochs=150", "machine.checkpoint_interval_s=0.5")
    with (
        started(nodes[1], *common, NODE_RANK="1") as other,
        started(nodes[0], *common, NODE_RANK="0") as first,
    ):
        wait_for(first, "epoch 5/")
        worker(other, 1).kill()
        err = first.communicate(timeout=200)[1]
        said = other.communicate(timeout=60)[1]
    assert (first.returncode, other.returncode) == (0, 0), err + said
    assert "rank 1 was ended by SIGKILL" in said
    assert newest(nodes[0]).info.status == "FINISHED"


@pytest.mark.parametrize("kind", ["configuration", "data", "code"])
def test_nodes_that_differ(nodes: tuple[Project, Project], kind: str) -> None:
    own = {"PYTHONPATH": str(nodes[1].folder / "src")}
    common, more, named = several(*SHORT), (), ""
    if kind == "configuration":
        more, named = ("optimizer.learning_rate=0.1",), "optimizer.learning_rate"
    elif kind == "data":
        next((nodes[1].folder / "data" / "3").iterdir()).unlink()
        named = "the prepared set"
    else:
        nodes[1].edit("src/runforge/networks/cnn.py", "MaxPool2d(2)", "AvgPool2d(2)")
        named = "networks/cnn.py"
    with (
        started(nodes[1], *common, *more, NODE_RANK="1", **own) as other,
        started(nodes[0], *common, NODE_RANK="0") as first,
    ):
        err = first.communicate(timeout=100)[1]
        said = other.communicate(timeout=60)[1]
    assert (first.returncode, other.returncode) == (2, 2), err + said
    for text in (err, said):
        assert f"node 1: other {kind} than node 0: {named}" in text.splitlines()[-1]
    assert newest(nodes[0]).info.status == "FAILED"


def test_a_node_that_never_arrives(project: Project) -> None:
    done = project.runforge("train", *several(timeout_s=5), code=1, NODE_RANK="0")
    assert "not all 2 nodes arrived within machine.timeout_s=5" in done.stderr.splitlines()[-1]
    assert newest(project).info.status == "FAILED"


def test_nobody_to_meet(project: Project) -> None:
    done = project.runforge("train", *several(timeout_s=5), code=2, NODE_RANK="1")
    assert "start the node with NODE_RANK=0 first" in done.stderr.splitlines()[-1]
