"""Against a constant answer: by scipy, by hand, and as it is told."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import r2_score

from runforge.metrics import bootstrap
from runforge.metrics.balance import imbalanced
from runforge.metrics.classification import classification_figures
from runforge.metrics.paired import by_class, visible
from runforge.metrics.regression import regression_figures
from runforge.predictions import Predictions


def said(targets: list[int], answers: list[int], names: tuple[str, ...] = ("no", "yes")):
    values = np.full((len(targets), len(names)), 0.1)
    values[np.arange(len(targets)), answers] = 0.9
    values /= values.sum(axis=1, keepdims=True)
    ids = np.arange(len(targets)).astype(str)
    return Predictions(ids, "test", np.array(targets), values, names)


def of(targets: list[int], answers: list[int], usual: int | None = 0):
    return classification_figures(said(targets, answers), resamples=50, seed=0, usual=usual)


def by_enumeration(only_first, only_second, support) -> float:
    """p-value of the weighted sum of fair coins over every outcome of two classes."""
    told, weights = only_first + only_second, 1 / support
    seen = abs((only_second - only_first) @ weights)
    p = 0.0
    for a in range(told[0] + 1):
        for b in range(told[1] + 1):
            far = abs((2 * a - told[0]) * weights[0] + (2 * b - told[1]) * weights[1])
            p += comb(told[0], a) * comb(told[1], b) / 2 ** told.sum() * (far >= seen - 1e-12)
    return p


@pytest.mark.parametrize(
    ("only_first", "only_second", "support"),
    [((2, 0), (0, 7), (540, 20)), ((9, 1), (3, 6), (100, 40)), ((40, 0), (0, 12), (540, 20))],
)
def test_the_test_of_balanced_accuracy_is_exact(only_first, only_second, support) -> None:
    given = [np.array(one) for one in (only_first, only_second, support)]
    wanted = by_enumeration(*given)
    # 20,000 draws: three standard errors.
    margin = 3 * (wanted * (1 - wanted) / 20_000) ** 0.5 + 1e-4
    assert by_class(*given) == pytest.approx(wanted, abs=margin)


def test_of_one_class_it_is_mcnemar_s() -> None:
    found = by_class(np.array([3]), np.array([12]), np.array([50]))
    assert found == pytest.approx(stats.binomtest(3, 15).pvalue, abs=0.004)
    assert by_class(np.array([0, 0]), np.array([0, 0]), np.array([5, 5])) == 1.0


def test_the_level_holds_where_the_bootstrap_s_does_not() -> None:
    """Equal models on 500 samples, 8 of them of the rare class."""
    draw, support = np.random.default_rng(0), np.array([492, 8])
    said_better = 0
    for _ in range(400):
        told = draw.binomial(support, [0.05, 0.5])
        won = draw.binomial(told, 0.5)
        said_better += by_class(told - won, won, support) < 0.05
    assert said_better <= stats.binom.ppf(0.999, 400, 0.05)


def test_what_difference_can_be_seen() -> None:
    assert visible(5, 8) is None
    assert visible(6, 8) == 6 / 8
    for told in (6, 18, 33, 200):
        least = visible(told, 261)
        lost = round((told - least * 261) / 2)
        assert stats.binomtest(lost, told).pvalue < 0.05
        assert stats.binomtest(lost + 1, told).pvalue >= 0.05 or 2 * (lost + 1) > told


@pytest.mark.parametrize(
    ("support", "wanted"),
    [
        ([50, 50], False),
        ([63, 37], False),
        ([77, 23], False),
        ([80, 20], True),
        ([97, 3], True),
        ([100, 0], False),
        ([40, 40, 2], True),
        ([30] * 9 + [3], False),
    ],
)
def test_which_classes_are_imbalanced(support: list[int], wanted: bool) -> None:
    assert imbalanced(np.array(support)) is wanted


def test_many_classes_of_like_sizes_are_not_imbalanced_by_chance() -> None:
    draw = np.random.default_rng(0)
    for _ in range(200):
        assert not imbalanced(np.bincount(draw.integers(0, 30, 240), minlength=30))


def test_always_no_is_told_to_be_no_worse() -> None:
    targets = [0] * 97 + [1] * 3
    found = of(targets, [0] * 96 + [1, 1, 0, 0])
    (balanced, accuracy) = found.baseline.differences
    assert (accuracy.first, accuracy.second) == (0.97, 0.97)
    assert (balanced.first, balanced.second) == (0.5, pytest.approx((96 / 97 + 1 / 3) / 2))
    assert balanced.winner is accuracy.winner is None
    assert accuracy.p_value == pytest.approx(stats.binomtest(1, 2).pvalue)
    assert found.told()[0].startswith("The model is no better than always saying 'no'")
    figure, exact = found.metrics["baseline_accuracy"], stats.binomtest(97, 100).proportion_ci()
    assert (figure.value, figure.low, figure.high) == pytest.approx((0.97, *exact))
    assert found.numbers()["baseline_accuracy"] == 0.97
    assert any("97.0% of the samples are of the class 'no'" in line for line in found.notes)


def test_who_finds_the_rare_class_is_better_though_less_often_right() -> None:
    targets = [0] * 270 + [1] * 30
    found = of(targets, [1] * 40 + [0] * 230 + [1] * 27 + [0] * 3)
    (balanced, accuracy) = found.baseline.differences
    assert (balanced.metric, balanced.winner) == ("balanced_accuracy", "second")
    assert accuracy.second < accuracy.first
    told = found.baseline.told
    assert told.startswith("better than always saying 'no': balanced accuracy 0.8759 against 0.5")
    assert "by accuracy no better: 0.8567 against 0.9" in told


def test_a_model_that_says_one_class_is_told() -> None:
    found = of([0, 1] * 30, [1] * 60)
    assert "Every sample is taken for 'yes'" in " ".join(found.told())
    assert "taken for" not in " ".join(of([0, 1] * 30, [0, 1] * 30).told())
    assert "taken for" not in " ".join(of([1] * 30, [1] * 30).told())


def test_few_samples_are_told() -> None:
    assert any(line.startswith("Only 8 samples") for line in of([0, 1] * 4, [0, 1] * 4).told())
    assert not of([0, 1] * 20, [0, 1] * 20).notes


def test_without_a_usual_answer_there_is_no_baseline() -> None:
    found = of([0, 1] * 20, [0, 1] * 20, usual=None)
    assert found.baseline is None and "baseline_accuracy" not in found.metrics


def test_the_mean_of_training() -> None:
    draw = np.random.default_rng(0)
    targets = draw.normal(10, 2, 60)
    values = (targets + draw.normal(size=60))[:, None]
    given = Predictions(np.arange(60).astype(str), "test", targets, values, ())
    plain = regression_figures(given, resamples=300, seed=0)
    found = regression_figures(given, resamples=300, seed=0, usual=9.5)
    own = found.numbers()
    assert {n: own[n] for n in plain.numbers()} == plain.numbers()
    assert own["baseline_r2"] == pytest.approx(r2_score(targets, np.full(60, 9.5)), abs=1e-9)
    rows = [
        np.repeat(np.arange(60), weights)
        for chunk in bootstrap.resampled_weights(60, 300, np.random.default_rng(0))
        for weights in chunk
    ]
    drawn = [r2_score(targets[r], np.full(60, 9.5)) for r in rows]
    ends = own["baseline_r2_low"], own["baseline_r2_high"]
    assert ends == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=1e-9)
    first, second = found.baseline.differences
    assert (first.metric, first.winner) == ("r2", "second")
    assert second.first == pytest.approx(np.abs(targets - 9.5).mean())
    assert found.told()[0].startswith(
        "The model is better than always saying the mean of training, 9.5: r2 0."
    )
