"""Every figure of a regression against scikit-learn or a count by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from runforge.metrics.figures import Figures
from runforge.metrics.regression import MAIN, regression_figures
from runforge.predictions import Predictions


def figures_of(actual: list[float] | np.ndarray, predicted: list[float] | np.ndarray) -> Figures:
    ids = np.array([str(row) for row in range(len(actual))])
    values = np.array(predicted, dtype=np.float64)[:, None]
    predictions = Predictions(ids, "test", np.array(actual, np.float64), values, ())
    return regression_figures(predictions, resamples=200, seed=0)


def test_values_are_scikit_learns() -> None:
    generator = np.random.default_rng(0)
    actual = generator.normal(150, 50, 300)
    predicted = actual + generator.normal(5, 30, 300)
    found = figures_of(actual, predicted)
    wanted = {
        "mse": sk.mean_squared_error(actual, predicted),
        "rmse": sk.root_mean_squared_error(actual, predicted),
        "mae": sk.mean_absolute_error(actual, predicted),
        "r2": sk.r2_score(actual, predicted),
    }
    for name in MAIN:
        figure = found.metrics[name]
        assert figure.value == pytest.approx(wanted[name], rel=1e-6)
        assert figure.low is not None and figure.high is not None
        assert figure.low < wanted[name] < figure.high
    assert found.scatter is not None
    np.testing.assert_allclose(found.scatter.residuals, actual - predicted)


def test_the_worked_number_of_the_origin() -> None:
    assert figures_of([5, 3, 7], [4.8, 3.1, 6.9]).metrics["mse"].value == pytest.approx(0.02)


def test_large_targets_lose_no_digits() -> None:
    generator = np.random.default_rng(0)
    actual = 1e6 + generator.normal(size=200)
    predicted = actual + generator.normal(0, 0.1, 200)
    figure = figures_of(actual, predicted).metrics["r2"]
    assert figure.value == pytest.approx(sk.r2_score(actual, predicted), abs=1e-6)
    assert figure.low is not None and 0.9 < figure.low < figure.value < 1


def test_equal_targets_have_no_r2() -> None:
    found = figures_of([2, 2, 2], [1, 2, 4])
    assert found.undefined() == {"r2": "all targets are equal"}
    assert found.metrics["mae"].value == pytest.approx(1)


def test_one_sample_says_nothing_of_its_spread() -> None:
    found = figures_of([2], [1])
    assert found.metrics["mse"].value == 1
    assert "every resample" in found.metrics["mse"].reason
    assert found.metrics["mse"].low is None
    assert found.notes[0].startswith("Only 1 sample")


def test_what_is_not_finite_is_counted_and_left_out() -> None:
    found = figures_of([1, 2, 3, 4], [1, np.nan, 3.5, np.inf])
    assert found.metrics["non_finite"].value == 2
    assert found.metrics["mse"].value == pytest.approx(0.125)
    assert "2 of 4 samples" in found.notes[0]
    nothing = figures_of([1, 2], [np.nan, np.nan])
    assert nothing.numbers() == {"non_finite": 2.0}
