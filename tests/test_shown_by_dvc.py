"""`dvc metrics` and `dvc plots` of every kind of evaluation, here and in a fresh clone."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from runforge.metrics.classification import classification_figures
from runforge.metrics.regression import regression_figures
from runforge.predictions import Predictions
from runforge.shown_by_dvc import PLOTS, hand_over
from tests.conftest import REPOSITORY, Project, make_project
from tests.test_evaluation import diabetes, digits, write

OF_CLASSES = {"confusion", "roc", "precision_recall", "reliability"}
DRAWN = {"binary": OF_CLASSES, "multiclass": OF_CLASSES, "regression": {"residuals"}}
ALONE = ("dvc.yaml", "params.yaml", ".dvc/config", ".gitignore")


def binary() -> Predictions:
    """Whether a digit is below 5."""
    ten = digits()
    low = ten.values[:, :5].sum(axis=1)
    values = np.stack([low, 1 - low], axis=1).astype(np.float32)
    return Predictions(ten.ids, "test", (ten.targets >= 5).astype(np.int64), values, ("low", "up"))


@pytest.fixture(scope="module", params=DRAWN)
def evaluated(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Project]:
    """A kind of task, and a project with an evaluation of it as the stage leaves it, committed."""
    project = make_project(tmp_path_factory.mktemp(request.param) / "project", ALONE)
    predictions = {"binary": binary, "multiclass": digits, "regression": diabetes}[request.param]()
    figures = regression_figures if request.param == "regression" else classification_figures
    write(
        project.folder / "out/evaluation",
        predictions,
        figures(predictions, resamples=50, seed=0),
    )
    hand_over(project.folder)
    project.git("add", "--all")
    project.git("commit", "--quiet", "--message=evaluated")
    return request.param, project


def test_the_plots_are_those_of_the_pipeline_with_their_columns() -> None:
    plots = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["plots"]
    read = {}
    for one in plots:
        ((name, drawn),) = one.items()
        ((file, column),) = drawn["y"].items()
        read[file] = {drawn["x"], column}
        assert file == f"out/evaluation/{name}.csv"
    assert read.keys() == {f"out/evaluation/{name}.csv" for name in PLOTS}
    assert all(columns <= set(PLOTS[Path(file).stem]) for file, columns in read.items())


def test_every_plot_loads_and_those_of_the_task_have_data(
    evaluated: tuple[str, Project],
) -> None:
    kind, project = evaluated
    done = project.run("dvc", "plots", "show", "--json")
    assert done.stderr == ""
    shown = json.loads(done.stdout)
    assert "errors" not in shown and shown["data"].keys() == PLOTS.keys()
    drawn = {name for name, plots in shown["data"].items() if plots}
    assert drawn == DRAWN[kind]
    for name in drawn:
        rows = shown["data"][name][0]["content"]["data"]["values"]
        assert len(rows) == len(pl.read_csv(project.folder / f"out/evaluation/{name}.csv"))
    differing = project.run("dvc", "plots", "diff", "HEAD", "--targets", *drawn, "--json")
    assert json.loads(differing.stdout)["data"].keys() == drawn


def test_a_fresh_clone_has_the_main_figures(evaluated: tuple[str, Project], tmp_path: Path) -> None:
    _, project = evaluated
    every = json.loads((project.folder / "out/evaluation/metrics.json").read_text())
    main = json.loads((project.folder / "metrics.json").read_text())
    validation = json.loads((project.folder / "out/evaluation/validation.json").read_text())
    assert validation and main.pop("validation") == validation
    assert 3 <= len(main) <= 8 and main.items() <= every.items()
    assert not [name for name in main if name.endswith(("_low", "_high"))]
    subprocess.run(["git", "clone", "-q", project.folder, tmp_path / "clone"], check=True)
    clone = Project(tmp_path / "clone")
    shown = json.loads(clone.run("dvc", "metrics", "show", "--json").stdout)
    (told,) = shown.values()
    found = told["data"]["metrics.json"]["data"]
    assert found.pop("validation") == validation and found == pytest.approx(main)
    name = next(iter(main))
    (clone.folder / "metrics.json").write_text(json.dumps({**main, name: main[name] + 1}))
    changed = json.loads(clone.run("dvc", "metrics", "diff", "HEAD", "--json").stdout)
    assert changed["metrics.json"][name]["diff"] == pytest.approx(1)
