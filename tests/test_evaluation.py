"""The evaluation folder: every file in its form, whole or not at all."""

from __future__ import annotations

import csv
import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_digits
from sklearn.linear_model import LogisticRegression, Ridge

from runforge.evaluation import write_evaluation
from runforge.history import History, HistoryRow
from runforge.metrics.classification import classification_figures
from runforge.metrics.figures import Figures
from runforge.metrics.regression import regression_figures
from runforge.predictions import Predictions
from runforge.sample import Shown
from runforge.schema import Schema

DIGITS = tuple("0123456789")


@functools.cache
def digits() -> Predictions:
    data = load_digits()
    model = LogisticRegression(C=0.001, max_iter=1000).fit(data.data[:1000], data.target[:1000])
    rows = slice(1500, 1770)
    ids = np.array([f"{row:032x}" for row in range(270)])
    values = model.predict_proba(data.data[rows]).astype(np.float32)
    return Predictions(ids, "test", data.target[rows].astype(np.int64), values, DIGITS)


def diabetes() -> Predictions:
    data = load_diabetes()
    model = Ridge(0.1).fit(data.data[:300], data.target[:300])
    ids = np.array([f"{row:032x}" for row in range(142)])
    return Predictions(ids, "test", data.target[300:], model.predict(data.data[300:])[:, None], ())


def write(folder: Path, predictions: Predictions, figures: Figures, **changed: Any) -> None:
    schema = Schema(
        modality={},
        layout={},
        packed_shape=(8, 8, 3),
        packed_dtype="uint8",
        input_shape=(3, 8, 8),
        target_kind="class" if predictions.classes else "value",
        target_name="target",
        classes=predictions.classes,
        statistics={},
        target_mean=0,
        target_std=1,
        split_counts={"test": {"": len(predictions.ids)}},
    )
    parts: dict[str, Any] = {
        "predictions": predictions,
        "figures": figures,
        "chosen_by": {"accuracy": 0.75},
        "schema": schema,
        "history": History((HistoryRow(0, 1, {"train/loss": 1.0}),)),
        "shown": lambda _: Shown(np.zeros((8, 8, 3), np.uint8), ()),
        "worst": 6,
        "lineage": {"command": "runforge train"},
        "configuration": {"seed": 0},
        "run_id": "0123abcd",
        "quarantine": None,
        "manifest": None,
    }
    write_evaluation(folder, **{**parts, **changed})


def read_csv(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classes") / "evaluation"
    predictions = digits()
    write(folder, predictions, classification_figures(predictions, resamples=200, seed=0))
    return folder


def test_files_of_a_classification(folder: Path) -> None:
    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()) == [
        "confusion.csv",
        "main_metrics.json",
        "metrics.json",
        "notes.txt",
        "per_class.csv",
        "pictures/confusion.png",
        "pictures/learning_curves.png",
        "pictures/precision_recall.png",
        "pictures/reliability.png",
        "pictures/roc.png",
        "pictures/worst.png",
        "precision_recall.csv",
        "predictions.parquet",
        "reliability.csv",
        "report.html",
        "roc.csv",
        "validation.json",
    ]
    assert [path.name for path in folder.parent.iterdir()] == ["evaluation"]
    assert (folder / "report.html").stat().st_size < 1_500_000


def test_metrics_are_flat_numbers_with_intervals(folder: Path) -> None:
    metrics = json.loads((folder / "metrics.json").read_text())
    assert all(isinstance(value, float) for value in metrics.values())
    for name in ("accuracy", "balanced_accuracy", "roc_auc", "log_loss", "calibration_error"):
        assert metrics[f"{name}_low"] <= metrics[name] <= metrics[f"{name}_high"]
    main = json.loads((folder / "main_metrics.json").read_text())
    assert {f"{name}_low" for name in main} == {n for n in metrics if n.endswith("_low")}
    assert main == {name: metrics[name] for name in main}
    predictions = digits()
    right = float(np.mean(predictions.predicted == predictions.targets))
    assert metrics["accuracy"] == pytest.approx(right)
    assert f"{right:.4f}" in (folder / "report.html").read_text(encoding="utf-8")


