"""Training against a loop written by hand, its figures against scikit-learn."""

from __future__ import annotations

import csv
import math
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.plugins.precision import MixedPrecision
from sklearn.metrics import f1_score, mean_absolute_error, r2_score
from torch.nn import functional

from runforge import targets
from runforge.datamodule import PackedData
from runforge.epoch import EpochFigures
from runforge.errors import ConfigError, TrainingError
from runforge.learner import Learner
from runforge.optimizers import build_optimizer
from runforge.orders import BatchPlan
from runforge.pace import MOST_STEPS
from runforge.prepared import PreparedSet
from runforge.schedules import Constant, Cosine
from runforge.step_losses import StepLoss, StepLosses
from tests.made_sets import (
    BINARY,
    CNN,
    IDENTITY,
    MLP,
    MULTICLASS,
    REGRESSION,
    SGD,
    WARP,
    class_schema,
    image_set,
    table_set,
)

DROPS = {**MLP, "dropout": 0.5}

pytestmark = [
    pytest.mark.filterwarnings("ignore::pytorch_lightning.utilities.warnings.PossibleUserWarning"),
    # Lightning 2.6 with torch 2.13.
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*is deprecated:FutureWarning"),
]


def _learner(prepared: PreparedSet, **changes: Any) -> Learner:
    schema = prepared.schema
    parts = {"network": MLP, "task": MULTICLASS, "augmentation": IDENTITY, "optimizer": SGD}
    nodes = {**parts, **{k: v for k, v in changes.items() if k in parts}}
    torch.manual_seed(0)
    task = targets.build(nodes["task"], schema=schema)
    shapes = {"input_shape": schema.input_shape, "output_count": task.output_count(schema)}
    return Learner(
        network=targets.build(nodes["network"], **shapes),
        task=task,
        augmentation=targets.build(nodes["augmentation"]),
        optimizer=nodes["optimizer"],
        schedule=changes.get("schedule", Constant()),
        schema=schema,
        clip_norm=changes.get("clip_norm"),
    )


def _data(prepared: PreparedSet, learner: Learner, **changes: Any) -> PackedData:
    workers, most = changes.pop("workers", 0), changes.pop("steps_per_call", MOST_STEPS)
    plan = BatchPlan(**{"batch_size": 8, "seed": 1, **changes})
    count = learner.augmentation.draw_count
    return PackedData(prepared, plan, draw_count=count, workers=workers, steps_per_call=most)


def _fit(learner: Learner, data: PackedData, folder: Path, **trainer: Any) -> pl.Trainer:
    chosen: dict[str, Any] = {"max_epochs": 2, "log_every_n_steps": 1, **trainer}
    fitted = pl.Trainer(
        accelerator="cpu",
        logger=CSVLogger(folder, name="", version="log"),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **chosen,
    )
    fitted.fit(learner, data)
    return fitted


def _logged(folder: Path, name: str) -> list[tuple[int, float]]:
    with (folder / "log" / "metrics.csv").open() as file:
        return [(int(r["step"]), float(r[name])) for r in csv.DictReader(file) if r[name]]


def test_training_is_the_loop_written_by_hand(tmp_path: Path) -> None:
    prepared = image_set([30, 9, 0])
    node = {**MULTICLASS, "class_weights": [1.0, 2.0, 0.5]}
    schedule = Cosine(warmup=0.25, final=0.0)
    learner = _learner(prepared, network=CNN, task=node, schedule=schedule)
    network = _learner(prepared, network=CNN).network
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    batches = _data(prepared, learner).train_dataloader()
    losses, rates = [], []
    for epoch in range(2):
        batches.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        for batch in (batch for steps in batches for step in steps for batch in step.batches):
            optimizer.param_groups[0]["lr"] = 0.1 * schedule(len(losses), 8)
            inputs = batch.inputs.permute(0, 3, 1, 2) / 255.0
            inputs = (inputs - prepared.schema.statistics["mean"][0]) / prepared.schema.statistics[
                "std"
            ][0]
            weight = torch.tensor([1.0, 2.0, 0.5])
            loss = functional.cross_entropy(network(inputs), batch.targets, weight)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            rates.append(optimizer.param_groups[0]["lr"])
    _fit(learner, _data(prepared, learner), tmp_path)
    for name, value in learner.network.state_dict().items():
        torch.testing.assert_close(value, network.state_dict()[name])
    logged = _logged(tmp_path, "train/step_loss")
    assert [step for step, _ in logged] == list(range(1, 9))
    assert [loss for _, loss in logged] == pytest.approx(losses, rel=1e-4)
    assert [rate for _, rate in _logged(tmp_path, "learning_rate")] == pytest.approx(rates)


