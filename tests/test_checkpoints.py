"""Checkpoints: the best weights, and going on as if nothing had happened."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from runforge import targets
from runforge.checkpoint_files import CheckpointFiles, last_name, newest_whole
from runforge.checkpoints import Checkpoints, SharedClock, WholeFile, full_weights
from runforge.datamodule import PackedData
from runforge.errors import ConfigError, TrainingError
from runforge.journal import JournalReader
from runforge.journal_logger import JournalLogger
from runforge.learner import Learner
from runforge.orders import BatchPlan
from runforge.prepared import PreparedSet
from runforge.schedules import OneCycle
from runforge.trainer import _Stopping
from tests.made_sets import CNN, MULTICLASS, SGD, WARP, image_set

pytestmark = [
    pytest.mark.filterwarnings("ignore::pytorch_lightning.utilities.warnings.PossibleUserWarning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*is deprecated:FutureWarning"),
]

ADAM = {
    "_target_": "torch.optim.adam.Adam",
    **{"learning_rate": 0.02, "weight_decay": 0.0, "betas": [0.9, 0.999], "eps": 1e-8},
}
HURRY = {**SGD, "learning_rate": 3.0}
"""A rate that makes the loss go up and down."""
PREPARED = image_set([21, 13, 0])

Weights = dict[str, Tensor]


def learner_of(prepared: PreparedSet, optimizer: dict[str, Any]) -> Learner:
    torch.manual_seed(0)
    schema = prepared.schema
    task = targets.build(MULTICLASS, schema=schema)
    shapes = {"input_shape": schema.input_shape, "output_count": task.output_count(schema)}
    return Learner(
        network=targets.build({**CNN, "dropout": 0.3}, **shapes),
        task=task,
        augmentation=targets.build(WARP),
        optimizer=optimizer,
        schedule=OneCycle(warmup=0.3, start=0.04, final=0.001),
        schema=schema,
    )


class Lost(Exception):
    """As a process that dies."""


class LostAt(Callback):
    """Ends training in the middle of an epoch, when a step is done."""

    def __init__(self, epoch: int, step: int = 1) -> None:
        self.epoch, self.step = epoch, step

    def on_train_batch_end(self, trainer: pl.Trainer, *rest: Any) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        last = data.steps_in_epoch - 1
        if trainer.current_epoch == self.epoch and data.steps_done() > min(self.step, last):
            raise Lost


class Remembered(Callback):
    """The weights at the end of each epoch."""

    def __init__(self) -> None:
        self.weights: dict[int, Weights] = {}

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Learner)
        self.weights[trainer.current_epoch] = copied(pl_module.network.state_dict())


def copied(weights: Weights) -> Weights:
    return {name: value.clone() for name, value in weights.items()}


class Training:
    """One attempt at a training in a run's folder."""

    def __init__(  # noqa: PLR0913 - what tests vary
        self,
        folder: Path,
        *callbacks: Callback,
        monitor: str | None = "validation/loss",
        mode: str = "min",
        interval_s: float = 0,
        optimizer: dict[str, Any] = ADAM,
        prepared: PreparedSet = PREPARED,
        accumulate: int = 1,
        max_epochs: int = 4,
        workers: int = 0,
        steps_per_call: int = 1,
    ) -> None:
        self.folder, self.journal = folder / "checkpoints", folder / "journal.jsonl"
        files = CheckpointFiles(self.folder, self.journal)
        self.kept = Checkpoints(files, monitor=monitor, mode=mode, interval_s=interval_s)
        self.remembered = Remembered()
        self.learner = learner_of(prepared, optimizer)
        plan = BatchPlan(batch_size=6, seed=1, accumulate=accumulate)
        count = self.learner.augmentation.draw_count
        self.data = PackedData(
            prepared, plan, draw_count=count, workers=workers, steps_per_call=steps_per_call
        )
        self.trainer = pl.Trainer(
            accelerator="cpu",
            logger=JournalLogger(self.journal, name="test", run_id="abc"),
            callbacks=[self.kept, self.remembered, *callbacks],
            plugins=[WholeFile(files)],
            max_epochs=max_epochs,
            log_every_n_steps=1,
            default_root_dir=folder,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )

    def fit(self) -> Training:
        """Begins, or goes on from the newest checkpoint."""
        self.trainer.fit(
            self.learner, self.data, ckpt_path=newest_whole(self.folder), weights_only=True
        )
        return self

    @property
    def files(self) -> list[str]:
        """The names in the folder of checkpoints."""
        return sorted(path.name for path in self.folder.iterdir())

    @property
    def weights(self) -> Weights:
        """Those of the network now."""
        return copied(self.learner.network.state_dict())

    def best(self) -> Weights:
        """The weights that are handed on."""
        self.kept.load_best(self.learner)
        return full_weights(self.learner.network)

    def history(self) -> dict[tuple[str, int], float]:
        """What was logged, by name and step; what was logged later holds."""
        entries = JournalReader(self.journal).read()
        return {(n, e.step): v for e in entries for n, v in e.metrics.items()}

    def values(self, name: str) -> list[float]:
        """The history of one metric."""
        return [value for (named, _), value in sorted(self.history().items()) if named == name]


