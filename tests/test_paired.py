"""Paired tests: against scipy, by hand and a naive bootstrap; calibrated; samples that differ."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as reference

from runforge.metrics import bootstrap, together
from runforge.metrics.classification import classification_figures
from runforge.metrics.common import common_samples
from runforge.metrics.paired import holm, mcnemar, pairs, resampled_p_value, winner
from runforge.metrics.regression import regression_figures
from runforge.predictions import Predictions

NAMES = ("a", "b", "c")


def answers(
    seed: int, count: int = 200, *, sharp: float = 1.0, targets_of: int = 0, names=NAMES
) -> Predictions:
    """Probabilities that lean to the truth; the samples are those of `targets_of`."""
    targets = np.random.default_rng(targets_of).integers(0, len(names), count)
    logits = np.random.default_rng([seed, 1]).normal(size=(count, len(names)))
    logits[np.arange(count), targets] += sharp
    values = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    ids = np.array([f"id{row}" for row in range(count)])
    return Predictions(ids, "test", targets, values.astype(np.float32), names)


def values(seed: int, count: int = 80, *, noise: float = 1.0) -> Predictions:
    """Values near to targets that are the same for every seed."""
    targets = np.random.default_rng(0).normal(100, 5, count)
    said = targets + noise * np.random.default_rng([seed, 2]).normal(size=count)
    ids = np.array([f"id{row}" for row in range(count)])
    return Predictions(ids, "test", targets, said[:, None], ())


@pytest.mark.parametrize(
    ("b", "c"), [(0, 0), (1, 0), (0, 9), (5, 5), (3, 17), (40, 61), (700, 640)]
)
def test_mcnemar_is_the_exact_binomial_test(b: int, c: int) -> None:
    by_hand = sum(math.comb(b + c, k) for k in range(min(b, c) + 1)) * 2 / 2 ** (b + c)
    assert mcnemar(b, c) == pytest.approx(min(1.0, by_hand), rel=1e-12)
    if b + c:
        assert mcnemar(b, c) == pytest.approx(stats.binomtest(b, b + c).pvalue, rel=1e-9)
    assert mcnemar(b, c) == mcnemar(c, b)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.6]) == pytest.approx([1.0, 1.0])
    assert holm([0.02]) == [0.02] and holm([]) == []


def test_the_values_are_those_of_an_evaluation() -> None:
    for given, figures in (
        ((answers(1), answers(2)), classification_figures),
        ((answers(1, names=("a", "b")), answers(2, names=("a", "b"))), classification_figures),
        ((values(1), values(2)), regression_figures),
    ):
        (pair,) = pairs(common_samples(given), resamples=20)
        wanted = [figures(one, resamples=2, seed=0).metrics for one in given]
        for found in pair.differences:
            assert found.first == pytest.approx(wanted[0][found.metric].value, rel=1e-6)
            assert found.second == pytest.approx(wanted[1][found.metric].value, rel=1e-6)
        assert {d.metric for d in pair.differences} >= {pair.differences[0].metric}


def naive(first: Predictions, second: Predictions, metric, resamples: int) -> np.ndarray:
    """Differences in the resamples that the project's own bootstrap draws, one by one."""
    drawn = bootstrap.resampled_weights(len(first.ids), resamples, np.random.default_rng(0))
    found = []
    for weights in np.concatenate(list(drawn)):
        rows = np.repeat(np.arange(len(first.ids)), weights)
        found.append(metric(second, rows) - metric(first, rows))
    return np.array(found)


def f1(one: Predictions, rows: np.ndarray) -> float:
    return reference.f1_score(one.targets[rows], one.predicted[rows], average="macro")


def log_loss(one: Predictions, rows: np.ndarray) -> float:
    return reference.log_loss(one.targets[rows], one.values[rows], labels=range(len(one.classes)))


def area(one: Predictions, rows: np.ndarray) -> float:
    return np.mean(
        [
            reference.roc_auc_score(one.targets[rows] == code, one.values[rows, code])
            for code in range(len(one.classes))
        ]
    )


def r2(one: Predictions, rows: np.ndarray) -> float:
    return reference.r2_score(one.targets[rows], one.values[rows, 0])


def mae(one: Predictions, rows: np.ndarray) -> float:
    return reference.mean_absolute_error(one.targets[rows], one.values[rows, 0])


@pytest.mark.parametrize(
    ("given", "name", "metric"),
    [
        ((answers(1), answers(2, sharp=1.4)), "f1_macro", f1),
        ((answers(1), answers(2, sharp=1.4)), "log_loss", log_loss),
        ((answers(1), answers(2, sharp=1.4)), "roc_auc", area),
        ((values(1), values(2, noise=1.2)), "r2", r2),
        ((values(1), values(2, noise=1.2)), "mae", mae),
    ],
)
def test_the_bootstrap_is_that_of_a_naive_loop(given, name, metric) -> None:
    resamples = 200
    wanted = naive(*given, metric, resamples)
    (pair,) = pairs(common_samples(given), resamples=resamples)
    found = next(one for one in pair.differences if one.metric == name)
    low, high = np.quantile(wanted, [0.025, 0.975])
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-5, abs=1e-9)
    far = min((wanted <= 0).sum(), (wanted >= 0).sum())
    assert found.p_value == pytest.approx(min(1, 2 * (far + 1) / (resamples + 1)))


def test_a_p_value_of_resamples_is_never_0() -> None:
    assert resampled_p_value(np.ones(99)) == pytest.approx(0.02)
    assert resampled_p_value(np.zeros(99)) == 1.0