@pytest.mark.parametrize(
    ("task", "network"), [(MULTICLASS, MLP), (BINARY, MLP), (MULTICLASS, DROPS)]
)
def test_validation_figures_are_those_of_all_samples(
    tmp_path: Path, task: dict[str, Any], network: dict[str, Any]
) -> None:
    # 19 samples in batches of 8: an average of the batches' averages would be another number.
    prepared = image_set([24, 19, 0], classes=3 if task is MULTICLASS else 2)
    weights = [1.0, 3.0, 2.0][: len(prepared.schema.classes)]
    learner = _learner(prepared, task={**task, "class_weights": weights}, network=network)
    trainer = _fit(learner, _data(prepared, learner), tmp_path)
    rows = prepared.rows("validation")
    truth = torch.from_numpy(prepared.targets[rows])
    learner.eval()
    with torch.no_grad():
        outputs = learner.network(learner.input_layer(torch.from_numpy(prepared.inputs[rows])))
    if task is MULTICLASS:
        losses = functional.cross_entropy(outputs, truth, reduction="none").numpy()
        predicted = outputs.argmax(1).numpy()
    else:
        losses = functional.binary_cross_entropy_with_logits(
            outputs[:, 0], truth.float(), reduction="none"
        ).numpy()
        predicted = (outputs[:, 0] > 0).long().numpy()
    got = {name: float(value) for name, value in trainer.callback_metrics.items()}
    expected = np.average(losses, weights=np.array(weights)[truth])
    assert got["validation/loss"] == pytest.approx(expected, rel=1e-4)
    assert got["validation/accuracy"] == pytest.approx((predicted == truth.numpy()).mean())
    macro = f1_score(truth, predicted, average="macro")
    assert got["validation/f1_macro"] == pytest.approx(macro, rel=1e-4)
    assert {"train/loss", "train/accuracy", "train/f1_macro"} <= set(got)


def test_regression_is_measured_in_the_targets_unit(tmp_path: Path) -> None:
    prepared = table_set([40, 11, 0], values=True)
    learner = _learner(prepared, task=REGRESSION)
    trainer = _fit(learner, _data(prepared, learner), tmp_path, max_epochs=5)
    rows = prepared.rows("validation")
    with torch.no_grad():
        outputs = learner.network(learner.input_layer(torch.from_numpy(prepared.inputs[rows])))
        predicted = learner.task.predictions(outputs)[:, 0].numpy()
    got = trainer.callback_metrics
    truth = prepared.targets[rows]
    assert float(got["validation/mae"]) == pytest.approx(
        mean_absolute_error(truth, predicted), rel=1e-4
    )
    assert float(got["validation/r2"]) == pytest.approx(r2_score(truth, predicted), rel=1e-3)


