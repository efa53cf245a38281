"""Schedules against torch's own."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR
from torch.optim.sgd import SGD

from runforge.schedules import Constant, Cosine, OneCycle


def _optimizer(learning_rate: float) -> SGD:
    return SGD([torch.nn.Parameter(torch.zeros(1))], learning_rate)


def _rates(scheduler: LRScheduler, steps: int) -> list[float]:
    rates = []
    for step in range(steps):
        rates.append(scheduler.get_last_lr()[0])
        scheduler.optimizer.step()
        if step < steps - 1:
            scheduler.step()
    return rates


@pytest.mark.parametrize("steps", [2, 7, 100])
def test_cosine(steps: int) -> None:
    expected = _rates(CosineAnnealingLR(_optimizer(2.0), steps, eta_min=0.2), steps)
    schedule = Cosine(warmup=0.0, final=0.1)
    assert [2.0 * schedule(s, steps) for s in range(steps)] == pytest.approx(expected)
    assert schedule(steps, steps) == pytest.approx(0.1)


@pytest.mark.parametrize(("steps", "warmup"), [(10, 0.3), (100, 0.3), (33, 0.5), (7, 0.25)])
def test_one_cycle(steps: int, warmup: float) -> None:
    with warnings.catch_warnings():
        # Torch 2.13 itself steps its optimiser's schedule while it is being built.
        warnings.simplefilter("ignore")
        theirs = OneCycleLR(
            _optimizer(1.0), 3.0, total_steps=steps, pct_start=warmup, anneal_strategy="cos",
            cycle_momentum=False, div_factor=25.0, final_div_factor=1e4,
        )  # fmt: skip
        expected = _rates(theirs, steps)
    schedule = OneCycle(warmup=warmup, start=1 / 25, final=1 / 25 / 1e4)
    assert [3.0 * schedule(s, steps) for s in range(steps)] == pytest.approx(expected)


def test_warmup_rises_in_a_line_to_one() -> None:
    schedule = Cosine(warmup=0.1, final=0.0)
    assert [schedule(s, 100) for s in range(11)] == pytest.approx(
        [*[0.1 * s for s in range(1, 11)], 1]
    )


@pytest.mark.parametrize(
    "schedule",
    [Constant(), Cosine(warmup=0.5, final=0.0), OneCycle(warmup=0.9, start=0.1, final=0)],
)
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_factor_at_every_step_of_a_short_training(schedule: Constant, steps: int) -> None:
    assert all(0 <= schedule(step, steps) <= 1 for step in range(steps + 1))


def test_constant() -> None:
    assert {Constant()(step, 9) for step in range(10)} == {1.0}