def assert_same(one: Weights, other: Weights) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def differ(one: Weights, other: Weights) -> bool:
    return any(not torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("monitor", "mode", "best_of"),
    [
        ("validation/loss", "min", np.argmin),
        ("validation/loss", "max", np.argmax),
        ("validation/accuracy", "max", np.argmax),
    ],
)
@pytest.mark.parametrize("interval_s", [1000.0, 0])
def test_the_best_weights_are_those_of_the_best_epoch(
    tmp_path: Path, monitor: str, mode: str, best_of: Any, interval_s: float
) -> None:
    given: dict[str, Any] = {"monitor": monitor, "mode": mode, "interval_s": interval_s}
    training = Training(tmp_path, optimizer=HURRY, max_epochs=7, **given).fit()
    values = training.values(monitor)
    assert len(values) == 7
    # Of equal ones the first.
    assert training.kept.best_epoch == best_of(values)
    last = training.weights
    best = training.best()
    assert_same(best, training.remembered.weights[int(best_of(values))])
    assert_same(last, training.remembered.weights[6])


def test_the_cases_of_best_weights_tell_them_from_the_last(tmp_path: Path) -> None:
    training = Training(tmp_path, optimizer=HURRY, max_epochs=7).fit()
    assert 0 < training.kept.best_epoch < 6
    assert differ(training.weights, training.best())


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("lost", [(0, 0), (0, 1), (2, 1), (2, 3), (3, 0), (3, 2)])
@pytest.mark.parametrize(("workers", "steps_per_call"), [(0, 1), (2, 1), (0, 3), (2, 128)])
def test_going_on_is_as_never_interrupted(
    tmp_path: Path, accumulate: int, lost: tuple[int, int], workers: int, steps_per_call: int
) -> None:
    """Four batches an epoch: with three to a step, the last step of each has one."""
    whole = Training(tmp_path / "whole", accumulate=accumulate).fit()
    given = {"accumulate": accumulate, "workers": workers, "steps_per_call": steps_per_call}
    with pytest.raises(Lost):
        Training(tmp_path / "parts", LostAt(*lost), **given).fit()
    second = Training(tmp_path / "parts", **given)
    torch.rand(17)
    second.fit()
    assert sorted(second.remembered.weights) == list(range(lost[0], 4))
    assert second.trainer.global_step == whole.trainer.global_step
    assert_same(second.weights, whole.weights)
    assert second.history() == whole.history()
    assert len(second.values("train/loss")) == len(second.values("validation/loss")) == 4
    assert second.kept.best_epoch == whole.kept.best_epoch
    assert_same(second.best(), whole.best())


def test_the_best_epoch_may_lie_before_the_interruption(tmp_path: Path) -> None:
    given: dict[str, Any] = {"optimizer": HURRY, "max_epochs": 7}
    whole = Training(tmp_path / "whole", **given).fit()
    lost = whole.kept.best_epoch + 2
    with pytest.raises(Lost):
        Training(tmp_path / "parts", LostAt(lost), **given).fit()
    second = Training(tmp_path / "parts", **given).fit()
    assert whole.kept.best_epoch not in second.remembered.weights
    assert second.kept.best_epoch == whole.kept.best_epoch
    assert_same(second.best(), whole.best())


def test_a_run_that_was_done_goes_on_to_its_end(tmp_path: Path) -> None:
    """Lost between the last epoch and the bundle: the last step alone is done again."""
    first = Training(tmp_path).fit()
    steps: list[int] = []

    class Counted(Callback):
        def on_train_batch_start(self, trainer: pl.Trainer, *rest: Any) -> None:
            steps.append(trainer.global_step)

    second = Training(tmp_path, Counted()).fit()
    assert steps == [15]
    assert_same(second.weights, first.weights)
    assert second.history() == first.history()


def names(training: Training) -> list[str]:
    """The names without checksums."""
    return [name.rpartition("-")[0] for name in training.files]


def test_older_ones_are_cleared_away(tmp_path: Path) -> None:
    training = Training(tmp_path, optimizer=HURRY, max_epochs=7).fit()
    best = f"{training.kept.best_epoch:06d}"
    lasts = [f"last-000006-{batch:08d}-{best}" for batch in (2, 3)]
    assert names(training) == [f"best-{best}", *lasts]


def test_one_to_go_back_to_keeps_its_best_weights(tmp_path: Path) -> None:
    """A new best epoch may be lost again: while an older checkpoint is there, its best stay."""
    with pytest.raises(Lost):
        # The loss falls at first: each epoch is the best so far.
        training = Training(tmp_path, LostAt(2, 0))
        training.fit()
    training.kept.on_fit_end(training.trainer, training.learner)
    assert training.values("validation/loss")[1] < training.values("validation/loss")[0]
    lasts = ["last-000001-00000003-000000", "last-000002-00000000-000001"]
    assert names(training) == ["best-000000", "best-000001", *lasts]
    newest = newest_whole(training.folder)
    assert newest is not None and newest.name.startswith(lasts[1])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize("kind", ["last-000002", "best-000001"])
