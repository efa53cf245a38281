"""The short form of `benchmarks/faults`: kills, signals, and what goes wrong in a training."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.faults import evaluation, kills, signals, training

Rows = Iterator[tuple[str, str, bool]]


def assert_holds(rows: Rows) -> None:
    found = list(rows)
    assert found and all(holds for _, _, holds in found), found


@pytest.mark.parametrize(("count", "trials"), kills.QUICK_TRIALS.items())
def test_a_training_that_is_killed_goes_on_as_if_nothing_had_happened(
    count: int, trials: int
) -> None:
    assert_holds(kills.trainings(count, trials))


def test_a_pipeline_that_is_killed_goes_on() -> None:
    assert_holds(kills.pipeline(1))


def test_signals_end_a_run_with_its_true_status() -> None:
    assert_holds(signals.rows(quick=True))


def test_what_goes_wrong_in_a_training_is_one_line() -> None:
    assert_holds(training.rows(quick=True))


def test_few_samples_are_evaluated_alike_by_one_and_two_processes() -> None:
    assert_holds(evaluation.rows(quick=True))
