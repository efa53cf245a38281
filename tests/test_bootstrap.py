"""Intervals: right where a formula is known, the same for the same seed, and they cover."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from runforge.metrics import bootstrap
from runforge.metrics.bootstrap import (
    Interval,
    percentile_interval,
    resampled_counts,
    resampled_margins,
    resampled_weights,
)
from runforge.metrics.classification import MAIN, classification_figures
from runforge.predictions import Predictions


def made(count: int, share: float, seed: int) -> Predictions:
    generator = np.random.default_rng(seed)
    targets = generator.integers(0, 2, count)
    right = generator.random(count) < share
    confident = generator.uniform(0.5, 1, count)
    positive = np.where(right == (targets == 1), confident, 1 - confident)
    values = np.stack([1 - positive, positive], axis=1)
    ids = np.array([str(row) for row in range(count)])
    return Predictions(ids, "test", targets, values, ("n", "p"))


def test_resampled_matrices_are_resamples() -> None:
    counts = np.array([[30, 0], [5, 15]])
    drawn = np.concatenate(list(resampled_counts(counts, 4000, np.random.default_rng(0))))
    assert drawn.shape == (4000, 2, 2)
    assert (drawn.sum(axis=(1, 2)) == 50).all() and (drawn[:, 0, 1] == 0).all()
    np.testing.assert_allclose(drawn.mean(axis=0), counts, atol=0.3)


def test_margins_of_very_many_cells_are_those_of_resampled_matrices(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts = np.random.default_rng(3).integers(0, 9, (5, 5)) + 20 * np.diag([1, 2, 3, 0, 5])
    few = list(resampled_margins(counts, 4000, np.random.default_rng(0)))
    monkeypatch.setattr(bootstrap, "MANY_CELLS", 0)
    many = list(resampled_margins(counts, 4000, np.random.default_rng(1)))
    for name in ("hits", "support", "predicted"):
        one, other = (np.concatenate([getattr(m, name) for m in part]) for part in (few, many))
        assert one.shape == other.shape == (4000, 5)
        np.testing.assert_allclose(one.mean(axis=0), other.mean(axis=0), atol=0.5)
        np.testing.assert_allclose(np.cov(one.T), np.cov(other.T), atol=5)
    assert (np.concatenate([m.support for m in many]).sum(axis=1) == counts.sum()).all()


def test_weights_are_resamples() -> None:
    drawn = np.concatenate(list(resampled_weights(20, 3000, np.random.default_rng(0))))
    assert drawn.shape == (3000, 20) and (drawn.sum(axis=1) == 20).all()
    assert drawn.var() == pytest.approx(1 - 1 / 20, abs=0.03)


def test_percentiles_leave_out_what_is_undefined() -> None:
    values = np.append(np.arange(1001.0), [np.nan] * 50)
    assert percentile_interval(values) == Interval(25.0, 975.0)
    assert percentile_interval(np.array([np.nan])) == Interval(None, None)


def test_the_interval_of_accuracy_is_the_binomial_one() -> None:
    predictions = made(400, 0.8, 0)
    figure = classification_figures(predictions, resamples=4000, seed=0).metrics["accuracy"]
    assert figure.value is not None
    ends = stats.binom.ppf([0.025, 0.975], 400, figure.value) / 400
    assert (figure.low, figure.high) == pytest.approx(tuple(ends), abs=0.004)


def test_the_interval_of_a_loss_is_the_normal_one() -> None:
    predictions = made(500, 0.8, 0)
    figure = classification_figures(predictions, resamples=4000, seed=0).metrics["log_loss"]
    losses = -np.log(predictions.values[np.arange(500), predictions.targets])
    half = 1.96 * losses.std() / np.sqrt(500)
    assert figure.low == pytest.approx(losses.mean() - half, abs=0.1 * half)
    assert figure.high == pytest.approx(losses.mean() + half, abs=0.1 * half)


def test_every_main_figure_lies_in_its_interval() -> None:
    found = classification_figures(made(150, 0.85, 1), resamples=500, seed=0)
    for name in MAIN:
        figure = found.metrics[name]
        assert figure.value is not None and figure.low is not None and figure.high is not None
        assert figure.low < figure.value < figure.high, name


def test_the_same_seed_gives_the_same_numbers_and_another_does_not() -> None:
    first, again, other = (
        classification_figures(made(100, 0.8, 0), resamples=200, seed=seed).numbers()
        for seed in (0, 0, 1)
    )
    assert first == again
    assert first["accuracy"] == other["accuracy"] and first["log_loss_low"] != other["log_loss_low"]


def test_intervals_cover_the_truth() -> None:
    covered = 0
    for seed in range(150):
        found = classification_figures(made(120, 0.8, seed), resamples=200, seed=seed)
        figure = found.metrics["accuracy"]
        assert figure.low is not None and figure.high is not None
        covered += figure.low <= 0.8 <= figure.high
    # 95% of 150 is 142.5; four deviations of chance below it, and a bit for the small samples.
    assert covered >= 128


@pytest.mark.parametrize(("share", "ends"), [(1.0, (0.9638, 1.0)), (0.0, (0.0, 0.0362))])
def test_all_right_or_all_wrong_is_not_certain(share: float, ends: tuple[float, float]) -> None:
    found = classification_figures(made(100, share, 0), resamples=200, seed=0)
    figure = found.metrics["accuracy"]
    assert (figure.low, figure.high) == pytest.approx(ends, abs=1e-4)
    for name in ("balanced_accuracy", "f1_macro"):
        assert found.metrics[name].low != found.metrics[name].high


def test_a_subset_gives_the_interval_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    predictions = made(4000, 0.8, 0)
    whole = classification_figures(predictions, resamples=1000, seed=0).metrics
    monkeypatch.setattr(bootstrap, "MOST_WORK", 1000 * 2 * 1000)
    part = classification_figures(predictions, resamples=1000, seed=0).metrics
    for name in ("roc_auc", "average_precision", "log_loss"):
        assert part[name].value == whole[name].value
        width = whole[name].high - whole[name].low  # type: ignore[operator]
        assert part[name].low == pytest.approx(whole[name].low, abs=0.15 * width)
        assert part[name].high == pytest.approx(whole[name].high, abs=0.15 * width)