def test_confusion_holds_one_row_for_each_sample(folder: Path) -> None:
    header, *rows = read_csv(folder / "confusion.csv")
    predictions = digits()
    assert header == ["actual", "predicted"]
    pairs = zip(predictions.targets, predictions.predicted, strict=True)
    assert rows == [[DIGITS[target], DIGITS[guess]] for target, guess in pairs]


def test_curves_are_in_long_form(folder: Path) -> None:
    headers = {name: read_csv(folder / f"{name}.csv")[0] for name in ("roc", "precision_recall")}
    assert headers["roc"] == ["class", "false_positive_rate", "true_positive_rate"]
    assert headers["precision_recall"] == ["class", "recall", "precision"]
    assert read_csv(folder / "reliability.csv")[0] == ["class", "confidence", "share_right"]
    assert {row[0] for row in read_csv(folder / "roc.csv")[1:]} == set(DIGITS)


def test_predictions_are_read_back(folder: Path) -> None:
    found = Predictions.read(folder / "predictions.parquet")
    np.testing.assert_array_equal(found.values, digits().values)


def test_twice_is_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    predictions = digits()
    figures = classification_figures(predictions, resamples=200, seed=0)
    write(tmp_path / "again", predictions, figures)
    for path in folder.rglob("*"):
        if path.is_file():
            other = tmp_path / "again" / path.relative_to(folder)
            assert path.read_bytes() == other.read_bytes(), path.name


def test_files_of_a_regression(tmp_path: Path) -> None:
    predictions = diabetes()
    folder = tmp_path / "evaluation"
    write(folder, predictions, regression_figures(predictions, resamples=200, seed=0))
    assert sorted(path.name for path in folder.iterdir()) == [
        "main_metrics.json",
        "metrics.json",
        "notes.txt",
        "pictures",
        "predictions.parquet",
        "report.html",
        "residuals.csv",
        "validation.json",
    ]
    header, *rows = read_csv(folder / "residuals.csv")
    assert header == ["id", "actual", "predicted", "residual"] and len(rows) == 142
    for row in rows:
        assert float(row[1]) - float(row[2]) == pytest.approx(float(row[3]))


def test_what_is_undefined_is_left_out_and_explained(tmp_path: Path) -> None:
    values = np.array([[0.9, 0.1], [np.nan, 0.8], [0.2, 0.8]])
    ids = np.array(["a", "b", "c"])
    predictions = Predictions(ids, "test", np.array([1, 1, 1]), values, ("x", "y"))
    write(tmp_path / "e", predictions, classification_figures(predictions, resamples=100, seed=0))
    metrics = json.loads((tmp_path / "e" / "metrics.json").read_text())
    assert "roc_auc" not in metrics and metrics["non_finite"] == 1
    assert len(read_csv(tmp_path / "e" / "confusion.csv")) == 1 + 2
    html = (tmp_path / "e" / "report.html").read_text(encoding="utf-8")
    assert "undefined: the samples are all of one class" in html
    assert "1 of 3 samples" in html


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    predictions = diabetes()
    figures = regression_figures(predictions, resamples=100, seed=0)
    folder = tmp_path / "evaluation"
    write(folder, predictions, figures)
    before = (folder / "metrics.json").read_bytes()
    with pytest.raises(TypeError):
        write(folder, predictions, figures, configuration=7)
    assert (folder / "metrics.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["evaluation"]


def test_no_worst_is_no_contact_sheet(tmp_path: Path) -> None:
    predictions = diabetes()
    write(
        tmp_path / "e", predictions, regression_figures(predictions, resamples=100, seed=0), worst=0
    )
    assert not (tmp_path / "e" / "pictures" / "worst.png").exists()
    assert "Worst predictions" not in (tmp_path / "e" / "report.html").read_text(encoding="utf-8")