def test_a_damaged_one_is_put_aside(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = Training(tmp_path / "whole").fit()
    with pytest.raises(Lost):
        training = Training(tmp_path / "parts", LostAt(2, 0))
        training.fit()
    training.kept.on_fit_end(training.trainer, training.learner)
    flip_a_bit(next(training.folder.glob(f"{kind}*")))
    again = Training(tmp_path / "parts").fit()
    assert f"{kind}" in capsys.readouterr().err
    assert any(name.startswith(f"damaged-{kind}") for name in again.files)
    assert sorted(again.remembered.weights) == [1, 2, 3]
    assert_same(again.weights, whole.weights)
    assert again.history() == whole.history()
    assert_same(again.best(), whole.best())


def test_damaged_best_weights_are_not_handed_on(tmp_path: Path) -> None:
    training = Training(tmp_path).fit()
    flip_a_bit(next(training.folder.glob(f"best-{training.kept.best_epoch:06d}*")))
    with pytest.raises(TrainingError, match=f"of epoch {training.kept.best_epoch}, are damaged"):
        training.best()


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    files = CheckpointFiles(tmp_path, tmp_path / "journal.jsonl")
    files.write(last_name(0, 1, -1), lambda path: path.write_text("good") and None)
    files.finish()
    before = newest_whole(tmp_path)

    def half(path: Path) -> None:
        path.write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    files.write(last_name(0, 2, -1), half)
    with pytest.raises(TrainingError, match=r"could not be written: .*No space left.*MB free"):
        files.finish()
    assert newest_whole(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == [before and before.name]


def test_nothing_is_kept_before_its_time(tmp_path: Path) -> None:
    training = Training(tmp_path, interval_s=1000.0, max_epochs=2).fit()
    assert newest_whole(training.folder) is None
    assert names(training) == [f"best-{training.kept.best_epoch:06d}"]


def test_the_last_weights_need_no_monitor(tmp_path: Path) -> None:
    training = Training(tmp_path, monitor=None, interval_s=1000.0, max_epochs=2).fit()
    assert training.kept.best_epoch == -1
    assert not training.folder.exists()


def test_a_monitor_that_is_not_measured(tmp_path: Path) -> None:
    training = Training(tmp_path, monitor="validation/r2")
    with pytest.raises(ConfigError) as caught:
        training.fit()
    line = str(caught.value)
    assert line.startswith("trainer.monitor: nothing of that name is measured; known: train/acc")
    assert "validation/loss" in line
    assert list(training.remembered.weights) == []


class SometimesNone(Metric):
    """A figure that is no number in some epochs, as R² of equal targets is."""

    def __init__(self, *values: float) -> None:
        super().__init__()
        self.values = list(values)
        self.add_state("count", torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        self.count += len(targets)

    def compute(self) -> Tensor:
        return torch.tensor(self.values.pop(0))


NAN = float("nan")


@pytest.mark.parametrize(
    ("values", "best"),
    [((NAN, 0.3, NAN, 0.2), 1), ((0.1, NAN, 0.4, NAN), 2), ((NAN, NAN, NAN, NAN), -1)],
)
def test_an_epoch_without_a_value_is_not_the_best(
    tmp_path: Path, capfd, values: tuple[float, ...], best: int
) -> None:
    stopping = _Stopping("validation/odd", mode="max", patience=9, strict=False)
    training = Training(tmp_path, stopping, monitor="validation/odd", mode="max")
    training.learner.validation_figures.metrics = MetricCollection({"odd": SometimesNone(*values)})
    training.fit()
    assert training.kept.best_epoch == best
    told = "trainer.monitor: validation/odd had no value in any epoch: the last weights are kept"
    assert (told in capfd.readouterr().err) is (best == -1)


def test_early_stopping_asks_for_its_monitor_before_the_first_step(tmp_path: Path) -> None:
    stopping = _Stopping("validation/los", patience=1, strict=False)
    training = Training(tmp_path, stopping, monitor=None)
    with pytest.raises(ConfigError, match="nothing of that name is measured"):
        training.fit()
    assert training.trainer.global_step == 0


# Lightning's, of the list of no loaders.
@pytest.mark.filterwarnings("ignore:Total length of `list` across ranks is zero")
def test_without_a_validation_split_it_has_no_loss(tmp_path: Path) -> None:
    training = Training(tmp_path, prepared=image_set([12, 0, 0]))
    with pytest.raises(ConfigError, match=r"trainer.monitor: .*known: .*train/loss"):
        training.fit()


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    assert newest_whole(tmp_path / "nothing") is None
    partial = tmp_path / "partial-last-000012-00000000-none"
    partial.touch()
    assert newest_whole(tmp_path) is None
    assert not partial.exists()


@pytest.mark.parametrize("interval_s", [0.0, 0.05, 1000.0])
def test_the_clock_is_asked_less_often_than_there_are_steps(interval_s: float) -> None:
    clock = SharedClock(interval_s)
    due = []
    for _ in range(100):
        due.append(clock.is_due())
        time.sleep(0.002)
    assert all(due) == (interval_s == 0)
    assert any(due) == (interval_s < 1)