def test_the_figures_of_training_are_sums_over_the_epoch(tmp_path: Path) -> None:
    prepared = image_set([19, 4, 0])
    learner = _learner(prepared)
    trainer = _fit(learner, _data(prepared, learner), tmp_path, max_epochs=1)
    losses = [loss for _, loss in _logged(tmp_path, "train/step_loss")]
    expected = np.average(losses, weights=[8, 8, 3])
    assert float(trainer.callback_metrics["train/loss"]) == pytest.approx(expected, rel=1e-5)


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    prepared = image_set([20, 4, 0])

    def weights(folder: str, workers: int) -> dict[str, torch.Tensor]:
        learner = _learner(prepared, network=CNN, augmentation=WARP)
        _fit(learner, _data(prepared, learner, workers=workers), tmp_path / folder, max_epochs=1)
        return learner.network.state_dict()

    one, other = weights("a", 0), weights("b", 1)
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("network", [DROPS, {**CNN, "dropout": 0.5}])
def test_dropout_does_not_depend_on_what_was_drawn_before(
    tmp_path: Path, network: dict[str, Any]
) -> None:
    prepared = image_set([20, 4, 0])

    def weights(folder: str, drawn: int, node: dict[str, Any]) -> list[torch.Tensor]:
        learner = _learner(prepared, network=node)
        torch.rand(drawn)
        _fit(learner, _data(prepared, learner), tmp_path / folder, max_epochs=2)
        return list(learner.network.state_dict().values())

    one, other = weights("a", 0, network), weights("b", 1000, network)
    assert all(torch.equal(*pair) for pair in zip(one, other, strict=True))
    without = weights("c", 0, {**network, "dropout": 0.0})
    assert not all(torch.equal(*pair) for pair in zip(one, without, strict=True))


def test_augmentation_is_for_training_only() -> None:
    prepared = image_set([8, 8, 0])
    plain, warped = _learner(prepared), _learner(prepared, augmentation=WARP)
    data = _data(prepared, warped)
    validation = next(iter(data.val_dataloader()))
    (step,) = next(iter(data.train_dataloader()))
    (train,) = step.batches
    losses = []
    for learner in (plain, warped):
        learner.validation_step(validation, 0)
        outputs = learner.validation_outputs.take()
        inputs = learner.augmentation(learner.input_layer.to_float(train.inputs), train.draws)
        losses.append((outputs[0], inputs))
    assert torch.equal(losses[0][0], losses[1][0])
    assert not torch.equal(losses[0][1], losses[1][1])


def test_accumulated_batches_make_one_step(tmp_path: Path) -> None:
    prepared = image_set([32, 4, 0])
    learner = _learner(prepared)
    data = _data(prepared, learner, accumulate=2)
    trainer = _fit(learner, data, tmp_path)
    assert trainer.global_step == 4
    assert [step for step, _ in _logged(tmp_path, "train/step_loss")] == [1, 2, 3, 4]


@pytest.mark.parametrize("clip", [None, 0.05])
def test_accumulated_batches_are_one_large_batch(tmp_path: Path, clip: float | None) -> None:
    """31 samples: 3 × 4, 3 × 4 and 4 + 3 against 12, 12 and 7, with weights that differ."""
    prepared = image_set([31, 9, 0])
    node = {**MULTICLASS, "class_weights": [1.0, 2.0, 0.5]}
    schedule = Cosine(warmup=0.25, final=0.0)

    def trained(folder: Path, size: int, accumulate: int) -> tuple[Learner, pl.Trainer]:
        parts = {"task": node, "augmentation": WARP, "schedule": schedule, "network": DROPS}
        learner = _learner(prepared, **parts, clip_norm=clip)
        data = _data(prepared, learner, batch_size=size, accumulate=accumulate)
        return learner, _fit(learner, data, folder, max_epochs=3)

    parts, fitted = trained(tmp_path / "parts", 4, 3)
    whole, expected = trained(tmp_path / "whole", 12, 1)
    assert fitted.global_step == expected.global_step == 9
    for name, value in parts.network.state_dict().items():
        torch.testing.assert_close(value, whole.network.state_dict()[name], rtol=1e-4, atol=1e-6)
    for name in ("train/step_loss", "learning_rate", "train/loss", "validation/loss"):
        one, other = (_logged(tmp_path / folder, name) for folder in ("parts", "whole"))
        assert [step for step, _ in one] == [step for step, _ in other]
        assert [v for _, v in one] == pytest.approx([v for _, v in other], rel=1e-4)


