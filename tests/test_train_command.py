"""`runforge train` and its sweeps, as whole commands on real data and a real store."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from safetensors.numpy import load_file

from tests.conftest import Project, clean_environment
from tests.jobs import digits_project

INHERITED = {
    **{"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"},
    **{"MASTER_ADDR": "nowhere", "MASTER_PORT": "x", "TORCHELASTIC_RUN_ID": "x"},
    **{"SLURM_PROCID": "1", "SLURM_NTASKS": "4", "SLURM_JOB_ID": "3", "SLURM_NODEID": "1"},
    **{"NODE_RANK": "7", "RUNFORGE_ATTEMPT": "3", "RUNFORGE_PARENT": "5"},
    **{"PL_TRAINER_LIMIT_TRAIN_BATCHES": "1", "PL_GLOBAL_SEED": "7"},
    **{"MLFLOW_RUN_ID": "abc", "MLFLOW_EXPERIMENT_NAME": "other", "MLFLOW_EXPERIMENT_ID": "7"},
    **{"MLFLOW_ENABLE_ASYNC_LOGGING": "true", "MLFLOW_REGISTRY_URI": "sqlite:////nowhere/x.db"},
    **{"DVC_STAGE": "train", "DVC_EXP_NAME": "mine", "HYDRA_MAIN_MODULE": "x"},
    **{"MPLBACKEND": "module://nothing", "OMPI_COMM_WORLD_RANK": "1", "PMI_RANK": "1"},
}
"""What other programs leave in a shell, none of it true of a command that is started there."""

SHORT = ("trainer.max_epochs=2", "evaluation.resamples=100")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a few digits; the tests of this file share its store."""
    return digits_project(tmp_path_factory.mktemp("train"))


def client(project: Project) -> MlflowClient:
    return MlflowClient(f"sqlite:///{project.folder}/mlflow.db")


def children(project: Project, parent: str) -> list[Run]:
    """The trials of a sweep."""
    store = client(project)
    experiments = [e.experiment_id for e in store.search_experiments()]
    return list(store.search_runs(experiments, f"tags.`mlflow.parentRunId` = '{parent}'"))


def weights(project: Project, run_id: str) -> dict[str, np.ndarray]:
    loaded: dict[str, np.ndarray] = load_file(
        project.folder / "out" / "runs" / run_id / "model" / "weights.safetensors"
    )
    return loaded


@pytest.fixture(scope="module")
def first(project: Project) -> str:
    """The id of a first run, started in a folder below the project."""
    below = Project(project.folder / "conf")
    return below.runforge("train", *SHORT).stdout.strip()


def test_a_run_is_recorded_whole(project: Project, first: str) -> None:
    run = client(project).get_run(first)
    assert run.info.status == "FINISHED"
    assert 0 <= run.data.metrics["test/accuracy"] <= 1
    assert run.data.tags["runforge.primary_metric"] == "test/accuracy:max"
    assert run.data.tags["runforge.selection_metric"] == "validation/accuracy:max"
    # The weights that are handed on are those of the kept epoch; computed in training by the way.
    kept = int(run.data.tags["runforge.kept_epoch"])
    history = client(project).get_metric_history(first, "validation/accuracy")
    of_epochs = [point.value for point in sorted(history, key=lambda point: point.step)]
    assert run.data.metrics["selection/accuracy"] == pytest.approx(of_epochs[kept], abs=1e-6)
    folder = project.folder / "out" / "runs" / first
    assert "<html" in (folder / "evaluation" / "report.html").read_text()
    assert list(project.folder.rglob("*.db")) == [project.folder / "mlflow.db"]


def test_the_same_seed_gives_the_same_weights_and_figures(project: Project, first: str) -> None:
    done = project.runforge("train", *SHORT, "machine.workers=1", **INHERITED)
    assert done.stderr.startswith("warning: WORLD_SIZE=4 is not used: a command starts its own")
    again = done.stdout.strip()
    one, other = weights(project, first), weights(project, again)
    assert again != first
    tags = client(project).get_run(again).data.tags
    assert "runforge.dvc_experiment" not in tags
    assert [e.name for e in client(project).search_experiments()].count("other") == 0
    assert one.keys() == other.keys()
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name])
    figures = [
        json.loads((project.folder / "out/runs" / run / "evaluation/metrics.json").read_text())
        for run in (first, again)
    ]
    assert figures[0] == figures[1]


def test_training_starts_from_another_runs_weights(project: Project, first: str) -> None:
    # With a learning rate of next to nothing, the weights stay where they began.
    run_id = project.runforge(
        "train", *SHORT, f"init_from={first[:8]}", "optimizer.learning_rate=1e-30", "seed=5"
    ).stdout.strip()
    for name, values in weights(project, first).items():
        np.testing.assert_allclose(weights(project, run_id)[name], values, atol=1e-6)
    assert client(project).get_run(run_id).data.tags["runforge.init_from"] == first


