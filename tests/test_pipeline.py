"""`dvc repro` and `dvc exp run` on a real repository: what runs again, and where it is recorded."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import mlflow
import numpy as np
import polars as pl
import pytest
from mlflow.entities import Run, ViewType
from mlflow.tracking import MlflowClient

from tests.conftest import Project, make_project, thin_out

STAGES = ("compose", "prepare", "train", "evaluate")


@pytest.fixture(scope="module")
def repro(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project whose pipeline ran once, committed."""
    project = make_project(tmp_path_factory.mktemp("pipeline") / "project")
    project.edit("conf/experiment/images.yaml", "max_epochs: 20", "max_epochs: 2")
    project.runforge("sample", "digits")
    thin_out(project.folder / "data", 30)
    project.run("dvc", "add", "--quiet", "data")
    project.run("dvc", "repro")
    project.git("add", "--all")
    project.git("commit", "--quiet", "--message=ran")
    yield project


def client(project: Project) -> MlflowClient:
    return MlflowClient(f"sqlite:///{project.folder}/mlflow.db")


def runs(project: Project) -> list[Run]:
    """Every run in the project's store, the newest first."""
    store = client(project)
    experiments = [e.experiment_id for e in store.search_experiments()]
    return list(store.search_runs(experiments, run_view_type=ViewType.ALL, max_results=1000))


def ran(output: str) -> set[str]:
    """The stages that DVC ran, from what it printed."""
    return {stage for stage in STAGES if f"Running stage '{stage}'" in output}


def test_the_files_of_the_contract_are_there(repro: Project) -> None:
    for name in (
        "params.yaml",
        "out/prepared/schema.json",
        "out/prepared/manifest.parquet",
        "out/prepared/quarantine.csv",
        "out/model/weights.safetensors",
        "out/model/bundle.json",
        "out/evaluation/predictions.parquet",
        "out/evaluation/metrics.json",
        "out/evaluation/confusion.csv",
        "out/evaluation/report.html",
    ):
        assert (repro.folder / name).is_file(), name


def test_the_figures_are_those_of_the_predictions(repro: Project) -> None:
    table = pl.read_parquet(repro.folder / "out/evaluation/predictions.parquet")
    figures = json.loads((repro.folder / "out/evaluation/metrics.json").read_text())
    accuracy = (table["target"] == table["predicted"]).mean()
    assert figures["accuracy"] == pytest.approx(accuracy)
    assert figures["accuracy_low"] <= figures["accuracy"] <= figures["accuracy_high"]
    assert len(pl.read_csv(repro.folder / "out/evaluation/confusion.csv")) == len(table)


def test_one_finished_run_holds_everything(repro: Project) -> None:
    (run,) = runs(repro)
    figures = json.loads((repro.folder / "out/evaluation/metrics.json").read_text())
    assert run.info.status == "FINISHED"
    assert run.data.params["optimizer.learning_rate"] == "0.003"
    assert run.data.metrics["test/accuracy"] == pytest.approx(figures["accuracy"])
    main = json.loads((repro.folder / "metrics.json").read_text())
    assert main.pop("validation").keys() == {"accuracy"}
    assert {n for n in run.data.metrics if n.startswith("test/")} == {f"test/{n}" for n in main}
    assert len([name for name in run.data.tags if name.startswith("runforge.")]) <= 20
    assert run.inputs.dataset_inputs
    assert run.data.tags["runforge.git_commit"]
    assert run.data.tags["runforge.data_fingerprint"]
    assert run.data.tags["runforge.data_dvc_hash"].endswith(".dir")
    history = client(repro).get_metric_history(run.info.run_id, "validation/loss")
    assert len(history) == 2
    names = {a.path for a in client(repro).list_artifacts(run.info.run_id)}
    assert {"bundle", "evaluation", "configuration.yaml"} <= names


