"""Splits by content: the shares, what stays where it was, and what is given."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from runforge import splitting
from runforge.sample import content_id
from runforge.splitting import Shares, disagreeing, position, repeated, unique_ids

CONTENTS = [content_id(str(i).encode()) for i in range(20_000)]
SHARES = Shares(validation=0.15, test=0.1, salt="runforge")


def assign(contents: list[str], given: Sequence[str | None], shares: Shares) -> list[str]:
    """Where a sample's identity is that of its content, as a file's is."""
    return splitting.assign(contents, contents, given, shares)


def test_positions_are_uniform() -> None:
    places = [position(content, "s") for content in CONTENTS]
    assert all(0 <= place < 1 for place in places)
    assert stats.kstest(places, "uniform").pvalue > 0.01


def test_shares_are_met_within_the_spread_of_a_binomial_draw() -> None:
    counts = Counter(assign(CONTENTS, [None] * len(CONTENTS), SHARES))
    for split, share in {"train": 0.75, "validation": 0.15, "test": 0.1}.items():
        spread = math.sqrt(share * (1 - share) * len(CONTENTS))
        assert abs(counts[split] - share * len(CONTENTS)) < 4 * spread


def test_every_class_is_split_alike() -> None:
    """Stratified in expectation: splits and classes are independent."""
    classes = np.random.default_rng(0).choice(3, size=len(CONTENTS), p=[0.7, 0.25, 0.05])
    splits = np.array(assign(CONTENTS, [None] * len(CONTENTS), SHARES))
    table = [[np.sum((classes == c) & (splits == s)) for s in set(splits)] for c in range(3)]
    assert stats.chi2_contingency(table).pvalue > 0.01


def test_adding_samples_moves_none() -> None:
    before = assign(CONTENTS[::2], [None] * (len(CONTENTS) // 2), SHARES)
    after = assign(CONTENTS, [None] * len(CONTENTS), SHARES)
    assert after[::2] == before


def test_another_salt_gives_another_split() -> None:
    other = Shares(validation=0.15, test=0.1, salt="other")
    nothing = [None] * len(CONTENTS)
    assert assign(CONTENTS, nothing, SHARES) != assign(CONTENTS, nothing, other)


def test_given_splits_are_kept_and_a_missing_one_is_carved_out_of_training() -> None:
    given = ["train" if i % 4 else "test" for i in range(len(CONTENTS))]
    splits = assign(CONTENTS, given, SHARES)
    assert all((s == "test") == (g == "test") for s, g in zip(splits, given, strict=True))
    training = given.count("train")
    assert abs(splits.count("validation") - 0.15 * training) < 4 * math.sqrt(0.13 * training)


def test_nothing_is_carved_where_all_splits_are_given() -> None:
    given = ["train", "validation", "test"] * 100
    assert assign(CONTENTS[:300], given, SHARES) == given


def test_shares_of_zero() -> None:
    none = Shares(validation=0.0, test=0.0, salt="")
    assert set(assign(CONTENTS, [None] * len(CONTENTS), none)) == {"train"}


def test_ids_are_unique_in_the_order_of_listing() -> None:
    assert unique_ids(["a", "b", "a", "a", "b"]) == ["a", "b", "a-2", "a-3", "b-2"]


def test_repeated_and_disagreeing() -> None:
    contents = ["a", "b", "a", "c", "b"]
    assert list(repeated(contents)) == [[0, 2], [1, 4]]
    assert disagreeing(contents, ["x", "x", "x", "x", "y"]) == [[1, 4]]


@pytest.mark.parametrize("labelled", ["a", "b"])
def test_equal_contents_have_equal_ids_of_every_kind(labelled: str) -> None:
    assert content_id(labelled.encode()) == content_id(bytes(labelled, "utf-8"))
    assert content_id({"x": "1", "y": None}) == content_id({"y": None, "x": "1"})
    assert content_id({"x": "None"}) != content_id({"x": None})
    assert content_id(np.zeros((2, 3), np.uint8)) != content_id(np.zeros((3, 2), np.uint8))


def test_samples_of_one_content_go_where_the_smallest_id_goes() -> None:
    """Rows that differ only in a column that is left out: in one split, whatever their order."""
    ids, contents = CONTENTS[:4000], [f"pair {i // 2}" for i in range(4000)]
    splits = splitting.assign(ids, contents, [None] * 4000, SHARES)
    alone = assign(ids, [None] * 4000, SHARES)
    for first in range(0, 4000, 2):
        smaller = first if ids[first] < ids[first + 1] else first + 1
        assert splits[first] == splits[first + 1] == alone[smaller]
    back = splitting.assign(ids[::-1], contents[::-1], [None] * 4000, SHARES)
    assert back[::-1] == splits
    shares = Counter(splits)
    assert abs(shares["test"] / 2 - 200) < 4 * math.sqrt(0.09 * 2000)  # No split is favoured.


def test_who_alone_is_of_a_content_goes_by_its_own_id() -> None:
    ids = CONTENTS[:2000]
    contents = [f"content {i}" for i in range(2000)]
    nothing = [None] * 2000
    assert splitting.assign(ids, contents, nothing, SHARES) == assign(ids, nothing, SHARES)