def test_a_copied_project_trains_from_its_own_artifacts(
    project: Project, first: str, tmp_path: Path
) -> None:
    there = Project(tmp_path / "copy")
    shutil.copytree(project.folder, there.folder)
    shutil.rmtree(there.folder / "out" / "runs" / first / "bundle", ignore_errors=True)
    there.runforge("train", *SHORT, f"init_from={first[:8]}")
    for one in (there, project):
        address = client(one).get_run(first).info.artifact_uri
        assert address.startswith(f"{one.folder.as_uri()}/mlruns/")


def test_weights_of_a_run_that_is_not_there(project: Project) -> None:
    done = project.runforge("train", "init_from=abcdef12", code=2)
    assert "abcdef12" in done.stderr


def test_a_sweep_is_a_parent_with_its_trials(project: Project) -> None:
    done = project.runforge("train", "-m", "network=cnn,mlp", *SHORT)
    parent = done.stdout.strip()
    trials = children(project, parent)
    assert sorted(t.info.run_name for t in trials) == ["network=cnn", "network=mlp"]
    assert {t.info.status for t in trials} == {"FINISHED"}
    run = client(project).get_run(parent)
    assert run.info.status == "FINISHED"
    best = max(trials, key=lambda t: t.data.metrics["selection/accuracy"])
    assert run.data.metrics["test/accuracy"] == best.data.metrics["test/accuracy"]
    assert run.data.metrics["selection/accuracy"] == best.data.metrics["selection/accuracy"]
    table = json.loads(Path(client(project).download_artifacts(parent, "trials.json")).read_text())
    assert len(table["data"]) == 2


def test_a_trial_is_the_same_training_as_alone(project: Project) -> None:
    project.runforge("train", "-m", "seed=7,8", *SHORT)
    alone = project.runforge("train", "seed=8", "fresh=true", *SHORT).stdout.strip()
    weights: dict[str, bytes] = {}
    for folder in (project.folder / "out" / "runs").glob("*/model"):
        run = client(project).get_run(folder.parent.name)
        if run.data.params["seed"] == "8":
            weights[run.info.run_id] = (folder / "weights.safetensors").read_bytes()
    assert len(weights) == 2 and alone in weights
    assert len(set(map(len, weights.values()))) == 1
    tensors = [safetensors.torch.load(content) for content in weights.values()]
    assert all(tensors[0][name].equal(tensors[1][name]) for name in tensors[0])


def test_a_failed_trial_is_recorded_and_the_sweep_goes_on(project: Project) -> None:
    rates = "optimizer.learning_rate=1e38,0.001"
    together = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    done = project.runforge("train", "-m", rates, "optimizer=sgd", *SHORT, *together, code=1)
    parent = done.stdout.strip()
    status = {t.info.run_name: t.info.status for t in children(project, parent)}
    assert status == {"learning_rate=1e+38": "FAILED", "learning_rate=0.001": "FINISHED"}
    assert "learning_rate=1e+38" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    failed = next(t for t in children(project, parent) if t.info.status == "FAILED")
    assert "lower optimizer.learning_rate" in failed.data.tags["runforge.error"]
    run = client(project).get_run(parent)
    assert run.info.status == "FAILED"
    assert run.data.tags["runforge.best_trial"] == "learning_rate=0.001"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_run_as_killed(project: Project, number: int, code: int) -> None:
    command = [sys.executable, "-m", "runforge", "train", "trainer.max_epochs=10000", "fresh=true"]
    with subprocess.Popen(
        command,
        cwd=project.folder,
        env=clean_environment(),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        while "epoch 2/" not in (line := process.stderr.readline()):
            assert line, "it ended before it trained"
        for _ in range(3):  # a terminal, `timeout` and a shell each make one of the same press
            os.killpg(process.pid, number)
            time.sleep(0.01)
        said = process.stderr.read()
        assert process.wait(30) == code, said
    experiments = [e.experiment_id for e in client(project).search_experiments()]
    newest = client(project).search_runs(experiments, order_by=["attributes.start_time DESC"])[0]
    assert newest.info.status == "KILLED"
    kept = project.folder / "out/runs" / newest.info.run_id / "checkpoints"
    assert len(list(kept.glob("last-*"))) >= 1
    time.sleep(0.5)
    assert subprocess.run(["pgrep", "-g", str(process.pid)], capture_output=True).stdout == b""


@pytest.mark.parametrize("recipe", ["breast_cancer", "diabetes"])
def test_a_table_goes_through_the_same_stages(project: Project, recipe: str) -> None:
    project.runforge("sample", recipe)
    run_id = project.runforge("train", f"experiment={recipe}").stdout.strip()
    metrics = client(project).get_run(run_id).data.metrics
    if recipe == "breast_cancer":
        assert metrics["test/accuracy"] > 0.9
    else:
        assert metrics["test/r2"] > 0.3
    files = {p.name for p in (project.folder / "out/runs" / run_id / "evaluation").iterdir()}
    assert ("confusion.csv" in files) == (recipe == "breast_cancer")
