"""The closing sentences of a comparison: by which metric, what else, and what could be seen."""

from __future__ import annotations

import numpy as np
import pytest

from runforge.comparing import words
from runforge.comparison import Compared
from runforge.metrics.common import common_samples
from runforge.metrics.paired import pairs, winner
from runforge.predictions import Predictions

RUNS = tuple(Compared(letter, letter * 8, "0", letter, "") for letter in "ABC")


def said(targets, answers) -> Predictions:
    values = np.full((len(targets), 2), 0.2)
    values[np.arange(len(targets)), answers] = 0.8
    ids = np.arange(len(targets)).astype(str)
    return Predictions(ids, "test", np.array(targets), values, ("no", "yes"))


def valued(count: int, seed: int) -> Predictions:
    targets = np.random.default_rng(0).normal(size=count)
    values = targets + np.random.default_rng([seed]).normal(size=count) * 10 ** (-3 * seed)
    return Predictions(np.arange(count).astype(str), "test", targets, values[:, None], ())


def verdict(*given: Predictions) -> str:
    common = common_samples(given)
    found = pairs(common, resamples=200)
    return " ".join(words.verdicts(RUNS, found, winner(found), common))


RARE = [0] * 291 + [1] * 9
ALWAYS_NO = said(RARE, [0] * 300)
FINDS = said(RARE, [1] * 30 + [0] * 261 + [1] * 9)


def test_always_no_does_not_win_on_three_percent_positives() -> None:
    """Right more often by more than chance, and of no use."""
    found = pairs(common_samples([ALWAYS_NO, FINDS]), resamples=200)
    accuracy = next(d for d in found[0].differences if d.metric == "accuracy")
    assert accuracy.winner == "first"
    assert winner(found) == 1
    told = verdict(ALWAYS_NO, FINDS)
    assert told.startswith(
        "B is better than A by more than chance: balanced accuracy 0.5000 and 0.9485"
    )
    assert "Balanced accuracy decides, for 97.0% of the samples are of the class 'no'." in told
    assert "By accuracy A is better: 0.9700 and 0.9000" in told
    assert verdict(FINDS, ALWAYS_NO).startswith("A is better than B by more than chance: balanced")


def test_where_both_agree_nothing_is_added() -> None:
    targets = [0, 1] * 50
    told = verdict(said(targets, [0] * 100), said(targets, targets))
    assert told.startswith("B is better than A by more than chance: accuracy 0.5000 and 1.0000")
    assert "balanced" not in told


def test_of_equal_classes_the_other_share_is_told_where_it_disagrees() -> None:
    """30% yes is not imbalanced; one run loses many of one class and wins few of the other."""
    targets = [0] * 70 + [1] * 30
    first = said(targets, [0] * 70 + [1] * 18 + [0] * 12)
    second = said(targets, [1] * 16 + [0] * 54 + [1] * 30)
    told = verdict(first, second)
    assert told.startswith("The difference of A and B is no more than chance makes: accuracy")
    assert "By balanced accuracy" not in told  # p 0.2
    assert "As 28 of the 100 samples are right in one of them alone" in told
    assert "a difference from 0.1200 on would be more." in told


def test_eight_rows_are_told_to_say_little() -> None:
    targets = [0, 1] * 4
    common = common_samples([said(targets, [0] * 8), said(targets, targets)])
    (told,) = words.few_samples(common)
    assert told.startswith("Only 8 samples can be compared: no two runs can be told apart unless")
    assert "at least 6 more of them right (0.75 of accuracy)" in told
    said_so = verdict(*common.predictions)
    assert "no more than chance" in said_so
    assert "Only 4 of the 8 samples are right in one of them alone: so few" in said_so
    five = common_samples([said(targets[:5], [0] * 5), said(targets[:5], targets[:5])])
    assert "nothing can be concluded" in words.few_samples(five)[0]
    enough = common_samples([said(targets * 4, targets * 4)] * 2)
    assert words.few_samples(enough) == ()


def test_few_values_get_no_p_value() -> None:
    for count, known in ((8, False), (30, True)):
        common = common_samples([valued(count, 0), valued(count, 1)])
        (pair,) = pairs(common, resamples=200)
        assert {d.p_value is not None for d in pair.differences} == {known}
        told = verdict(valued(count, 0), valued(count, 1))
        assert told.startswith("B is better" if known else "The difference of A and B can't be")
        assert bool(words.few_samples(common)) is not known


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_of_three_the_winner_is_by_balanced_accuracy(order) -> None:
    given = [ALWAYS_NO, FINDS, said(RARE, [0] * 299 + [1])]
    told = verdict(*(given[at] for at in order))
    assert f"The winner is {'ABC'[order.index(1)]}" in told
