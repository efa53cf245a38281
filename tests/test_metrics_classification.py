"""Every figure of a classification against scikit-learn or a count by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk
from torchmetrics.functional.classification import multiclass_calibration_error

from runforge.metrics.classification import MAIN, classification_figures
from runforge.metrics.curves import MOST_POINTS
from runforge.metrics.figures import Figures
from runforge.metrics.ranking import Ranking
from runforge.predictions import Predictions


def made(count: int, classes: int, seed: int = 0, rounded: int | None = None) -> Predictions:
    generator = np.random.default_rng(seed)
    targets = np.concatenate(
        [np.arange(classes), generator.integers(0, classes, count - classes)]
    ).astype(np.int64)
    logits = generator.normal(size=(count, classes))
    logits[np.arange(count), targets] += 1.5
    values = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    if rounded is not None:  # many equal scores
        values = np.round(values, rounded)
        values[:, 0] += 1 - values.sum(axis=1)
        values = np.abs(values) / np.abs(values).sum(axis=1, keepdims=True)
    names = tuple(f"c{code}" for code in range(classes))
    ids = np.array([str(row) for row in range(count)])
    return Predictions(ids, "test", targets, values, names)


def figures_of(predictions: Predictions) -> Figures:
    return classification_figures(predictions, resamples=100, seed=0)


def expected(p: Predictions) -> dict[str, float]:
    y, guess, values = p.targets, p.values.argmax(axis=1), p.values
    codes = [1] if len(p.classes) == 2 else range(len(p.classes))
    areas = [sk.roc_auc_score(y == c, values[:, c]) for c in codes]
    precisions = [sk.average_precision_score(y == c, values[:, c]) for c in codes]
    averaged = {
        f"{name}_{average}": score(y, guess, average=average, zero_division=0)
        for average in ("macro", "weighted")
        for name, score in (
            ("precision", sk.precision_score),
            ("recall", sk.recall_score),
            ("f1", sk.f1_score),
        )
    }
    return {
        **averaged,
        "accuracy": sk.accuracy_score(y, guess),
        "balanced_accuracy": sk.balanced_accuracy_score(y, guess),
        "roc_auc": float(np.mean(areas)),
        "average_precision": float(np.mean(precisions)),
        "log_loss": sk.log_loss(y, values, labels=range(len(p.classes))),
        "calibration_error": calibration_by_hand(p),
        "non_finite": 0,
    }


def calibration_by_hand(p: Predictions) -> float:
    confidence, right = p.values.max(axis=1), p.values.argmax(axis=1) == p.targets
    error = 0.0
    for low in range(15):
        inside = (confidence * 15 >= low) & ((confidence * 15 < low + 1) | (low == 14))
        if inside.any():
            gap = abs(right[inside].mean() - confidence[inside].mean())
            error += inside.mean() * gap
    return error


@pytest.mark.parametrize("rounded", [None, 1])
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_values_are_scikit_learns(classes: int, rounded: int | None) -> None:
    predictions = made(400, classes, rounded=rounded)
    found = figures_of(predictions)
    wanted = expected(predictions)
    assert set(found.metrics) == set(wanted)
    for name, value in wanted.items():
        assert found.metrics[name].value == pytest.approx(value, abs=1e-6), name


def test_calibration_error_is_torchmetrics_too() -> None:
    import torch

    p = made(500, 4)
    theirs = multiclass_calibration_error(
        torch.from_numpy(p.values), torch.from_numpy(p.targets), num_classes=4, n_bins=15
    )
    mine = figures_of(p).metrics["calibration_error"].value
    assert mine == pytest.approx(float(theirs), abs=1e-6)


def test_each_class_is_scikit_learns() -> None:
    p = made(300, 5)
    parts = sk.precision_recall_fscore_support(p.targets, p.predicted)
    rows = figures_of(p).per_class
    for mine, theirs in zip(rows, zip(*parts, strict=True), strict=True):
        assert (mine.precision, mine.recall, mine.f1, mine.support) == pytest.approx(theirs)
    assert [row.name for row in rows] == list(p.classes)


def test_rows_of_the_confusion_matrix_are_the_truth() -> None:
    p = made(300, 5)
    confusion = figures_of(p).confusion
    assert confusion is not None
    np.testing.assert_array_equal(confusion.counts, sk.confusion_matrix(p.targets, p.predicted))
    assert confusion.counts.sum() == 300


def test_curves_pass_through_scikit_learns_points() -> None:
    p = made(200, 3)
    curves = {curve.name: curve for curve in figures_of(p).curves}
    assert set(curves) == {"roc", "precision_recall", "reliability"}
    for code, series in enumerate(curves["roc"].series):
        x, y, _ = sk.roc_curve(p.targets == code, p.values[:, code])
        assert np.trapezoid(series.y, series.x) == pytest.approx(np.trapezoid(y, x), abs=1e-6)
    reliability = curves["reliability"].series[0]
    assert reliability.weights is not None and reliability.weights.sum() == 200


def test_a_long_curve_is_thinned_with_its_ends() -> None:
    roc = figures_of(made(5000, 2)).curves[0].series[0]
    assert len(roc.x) <= MOST_POINTS
    assert (roc.x[0], roc.y[0], roc.x[-1], roc.y[-1]) == (0, 0, 1, 1)


@pytest.mark.parametrize("rounded", [None, 1])
def test_weighted_areas_are_scikit_learns(rounded: int | None) -> None:
    p = made(200, 2, rounded=rounded)
    generator = np.random.default_rng(1)
    weights = generator.multinomial(200, np.full(200, 1 / 200), size=5).astype(np.int32)
    areas = Ranking.of(p.values[:, 1], p.targets == 1).areas(weights)
    for row, weight in enumerate(weights):
        scored = (p.targets == 1, p.values[:, 1])
        roc = sk.roc_auc_score(*scored, sample_weight=weight)
        precision = sk.average_precision_score(*scored, sample_weight=weight)
        assert areas.roc[row] == pytest.approx(roc, abs=1e-9)
        assert areas.average_precision[row] == pytest.approx(precision, abs=1e-9)


def test_an_absent_class_is_absent_and_not_zero() -> None:
    full = made(300, 3)
    kept = full.targets != 2
    p = Predictions(full.ids[kept], "test", full.targets[kept], full.values[kept], full.classes)
    found = figures_of(p)
    row = found.per_class[2]
    assert (row.recall, row.f1, row.support) == (None, None, 0)
    recalls = sk.recall_score(p.targets, p.predicted, labels=[0, 1], average="macro")
    assert found.metrics["balanced_accuracy"].value == pytest.approx(recalls)
    areas = [sk.roc_auc_score(p.targets == c, p.values[:, c]) for c in (0, 1)]
    assert found.metrics["roc_auc"].value == pytest.approx(np.mean(areas), abs=1e-6)
    assert "2 of 3 classes" in found.metrics["roc_auc"].reason
    assert any("'c2'" in note for note in found.notes)
    assert len(found.curves[0].series) == 2


def test_one_class_only_has_no_area() -> None:
    values = np.array([[0.9, 0.1], [0.2, 0.8]])
    p = Predictions(np.array(["a", "b"]), "test", np.array([1, 1]), values, ("x", "y"))
    found = figures_of(p)
    assert found.metrics["roc_auc"].value is None
    assert found.undefined()["roc_auc"] == "the samples are all of one class"
    assert "roc_auc" not in found.numbers() and "roc_auc_low" not in found.numbers()
    assert found.metrics["accuracy"].value == 0.5
    assert [curve.name for curve in found.curves] == ["reliability"]


def test_a_class_that_is_never_predicted_has_no_precision() -> None:
    values = np.tile([[0.9, 0.1]], (4, 1))
    p = Predictions(np.array(list("abcd")), "test", np.array([0, 0, 1, 1]), values, ("x", "y"))
    found = figures_of(p)
    assert found.per_class[1].precision is None and found.per_class[1].recall == 0
    wanted = sk.precision_score(p.targets, p.predicted, average="macro", zero_division=0)
    assert found.metrics["precision_macro"].value == pytest.approx(wanted)


def test_samples_without_a_finite_output_are_counted_and_left_out() -> None:
    whole = made(100, 3)
    values = whole.values.copy()
    values[:4, 1] = np.nan
    p = Predictions(whole.ids, "test", whole.targets, values, whole.classes)
    rest = Predictions(whole.ids[4:], "test", whole.targets[4:], whole.values[4:], whole.classes)
    found, wanted = figures_of(p), figures_of(rest)
    assert found.metrics["non_finite"].value == 4
    assert any("4 of 100 samples" in note for note in found.notes)
    for name in MAIN:
        assert found.metrics[name] == wanted.metrics[name]
    assert found.confusion is not None and found.confusion.counts.sum() == 96


def test_no_finite_output_at_all_defines_nothing() -> None:
    values = np.full((3, 2), np.nan)
    p = Predictions(np.array(list("abc")), "test", np.array([0, 1, 1]), values, ("x", "y"))
    found = figures_of(p)
    assert found.numbers() == {"non_finite": 3.0}
    assert all("finite" in reason for reason in found.undefined().values())


def test_a_rounding_error_above_1_changes_nothing() -> None:
    exact = np.array([[1.0, 0.0], [0.3, 0.7], [0.6, 0.4], [0.1, 0.9]])
    rounded = exact + np.array([[1e-7, 0], [0, 0], [0, 0], [0, 0]])
    targets, ids = np.array([0, 1, 1, 0]), np.array(list("abcd"))
    before, after = (
        figures_of(Predictions(ids, "test", targets, values, ("x", "y")))
        for values in (exact, rounded)
    )
    assert before.metrics["roc_auc"] == after.metrics["roc_auc"]