def test_the_recorded_model_predicts_what_was_evaluated(
    repro: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run,) = runs(repro)
    # Not by `mlflow.set_tracking_uri`, which would hold for every later test of this process.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{repro.folder}/mlflow.db")
    model = mlflow.pyfunc.load_model(f"models:/{run.outputs.model_outputs[0].model_id}")
    manifest = pl.read_parquet(repro.folder / "out/prepared/manifest.parquet")
    table = pl.read_parquet(repro.folder / "out/evaluation/predictions.parquet")
    rows = table.join(manifest.select("id", "row"), on="id", maintain_order="left")["row"]
    inputs = np.load(repro.folder / "out/prepared/inputs.npy")[rows.to_numpy()]
    columns = [c for c in table.columns if c.startswith("probability_")]
    for count in (1, 7, len(inputs)):
        predicted = model.predict(inputs[:count])
        np.testing.assert_allclose(predicted, table[columns].to_numpy()[:count], atol=1e-5)


def test_nothing_to_do_runs_nothing(repro: Project) -> None:
    assert ran(repro.run("dvc", "repro").stdout) == set()
    assert len(runs(repro)) == 1


@pytest.fixture
def copy(repro: Project, tmp_path: Path) -> Project:
    """The project that ran, in another folder and with a store of its own, for a test to change."""
    ignored = shutil.ignore_patterns("mlflow.db*", "runs")
    shutil.copytree(repro.folder, tmp_path / "copy", symlinks=True, ignore=ignored)
    return Project(tmp_path / "copy")


def test_an_edit_of_a_value_reruns_only_what_reads_it(copy: Project) -> None:
    copy.edit("conf/evaluation/default.yaml", "resamples: 1000", "resamples: 200")
    assert ran(copy.run("dvc", "repro").stdout) == {"compose", "evaluate"}
    assert "resamples: 200" in (copy.folder / "params.yaml").read_text()


def test_an_experiment_that_only_a_shell_names_is_none(copy: Project) -> None:
    commit = copy.run("git", "rev-parse", "HEAD").stdout.strip()
    inherited = {"DVC_EXP_NAME": "mine", "DVC_EXP_BASELINE_REV": commit, "DVC_STAGE": "compose"}
    file = copy.folder / ".dvc/tmp/exps/run/workspace/workspace.run"
    file.parent.mkdir(parents=True)
    noted = {"name": "mine", "baseline_rev": commit, "status": 2}
    value = 1000
    # Nothing noted; an experiment that has ended; one of another name, one from another commit.
    for left in (
        None,
        {**noted, "status": 4},
        {**noted, "name": "x"},
        {**noted, "baseline_rev": ""},
    ):
        file.write_text(json.dumps(left or {}))
        copy.edit("conf/evaluation/default.yaml", f"resamples: {value}", f"resamples: {value + 1}")
        value += 1
        copy.run("dvc", "repro", "compose", **inherited)
        assert f"resamples: {value}" in (copy.folder / "params.yaml").read_text()


def test_an_edit_of_the_machine_reruns_nothing(copy: Project) -> None:
    copy.edit("conf/machine/auto.yaml", "workers: 0", "workers: 1")
    assert ran(copy.run("dvc", "repro").stdout) == {"compose"}


def test_the_pipeline_on_two_devices_gives_the_same_figures(copy: Project) -> None:
    before = json.loads((copy.folder / "out/evaluation/metrics.json").read_text())
    copy.edit("conf/machine/auto.yaml", "devices: 1", "devices: 2")
    copy.edit("conf/machine/auto.yaml", "accelerator: auto", "accelerator: cpu")
    assert ran(copy.run("dvc", "repro").stdout) == {"compose"}
    copy.run("dvc", "repro", "--force", "--single-item", "train", "evaluate")
    after = json.loads((copy.folder / "out/evaluation/metrics.json").read_text())
    assert after.keys() == before.keys()
    assert after["accuracy"] == before["accuracy"]
    assert after["log_loss"] == pytest.approx(before["log_loss"], rel=1e-3)
    newest, *_ = runs(copy)
    assert newest.info.status == "FINISHED"
    assert newest.data.tags["runforge.restarts"] == "0"