def test_steps_are_logged_at_the_interval(tmp_path: Path) -> None:
    prepared = image_set([40, 0, 0])
    learner = _learner(prepared)
    trainer = _fit(
        learner,
        _data(prepared, learner, steps_per_epoch=7),
        tmp_path,
        log_every_n_steps=5,
        limit_val_batches=0,
    )
    assert trainer.global_step == 14
    assert [step for step, _ in _logged(tmp_path, "train/step_loss")] == [5, 10]
    assert len(_logged(tmp_path, "train/loss")) == 2


def test_bfloat16_trains(tmp_path: Path) -> None:
    prepared = image_set([24, 6, 0])
    learner = _learner(prepared, network=CNN, augmentation=WARP)
    trainer = _fit(
        learner, _data(prepared, learner), tmp_path, precision="bf16-mixed", max_epochs=1
    )
    assert math.isfinite(trainer.callback_metrics["validation/loss"])


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_weights_do_not_depend_on_the_steps_in_a_call(
    tmp_path: Path, precision: Any, accumulate: int
) -> None:
    prepared = image_set([120, 6, 0])
    found = []
    for most in (1, MOST_STEPS):
        learner = _learner(prepared, network=CNN)
        data = _data(prepared, learner, steps_per_call=most, accumulate=accumulate)
        scaler = torch.amp.GradScaler("cpu") if precision == "16-mixed" else None
        mixed = [] if precision == "32-true" else [MixedPrecision(precision, "cpu", scaler)]
        _fit(learner, data, tmp_path / str(most), plugins=mixed)
        found.append(learner.network.state_dict())
    one, many = found
    assert all(torch.equal(one[name], many[name]) for name in one)


def test_a_loss_that_is_no_number_ends_training(tmp_path: Path) -> None:
    prepared = image_set([40, 8, 0])
    learner = _learner(prepared, optimizer={**SGD, "learning_rate": 1e25})
    with pytest.raises(TrainingError) as caught:
        _fit(learner, _data(prepared, learner), tmp_path)
    line = str(caught.value)
    assert line.startswith(
        ("the loss became nan at epoch 0, step", "the loss became inf at epoch 0")
    )
    assert line.endswith("lower optimizer.learning_rate=1e+25")


def test_a_validation_loss_that_is_no_number_ends_training(tmp_path: Path) -> None:
    # One step an epoch: the training loss has been taken before the weights burst.
    prepared = image_set([8, 8, 0])
    learner = _learner(prepared, optimizer={**SGD, "learning_rate": 1e38})
    with pytest.raises(TrainingError, match="the validation loss became"):
        _fit(learner, _data(prepared, learner), tmp_path)


def test_losses_are_read_once_with_their_steps() -> None:
    losses = StepLosses()
    losses.send(2)
    assert list(losses.read()) == []
    for step, loss in ((1, 1.0), (2, 2.0), (3, math.inf)):
        losses.add(step, 0.5, torch.tensor(loss))
    assert list(losses.read()) == []
    losses.send(2)
    first = [StepLoss(1, 0.5, 1.0, None), StepLoss(2, 0.5, 2.0, 2.0)]
    assert list(losses.read_ready()) == [*first, StepLoss(3, 0.5, math.inf, None)]
    losses.add(4, 0.25, torch.tensor(4.0))
    losses.send(2)
    assert list(losses.read()) == [StepLoss(4, 0.25, 4.0, 4.0)]
    assert list(losses.read()) == []


def test_an_optimiser_that_can_not_be_built() -> None:
    node = {**SGD, "nesterov": True, "momentum": 0.0}
    with pytest.raises(ConfigError, match="optimizer: Nesterov momentum requires"):
        build_optimizer(node, [torch.nn.Parameter(torch.zeros(1))])


def test_many_classes_are_counted_in_little_memory() -> None:
    """Where algorithms are deterministic, torchmetrics would take 4 GB and 3 s for these."""
    figures = EpochFigures(targets.build(MULTICLASS, schema=class_schema([1] * 1000)))
    truth = torch.arange(256)
    outputs = functional.one_hot(truth // 2 * 2, 1000).float()
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    torch.use_deterministic_algorithms(True)
    try:
        figures.update(torch.zeros(256), None, outputs, truth)
        assert figures.compute()["accuracy"] == 0.5
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 500_000
