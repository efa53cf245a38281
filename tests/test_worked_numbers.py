"""The worked numbers of `docs/origin.md`: each was wrong in the text that runforge came from."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from runforge import targets
from runforge.optimizers import build_optimizer
from tests.made_sets import BINARY, REGRESSION, class_schema, value_schema

CONF = Path(__file__).parents[1] / "conf" / "optimizer"


def test_mean_squared_error() -> None:
    task = targets.build(REGRESSION, schema=value_schema(0.0, 1.0))
    outputs, truth = (
        torch.tensor([[4.8], [3.1], [6.9]], dtype=torch.float64),
        torch.tensor([5, 3, 7]),
    )
    expected = (0.2**2 + 0.1**2 + 0.1**2) / 3
    assert expected == pytest.approx(0.02)
    assert float(task.losses(outputs, truth).mean()) == pytest.approx(0.02)


def test_sign_of_the_gradient() -> None:
    """z = w·x: d/dw of (y − z)²/2 is −(y − z)·x, so that w grows where z is too small."""
    task = targets.build(REGRESSION, schema=value_schema(0.0, 1.0))
    x, y, w = torch.tensor([[2.0], [-1.0]]), torch.tensor([3.0, 1.0]), torch.tensor([[0.5]])
    w.requires_grad_()
    (task.losses(x @ w, y).mean() / 2).backward()
    by_hand = np.mean([-(3.0 - 1.0) * 2.0, -(1.0 + 0.5) * -1.0])
    assert w.grad is not None
    assert float(w.grad) == pytest.approx(by_hand)

    def half_error(weight: float) -> float:
        return float(np.mean([(3.0 - weight * 2.0) ** 2, (1.0 + weight) ** 2]) / 2)

    slope = (half_error(0.5 + 1e-5) - half_error(0.5 - 1e-5)) / 2e-5
    assert float(w.grad) == pytest.approx(slope, rel=1e-6)


def _adam(node: dict[str, Any], gradients: list[float], weight: float) -> list[float]:
    """Kingma and Ba 2015, algorithm 1, with L2 in the gradient or decay apart from it."""
    rate, (b1, b2), m, v, weights = node["learning_rate"], node["betas"], 0.0, 0.0, []
    apart = node["_target_"].endswith("AdamW")
    for step, given in enumerate(gradients, start=1):
        gradient = given if apart else given + node["weight_decay"] * weight
        weight -= rate * node["weight_decay"] * weight if apart else 0.0
        m, v = b1 * m + (1 - b1) * gradient, b2 * v + (1 - b2) * gradient**2
        corrected = (m / (1 - b1**step)) / (math.sqrt(v / (1 - b2**step)) + node["eps"])
        weight -= rate * corrected
        weights.append(weight)
    return weights


@pytest.mark.parametrize("name", ["adam", "adamw"])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_adam_has_bias_correction(name: str, decay: float) -> None:
    node = {**yaml.safe_load((CONF / f"{name}.yaml").read_text()), "weight_decay": decay}
    gradients = [0.3, -2.0, 0.01, 5.0, -0.4]
    weight = torch.nn.Parameter(torch.tensor([1.5]))
    optimizer = build_optimizer(node, [weight])
    got = []
    for gradient in gradients:
        weight.grad = torch.tensor([gradient])
        optimizer.step()
        got.append(float(weight.detach()))
    assert got == pytest.approx(_adam(node, gradients, 1.5), rel=1e-5)


@pytest.mark.parametrize("gradient", [0.02, -300.0])
def test_the_first_step_of_adam_is_the_learning_rate(gradient: float) -> None:
    """Without the correction it would be (1 − β₁)/√(1 − β₂) = 3.2 times that."""
    node = yaml.safe_load((CONF / "adam.yaml").read_text())
    weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    weight.grad = torch.tensor([gradient], dtype=torch.float64)
    build_optimizer(node, [weight]).step()
    assert float(weight.detach()) == pytest.approx(
        -node["learning_rate"] * math.copysign(1, gradient), rel=1e-5
    )


@pytest.mark.parametrize("name", sorted(p.stem for p in CONF.glob("*.yaml")))
def test_every_optimiser_takes_the_learning_rate(name: str) -> None:
    node = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    optimizer = build_optimizer(
        {**node, "learning_rate": 0.125}, [torch.nn.Parameter(torch.ones(1))]
    )
    assert optimizer.param_groups[0]["lr"] == 0.125


def test_a_single_logit_is_thresholded() -> None:
    """Arg-max over one column calls everything class 0."""
    task = targets.build(BINARY, schema=class_schema([2, 2]))
    outputs = torch.tensor([[-2.0], [3.0], [0.5], [-0.1]])
    assert outputs.argmax(1).tolist() == [0, 0, 0, 0]
    predictions = task.predictions(outputs)
    assert (predictions[:, 1] > 0.5).tolist() == [False, True, True, False]
    assert predictions.argmax(1).tolist() == [0, 1, 1, 0]
    metrics = task.training_metrics()
    metrics.update(predictions, torch.tensor([0, 1, 1, 0]))
    assert float(metrics.compute()["accuracy"]) == 1.0