def test_a_moved_data_root_is_taken_by_the_second_repro(copy: Project) -> None:
    shutil.copytree(copy.folder / "data", copy.folder / "other")
    copy.edit("conf/data/images.yaml", "root: data", "root: other")
    first = copy.run("dvc", "repro", code=None)
    assert first.returncode != 0
    assert "data.root is now other" in first.stderr and "once more" in first.stderr
    assert ran(copy.run("dvc", "repro", "prepare").stdout) == {"compose", "prepare"}
    assert "path: other" in (copy.folder / "dvc.lock").read_text()


def test_a_mistake_in_conf_stops_the_pipeline_with_one_line(copy: Project) -> None:
    copy.edit("conf/experiment/images.yaml", "learning_rate: 0.003", "learning_rate: -1")
    done = copy.run("dvc", "repro", code=None)
    assert done.returncode != 0
    assert "conf/experiment/images.yaml: optimizer.learning_rate" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_experiment_with_a_group_and_a_value_reaches_params_and_store(copy: Project) -> None:
    before = len(runs(copy))
    overrides = ("-S", "network=mlp", "-S", "optimizer.learning_rate=0.01")
    done = copy.run("dvc", "exp", "run", "-n", "mine", *overrides, DVC_EXP_NAME="mine")
    assert ran(done.stdout) == {"compose", "train", "evaluate"}
    assert "runforge.networks.mlp.Mlp" in (copy.folder / "params.yaml").read_text()
    newest, *_ = runs(copy)
    assert len(runs(copy)) == before + 1
    assert newest.data.params["network._target_"] == "runforge.networks.mlp.Mlp"
    assert newest.data.params["optimizer.learning_rate"] == "0.01"
    assert newest.data.tags["runforge.dvc_experiment"] == "mine"
    told = copy.run("dvc", "exp", "show", "--csv", "--only-changed", "--drop", "src/|out/").stdout
    columns, *rows = csv.reader(io.StringIO(told))
    assert {"accuracy", "network._target_", "optimizer.learning_rate"} <= set(columns)
    assert len(columns) <= 25 and len(rows) == 3
    assert not [name for name in columns if name.endswith(("_low", "_high"))]
    values = {row[columns.index("accuracy")] for row in rows}
    figures = json.loads((copy.folder / "metrics.json").read_text())
    assert float(figures["accuracy"]) in {float(value) for value in values}


def test_temporary_and_queued_experiments_reach_the_outer_store(copy: Project) -> None:
    before = {run.info.run_id for run in runs(copy)}
    copy.run("dvc", "exp", "run", "--temp", "-S", "optimizer.learning_rate=0.02")
    copy.run("dvc", "exp", "run", "--queue", "-S", "optimizer.learning_rate=0.03,0.04")
    copy.run("dvc", "queue", "start", "--jobs", "1")
    wait_for_queue(copy, 2)
    new = [run for run in runs(copy) if run.info.run_id not in before]
    rates = sorted(run.data.params["optimizer.learning_rate"] for run in new)
    assert rates == ["0.02", "0.03", "0.04"]
    assert {run.info.status for run in new} == {"FINISHED"}
    assert all(
        Path(run.info.artifact_uri.removeprefix("file://")).is_relative_to(copy.folder)
        for run in new
    )


def wait_for_queue(project: Project, jobs: int) -> None:
    """Waits until every queued experiment has ended; fails where one failed."""
    import time

    for _ in range(120):
        status = project.run("dvc", "queue", "status").stdout
        if status.count("Success") + status.count("Failed") >= jobs:
            assert "Failed" not in status, status
            return
        time.sleep(1)
    pytest.fail(f"the queue did not end: {status}")


def test_metrics_and_plots_show_and_diff(repro: Project) -> None:
    shown = json.loads(repro.run("dvc", "metrics", "show", "--json").stdout)
    assert "accuracy" in json.dumps(shown)
    repro.run("dvc", "metrics", "diff", "HEAD", "--json")
    repro.run("dvc", "plots", "show", "--out", str(repro.folder / "out/plots"))
    page = (repro.folder / "out/plots/index.html").read_text()
    assert "Confusion matrix" in page
    repro.run("dvc", "plots", "diff", "HEAD", "--out", str(repro.folder / "out/plots"))
