"""Tasks against scikit-learn and NumPy, and the data that they refuse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from scipy.special import expit, log_expit, log_softmax, softmax
from sklearn.metrics import accuracy_score, f1_score, mean_absolute_error, r2_score

from runforge import targets
from runforge.errors import ConfigError, DataError
from runforge.schema import Schema
from tests.made_sets import BINARY, MULTICLASS, REGRESSION, class_schema, value_schema

CONF = Path(__file__).parents[1] / "conf" / "task"
NODES = {path.stem: yaml.safe_load(path.read_text()) for path in sorted(CONF.glob("*.yaml"))}


def _fitting(name: str) -> Schema:
    return value_schema() if name == "regression" else class_schema([3, 5])


@pytest.mark.parametrize("name", NODES)
def test_every_task_keeps_the_contract(name: str) -> None:
    schema = _fitting(name)
    task = targets.build(NODES[name], schema=schema)
    outputs = torch.randn(6, task.output_count(schema), requires_grad=True)
    truth = torch.randn(6) if schema.target_kind == "value" else torch.randint(2, (6,))
    losses, predictions = task.losses(outputs, truth), task.predictions(outputs)
    assert losses.shape == (6,)
    assert task.sample_weights(truth) is None
    assert predictions.shape == (6, len(task.columns()))
    metrics = task.training_metrics()
    metrics.update(predictions.detach(), truth)
    computed = metrics.compute()
    assert all(value.ndim == 0 for value in computed.values())
    metrics.reset()
    metrics.update(task.answers(outputs.detach()), truth)
    assert metrics.compute() == computed
    losses.sum().backward()
    assert outputs.grad is not None and outputs.grad.any()


def test_multiclass_numbers() -> None:
    draw = np.random.default_rng(0)
    outputs, truth = draw.normal(size=(50, 4)) * 3, draw.integers(0, 3, 50)
    task = targets.build(MULTICLASS, schema=class_schema([5, 6, 7, 8]))
    given, indices = torch.tensor(outputs), torch.tensor(truth)
    expected = -log_softmax(outputs, axis=1)[np.arange(50), truth]
    np.testing.assert_allclose(task.losses(given, indices).numpy(), expected)
    np.testing.assert_allclose(task.predictions(given).numpy(), softmax(outputs, axis=1))
    metrics = task.training_metrics()
    for part in range(0, 50, 20):
        metrics.update(task.predictions(given[part : part + 20]), indices[part : part + 20])
    computed = metrics.compute()
    assert float(computed["accuracy"]) == pytest.approx(accuracy_score(truth, outputs.argmax(1)))
    macro = f1_score(truth, outputs.argmax(1), average="macro")
    assert float(computed["f1_macro"]) == pytest.approx(macro)


def test_binary_numbers() -> None:
    draw = np.random.default_rng(1)
    outputs, truth = draw.normal(size=40) * 4, draw.integers(0, 2, 40)
    outputs[:2] = 60, -60
    task = targets.build(BINARY, schema=class_schema([4, 4]))
    given, indices = torch.tensor(outputs)[:, None], torch.tensor(truth)
    expected = -np.where(truth == 1, log_expit(outputs), log_expit(-outputs))
    np.testing.assert_allclose(task.losses(given, indices).numpy(), expected)
    predictions = task.predictions(given).numpy()
    np.testing.assert_allclose(predictions, np.stack([expit(-outputs), expit(outputs)], 1))
    metrics = task.training_metrics()
    metrics.update(torch.tensor(predictions), indices)
    expected_accuracy = accuracy_score(truth, outputs > 0)
    assert float(metrics.compute()["accuracy"]) == pytest.approx(expected_accuracy)


def test_regression_learns_standard_units_and_predicts_the_targets() -> None:
    draw = np.random.default_rng(2)
    truth, standard = draw.normal(50, 7, 30), draw.normal(size=30)
    task = targets.build(REGRESSION, schema=value_schema(50.0, 7.0))
    given, values = torch.tensor(standard)[:, None], torch.tensor(truth)
    expected = (standard - (truth - 50) / 7) ** 2
    np.testing.assert_allclose(task.losses(given, values).numpy(), expected)
    predictions = task.predictions(given)
    np.testing.assert_allclose(predictions.numpy()[:, 0], standard * 7 + 50)
    metrics = task.training_metrics()
    metrics.update(predictions, values)
    computed = metrics.compute()
    assert float(computed["mae"]) == pytest.approx(mean_absolute_error(truth, predictions[:, 0]))
    assert float(computed["r2"]) == pytest.approx(r2_score(truth, predictions[:, 0]), rel=1e-5)


def test_one_sample_has_no_r2() -> None:
    metrics = targets.build(REGRESSION, schema=value_schema()).training_metrics()
    metrics.update(torch.tensor([[1.0]]), torch.tensor([2.0]))
    assert metrics.compute()["r2"].isnan()


@pytest.mark.parametrize("node", [BINARY, MULTICLASS])
def test_class_weights(node: dict[str, Any]) -> None:
    truth = torch.tensor([0, 1, 1, 0])
    schema = class_schema([30, 10])
    for weights, expected in (
        ("balanced", [40 / (2 * 30), 40 / (2 * 10)]),
        ([0.5, 3.0], [0.5, 3.0]),
    ):
        task = targets.build({**node, "class_weights": weights}, schema=schema)
        given = task.sample_weights(truth).tolist()
        assert given == pytest.approx([expected[c] for c in truth])


def test_weights_are_no_part_of_the_state() -> None:
    assert targets.build(MULTICLASS, schema=class_schema([3, 3])).state_dict() == {}


@pytest.mark.parametrize(
    ("node", "schema", "message"),
    [
        (BINARY, class_schema([3, 3, 3]), "there are 3; take `task=multiclass`"),
        (BINARY, value_schema(), "is a value; take `task=regression`"),
        (MULTICLASS, value_schema(), "is a value; take `task=regression`"),
        (REGRESSION, class_schema([3, 3]), "is a class; take `task=multiclass` or `task=binary`"),
        (
            {**BINARY, "loss": MULTICLASS["loss"]},
            class_schema([3, 3]),
            "CrossEntropyLoss can't serve",
        ),
        ({**MULTICLASS, "loss": BINARY["loss"]}, class_schema([3, 3]), "take CrossEntropyLoss"),
        ({**REGRESSION, "loss": BINARY["loss"]}, value_schema(), "take MSELoss, L1Loss"),
        ({**MULTICLASS, "class_weights": [1.0]}, class_schema([3, 3]), "1 weight for 2 classes"),
        ({**MULTICLASS, "class_weights": "balanced"}, class_schema([3, 0]), "samples of class 1"),
        (
            {**MULTICLASS, "loss": {**MULTICLASS["loss"], "label_smoothing": 2.0}},  # type: ignore[dict-item]
            class_schema([3, 3]),
            "label_smoothing must be between",
        ),
        (
            {**MULTICLASS, "loss": {**MULTICLASS["loss"], "weight": [1.0, 2.0]}},  # type: ignore[dict-item]
            class_schema([3, 3]),
            "task.loss: CrossEntropyLoss",
        ),
    ],
)
def test_what_does_not_fit_is_refused(node: dict[str, Any], schema: Schema, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        targets.build(node, schema=schema)


def test_data_with_nothing_to_learn() -> None:
    with pytest.raises(DataError, match="two to tell apart"):
        targets.build(MULTICLASS, schema=class_schema([3]))
    with pytest.raises(DataError, match=r"every training target is 10\.0"):
        targets.build(REGRESSION, schema=replace(value_schema(), target_std=0.0))