def test_a_subset_of_very_many_samples_says_nearly_the_same(monkeypatch) -> None:
    given = common_samples((answers(1, 3000), answers(2, 3000, sharp=1.3)))
    (whole,) = pairs(given, resamples=400)
    monkeypatch.setattr(together, "MOST_WORK", 3 * 400 * 1000)
    (part,) = pairs(given, resamples=400)
    for one, other in zip(whole.differences[1:], part.differences[1:], strict=True):
        assert one.difference == other.difference
        assert other.high - other.low == pytest.approx(one.high - one.low, rel=0.25)


def test_the_same_model_twice_is_no_better() -> None:
    for given in ((answers(1), answers(1)), (values(1), values(1))):
        (pair,) = pairs(common_samples(given))
        assert [one.p_value for one in pair.differences] == [1.0] * len(pair.differences)
        assert winner([pair]) is None


def test_the_better_one_is_said_to_be_whichever_way_is_better() -> None:
    (pair,) = pairs(common_samples((answers(1, sharp=0.2), answers(2, sharp=3.0))))
    assert {one.winner for one in pair.differences if one.metric != "calibration_error"} == {
        "second"
    }
    assert winner([pair]) == 1
    (pair,) = pairs(common_samples((values(1, noise=0.1), values(2))))
    assert {one.winner for one in pair.differences} == {"first"}


def test_of_three_one_wins_only_if_it_beats_both() -> None:
    weak, middle, strong = (answers(n, sharp=s) for n, s in ((1, 0.1), (2, 0.2), (3, 4.0)))
    found = pairs(common_samples((weak, strong, middle)))
    assert [(pair.first, pair.second) for pair in found] == [(0, 1), (0, 2), (1, 2)]
    assert winner(found) == 1
    assert winner(pairs(common_samples((strong, answers(3, sharp=4.0), weak)))) is None


def test_p_values_of_three_are_corrected() -> None:
    given = [answers(n, sharp=1 + n / 6) for n in range(3)]
    plain = [pairs(common_samples((given[a], given[b])))[0] for a, b in ((0, 1), (0, 2), (1, 2))]
    wanted = holm([pair.differences[0].p_value for pair in plain])
    found = pairs(common_samples(given))
    assert [pair.differences[0].p_value for pair in found] == wanted


def test_samples_that_differ_are_left_out_and_counted() -> None:
    first, second = answers(1), answers(2)
    keep = np.arange(20, 200)[::-1]
    changed = second.targets.copy()
    changed[30:33] = (changed[30:33] + 1) % 3
    lost = second.values.copy()
    lost[40] = np.nan
    second = replace(second, targets=changed, values=lost)
    second = replace(
        second, ids=second.ids[keep], targets=second.targets[keep], values=second.values[keep]
    )
    found = common_samples((first, second))
    assert found.evaluated == (200, 180) and found.shared == 180
    assert found.relabelled == ("id30", "id31", "id32") and found.not_finite == 1
    assert not found.same_samples and found.same_classes
    one, other = found.predictions
    assert one.ids.tolist() == other.ids.tolist() and len(one.ids) == 176
    assert (one.targets == other.targets).all()
    row = one.ids.tolist().index("id100")
    assert (other.values[row] == answers(2).values[100]).all()


def test_no_sample_in_common() -> None:
    moved = replace(answers(2), ids=np.array([f"other{row}" for row in range(200)]))
    found = common_samples((answers(1), moved))
    assert found.predictions == () and found.shared == 0
    assert pairs(found) == () and winner(()) is None


def test_classes_in_another_order_are_the_same() -> None:
    first, second = answers(1), answers(2)
    turned = replace(
        second, classes=("c", "b", "a"), targets=2 - second.targets, values=second.values[:, ::-1]
    )
    found, wanted = common_samples((first, turned)), common_samples((first, second))
    assert found.same_classes and found.same_samples
    assert pairs(found, resamples=50) == pairs(wanted, resamples=50)


def test_other_classes_leave_what_follows_from_the_predicted_class() -> None:
    first, second = answers(1), answers(2, names=("a", "b", "d"))
    found = common_samples((first, second))
    assert not found.same_classes
    assert found.predictions[0].classes == ("a", "b", "c", "d")
    known = first.targets != 2  # `c` and `d` are different labels of the same samples
    assert len(found.relabelled) == (~known).sum()
    (pair,) = pairs(found, resamples=50)
    assert [one.metric for one in pair.differences] == ["accuracy", "balanced_accuracy", "f1_macro"]
    right = (first.predicted == first.targets)[known]
    assert pair.differences[0].first == pytest.approx(right.mean())


def test_what_is_undefined_is_no_number() -> None:
    one_class = answers(1, 30)
    rows = np.flatnonzero(one_class.targets == 1)
    alone = [
        replace(p, ids=p.ids[rows], targets=p.targets[rows], values=p.values[rows])
        for p in (one_class, answers(2, 30))
    ]
    (pair,) = pairs(common_samples(alone), resamples=50)
    area = next(one for one in pair.differences if one.metric == "roc_auc")
    assert (area.first, area.difference, area.p_value, area.winner) == (None, None, None, None)


def test_equal_models_are_told_apart_no_more_than_chance_allows() -> None:
    """The benchmark does this at length; here McNemar's alone, whose level is exact."""
    said = sum(
        pairs(common_samples((answers(n, 300), answers(n + 500, 300))), resamples=2)[0]
        .differences[0]
        .winner
        is not None
        for n in range(200)
    )
    assert said <= stats.binom.ppf(0.999, 200, 0.05)


def test_nothing_here_imports_torch() -> None:
    import subprocess
    import sys

    code = "import sys, runforge.metrics.paired; assert not {'torch', 'mlflow'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])
