"""The gates of a promotion, each held and not held, on predictions made by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from runforge.gates import Evidence, Gate, Origin, judge
from runforge.predictions import Predictions
from runforge.settings import PromotionSettings

SETTINGS = PromotionSettings(
    model=None,
    minimums={},
    significance=0.05,
    recall_drop=0.1,
    calibration_error=None,
    tolerance=1e-4,
    reproduced=False,
)
ORIGIN = Origin("abc", True, "def.dir", None)
COUNT = 200


def evidence(wrong: list[int], *, first: int = 0, **numbers: float) -> Evidence:
    """Two classes by turns, samples numbered from `first`; those of `wrong` taken for the other."""
    targets = np.arange(COUNT) % 2
    predicted = targets.copy()
    predicted[wrong] = 1 - predicted[wrong]
    values = np.where(np.arange(2) == predicted[:, None], 0.9, 0.1).astype(np.float32)
    ids = np.array([f"s{first + row:04}" for row in range(COUNT)])
    predictions = Predictions(ids, "test", targets, values, ("no", "yes"))
    known = {"accuracy": 1 - len(wrong) / COUNT, **numbers}
    return Evidence(f"run-{len(wrong)}", known, predictions)


def gates(
    candidate: Evidence,
    champion: Evidence | None = None,
    *,
    origin: Origin = ORIGIN,
    difference: float = 0.0,
    **changes: object,
) -> dict[str, Gate]:
    settings = SETTINGS.model_copy(update=changes)
    return {gate.name: gate for gate in judge(candidate, champion, origin, difference, settings)}


def test_without_a_champion_nothing_is_compared() -> None:
    found = gates(evidence([1]))
    assert list(found) == ["the exported model predicts the same", "lineage is complete"]
    assert all(gate.holds for gate in found.values())


@pytest.mark.parametrize(
    ("wrong", "champion", "holds"),
    [
        (range(0, 20), range(0, 20), True),
        (range(0, 24), range(0, 20), True),  # four worse: p = 0.125
        (range(0, 30), range(0, 20), False),  # ten worse: p = 0.002
        (range(0, 10), range(0, 20), True),
    ],
)
def test_worse_by_more_than_chance(wrong: range, champion: range, holds: bool) -> None:
    gate = gates(evidence([*wrong]), evidence([*champion]))["not worse than the champion"]
    assert gate.holds is holds
    assert gate.figures["value"] == 1 - len(wrong) / COUNT
    assert gate.figures["champion"] == 1 - len(champion) / COUNT
    more = abs(len(wrong) - len(champion))
    assert gate.figures["p_value"] == pytest.approx(2 * 0.5**more if more else 1.0)


def test_other_samples_are_no_comparison() -> None:
    gate = gates(evidence([1]), evidence([1], first=50))["same test set"]
    assert not gate.holds
    assert gate.figures == {"samples": COUNT, "shared": COUNT - 50}


def test_no_class_may_lose_much() -> None:
    """Better on the whole, and the class of odd samples is lost."""
    champion, candidate = evidence([*range(0, 60, 2)]), evidence([*range(1, 24, 2)])
    gate = gates(candidate, champion)["recall of every class"]
    assert not gate.holds
    assert gate.figures["largest_drop"] == pytest.approx(0.12)
    assert "'yes' 0.8800 against 1.0000" in gate.told
    assert gates(candidate, champion, recall_drop=0.2)["recall of every class"].holds
    assert "recall of every class" not in gates(candidate, champion, recall_drop=None)


@pytest.mark.parametrize(
    ("minimums", "name", "holds"),
    [
        ({"accuracy": 0.9}, "accuracy at least 0.9", True),
        ({"accuracy": 0.999}, "accuracy at least 0.999", False),
        ({"log_loss": 0.5}, "log_loss at most 0.5", True),
        ({"log_loss": 0.1}, "log_loss at most 0.1", False),
        ({"beauty": 0.1}, "beauty at least 0.1", False),
    ],
)
def test_minimums(minimums: dict[str, float], name: str, holds: bool) -> None:
    assert gates(evidence([1], log_loss=0.3), minimums=minimums)[name].holds is holds


def test_calibration() -> None:
    name = "calibration_error at most 0.05"
    assert gates(evidence([], calibration_error=0.04), calibration_error=0.05)[name].holds
    assert not gates(evidence([], calibration_error=0.06), calibration_error=0.05)[name].holds


def test_the_exported_model() -> None:
    name = "the exported model predicts the same"
    assert gates(evidence([]), difference=1e-4)[name].holds
    assert not gates(evidence([]), difference=2e-4)[name].holds
    assert not gates(evidence([]), difference=float("nan"))[name].holds


@pytest.mark.parametrize(
    ("changes", "lacks"),
    [
        ({"git_commit": None}, "its commit"),
        ({"changes_kept": False}, "all of its uncommitted changes"),
        ({"data_hash": None}, "DVC's hash of its data"),
    ],
)
def test_lineage(changes: dict[str, object], lacks: str) -> None:
    gate = gates(evidence([]), origin=replace(ORIGIN, **changes))["lineage is complete"]
    assert not gate.holds and gate.told.startswith(f"the run lacks {lacks}")


@pytest.mark.parametrize(
    ("verdict", "holds"), [(None, False), ("different", False), ("identical", True)]
)
def test_made_again_where_that_is_asked_for(verdict: str | None, holds: bool) -> None:
    name, origin = "made again with the same numbers", replace(ORIGIN, reproduction=verdict)
    assert gates(evidence([]), origin=origin, reproduced=True)[name].holds is holds
    assert name not in gates(evidence([]), origin=origin)


def test_a_value() -> None:
    """Two regressors: the one that misses more by far is refused by the paired bootstrap."""
    generator = np.random.default_rng(0)
    targets = generator.normal(size=COUNT)
    ids = np.array([f"s{row:04}" for row in range(COUNT)])

    def regressor(spread: float) -> Evidence:
        values = (targets + spread * generator.normal(size=COUNT)).astype(np.float32)[:, None]
        return Evidence("r", {}, Predictions(ids, "test", targets, values, ()))

    close, far = regressor(0.1), regressor(1.0)
    assert not gates(far, close)["not worse than the champion"].holds
    assert gates(close, far)["not worse than the champion"].holds
    assert "recall of every class" not in gates(close, far)


def test_of_imbalanced_classes_balanced_accuracy_is_held_against() -> None:
    """A champion that never finds the rare class is no bar, though it is right more often."""
    targets = np.array([0] * 291 + [1] * 9)

    def of(answers: list[int]) -> Evidence:
        values = np.full((300, 2), 0.2)
        values[np.arange(300), answers] = 0.8
        ids = np.array([f"{row:032x}" for row in range(300)])
        return Evidence("r", {}, Predictions(ids, "test", targets, values, ("no", "yes")))

    never, finds = of([0] * 300), of([1] * 30 + [0] * 261 + [1] * 9)
    name = "not worse than the champion"
    gate = gates(finds, never)[name]
    assert gate.holds and gate.told.startswith("balanced_accuracy 0.9485 against 0.5000")
    assert not gates(never, finds)[name].holds
