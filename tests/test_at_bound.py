"""Intervals where no resample differs: against scipy's, a solver, and how often they cover."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize, stats
from sklearn.metrics import f1_score

from runforge.metrics import at_bound
from runforge.metrics.classification import MAIN, classification_figures
from runforge.metrics.regression import regression_figures
from runforge.predictions import Predictions


@pytest.mark.parametrize(("hits", "count"), [(0, 9), (9, 9), (3, 10), (544, 565), (1, 1)])
def test_a_share_is_clopper_and_pearson_s(hits: int, count: int) -> None:
    wanted = stats.binomtest(hits, count).proportion_ci(0.95, "exact")
    found = at_bound.share(hits, count)
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), rel=1e-9)
    if hits in (0, count):
        counts = np.array([[hits, count - hits], [0, 0]])
        found = at_bound.accuracy(counts)
        assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), rel=1e-9)


@pytest.mark.parametrize("sizes", [(30, 30), (3, 297), (3, 7, 50, 200), (1, 1), (4,), (5, 5, 40)])
def test_the_lowest_mean_of_shares_is_a_solver_s(sizes: tuple[int, ...]) -> None:
    """Σ p is minimised where the chance to see no error, Π pⁿ, is at least 2.5%."""
    count = np.array(sizes)
    wanted = optimize.minimize(
        lambda p: p.sum(),
        np.full(len(count), 0.9),
        bounds=[(1e-9, 1)] * len(count),
        constraints=[
            {"type": "ineq", "fun": lambda p: (count * np.log(p)).sum() - math.log(0.025)}
        ],
        method="COBYLA",
        options={"tol": 1e-9, "maxiter": 20_000},
    )
    found = at_bound.least_shares(count)
    assert found.sum() == pytest.approx(wanted.x.sum(), abs=1e-5)
    assert (found**count).prod() == pytest.approx(0.025)
    interval = at_bound.balanced_accuracy(np.diag(count))
    assert (interval.low, interval.high) == pytest.approx((found.mean(), 1.0))


def test_of_classes_of_one_size_it_is_that_of_accuracy() -> None:
    counts = np.diag([20, 20, 20])
    ends = [f(counts).low for f in (at_bound.accuracy, at_bound.balanced_accuracy)]
    assert ends[0] == pytest.approx(ends[1], rel=1e-12)


def test_a_model_that_says_one_class_is_not_known_to_the_last_digit() -> None:
    found = at_bound.balanced_accuracy(np.array([[544, 0], [21, 0]]))
    least, most = 0.025 ** (1 / 544), 1 - 0.025 ** (1 / 21)
    assert (found.low, found.high) == pytest.approx((least / 2, (1 + most) / 2))
    assert at_bound.balanced_accuracy(np.array([[5, 1], [0, 5]])) is None
    assert at_bound.f1_macro(np.array([[5, 1], [0, 5]])) is None


def test_f1_is_that_of_the_worst_model_s_answers() -> None:
    """What the model of the lowest balanced accuracy answers, weighed by scikit-learn."""
    counts = np.diag([6, 14, 80])
    p = at_bound.least_shares(np.diag(counts))
    rows = [(0, 0, 6 * p[0]), (0, 1, 6 * (1 - p[0])), (1, 1, 14 * p[1]), (1, 0, 14 * (1 - p[1]))]
    rows += [(2, 2, 80 * p[2]), (2, 0, 80 * (1 - p[2]))]
    true, said, weights = zip(*rows, strict=True)
    wanted = f1_score(true, said, sample_weight=weights, average="macro")
    assert at_bound.f1_macro(counts).low == pytest.approx(wanted)
    none_right = at_bound.f1_macro(np.array([[0, 5], [5, 0]]))
    assert none_right.low == 0 and 0 < none_right.high < 0.5


@pytest.mark.parametrize(("area", "positives", "negatives"), [(1, 5, 4), (1, 30, 90), (0.5, 8, 9)])
def test_an_area_is_newcombe_s(area: float, positives: int, negatives: int) -> None:
    """The quartic that the paper gives, solved as a polynomial."""
    m, n, z = positives, negatives, stats.norm.ppf(0.975)
    x = np.polynomial.Polynomial([0, 1])
    more = (m + n) / 2 - 1
    # (area − θ)² mn = z² θ(1−θ) (1 + more (1−θ)/(2−θ) + more θ/(1+θ)), times (2−θ)(1+θ)
    spread = (2 - x) * (1 + x) + more * (1 - x) * (1 + x) + more * x * (2 - x)
    polynomial = (area - x) ** 2 * m * n * (2 - x) * (1 + x) - z**2 * x * (1 - x) * spread
    roots = [r.real for r in polynomial.roots() if abs(r.imag) < 1e-7 and 0 < r.real < 1 - 1e-9]
    found = at_bound.roc_auc(np.array([float(area)]), np.array([m]), m + n)
    assert found.low == pytest.approx(min(roots), rel=1e-6)
    assert found.high == (1.0 if area == 1 else pytest.approx(max(roots), rel=1e-6))


def separated(count: int = 20, classes: int = 2) -> Predictions:
    targets = np.arange(count) % classes
    values = np.full((count, classes), 0.1 / (classes - 1))
    values[np.arange(count), targets] = 0.9 + np.linspace(0, 0.01, count)
    values /= values.sum(axis=1, keepdims=True)
    names = tuple("abcdef"[:classes])
    return Predictions(np.arange(count).astype(str), "test", targets, values, names)


def test_no_figure_of_a_model_without_an_error_is_certain() -> None:
    for classes in (2, 3):
        found = classification_figures(separated(21, classes), resamples=100, seed=0).metrics
        for name in MAIN[:5]:
            figure = found[name]
            assert figure.value == 1 and figure.high == 1, name
            assert figure.low is not None and 0.3 < figure.low < 0.99, name
    assert found["average_precision"].low == pytest.approx(0.025 ** (1 / 7))


def test_what_nothing_bounds_has_no_interval() -> None:
    flat = Predictions(
        np.arange(20).astype(str), "test", np.arange(20) % 2, np.full((20, 2), 0.5), ("a", "b")
    )
    found = classification_figures(flat, resamples=100, seed=0).metrics
    assert found["log_loss"].low is None and "every resample" in found["log_loss"].reason
    assert found["roc_auc"].low < 0.3 and found["roc_auc"].high > 0.7
    targets = np.arange(9.0)
    exact = Predictions(targets.astype(str), "test", targets, targets[:, None], ())
    figures = regression_figures(exact, resamples=100, seed=0)
    assert figures.metrics["r2"].value == 1 and figures.metrics["r2"].low is None
    assert "r2_low" not in figures.numbers()


def test_they_cover_the_truth() -> None:
    """A model whose chances to find a class are such that it often makes no error at all."""
    chances, sizes = np.array([0.9, 0.99]), np.array([8, 60])
    draw, seen, covered = np.random.default_rng(0), 0, 0
    for _ in range(4000):
        hits = draw.binomial(sizes, chances)
        interval = at_bound.balanced_accuracy(np.diag(hits) + np.fliplr(np.diag(sizes - hits)))
        if interval is not None:
            seen += 1
            covered += interval.low <= chances.mean() <= interval.high
    assert seen > 500 and covered == seen
