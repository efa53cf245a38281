"""The short form of `benchmarks/faults`: kills and signals."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.faults import kills, signals

Rows = Iterator[tuple[str, str, bool]]


def assert_holds(rows: Rows) -> None:
    """Every row of a part; names those that do not hold."""
    found = list(rows)
    assert found and not [row for row in found if not row[2]]


@pytest.mark.parametrize(("count", "trials"), kills.QUICK_TRIALS.items())
def test_a_training_that_is_killed_goes_on_as_if_nothing_had_happened(
    count: int, trials: int
) -> None:
    assert_holds(kills.trainings(count, trials))


def test_a_pipeline_that_is_killed_goes_on() -> None:
    assert_holds(kills.pipeline(1))


def test_signals_end_a_run_with_its_true_status() -> None:
    assert_holds(signals.rows(quick=True))
