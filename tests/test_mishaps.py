"""The short form of `benchmarks/faults`: what goes wrong in a training, and shared evaluations.

Apart from `test_survival`, so that two processes share the work.
"""

from __future__ import annotations

from benchmarks.faults import evaluation, training
from tests.test_survival import assert_holds


def test_what_goes_wrong_in_a_training_is_one_line() -> None:
    assert_holds(training.rows(quick=True))


def test_few_samples_are_evaluated_alike_by_one_and_two_processes() -> None:
    assert_holds(evaluation.rows(quick=True))
