"""The step `train`: builds the parts, fits them, and writes the bundle."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning as pl
from lightning_fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn

from runforge import bundle, bundle_file, checkpoints, ranks, targets
from runforge.batch_norm import has_batch_norm, synchronise_batch_norm
from runforge.blocks import checkpoint_activations
from runforge.checkpoint_files import newest_whole
from runforge.checkpoints import Checkpoints
from runforge.datamodule import PackedData
from runforge.determinism import weights_text
from runforge.devices import device_type, told_of
from runforge.errors import ConfigError, TrainingError
from runforge.history import HISTORY, History, HistoryRow
from runforge.job import Job
from runforge.journal import JournalReader
from runforge.learner import Learner
from runforge.orders import BatchOrder, BatchPlan
from runforge.prepared import PreparedSet
from runforge.settings import Settings, plain
from runforge.stopping import HERE
from runforge.trainer import build_trainer, quiet_lightning

EXAMPLES = 4
"""Packed samples that MLflow keeps with a model as the example of its input."""


def run(job: Job) -> dict[str, str]:
    """Trains as the job's configuration says and writes the bundle to `job.model`.

    Every rank of a group does its part; rank 0 writes. Goes on from the run's newest checkpoint,
    where there is one. Returns what is to be noted as tags of the run. Raises `ConfigError` where
    parts do not fit one another or the data, `TrainingError` where no usable model comes out.
    """
    settings = Settings.model_validate(job.configuration)
    prepared = PreparedSet.open(Path(job.prepared))
    with quiet_lightning():
        parts = build(job, settings, prepared)
        _tell_random(parts.learner.dropout_keys.left)
        with _mistakes_of_the_user():
            trainer = build_trainer(job, settings)
        with _mistakes_of_the_user():
            _fit(trainer, parts, _checkpoint(job))
        if trainer.global_step == 0:
            raise TrainingError("training did no step: the training split gave no batch")
        tags = {**parts.tags, **_keep(trainer, parts.learner), **told_of(settings.machine)}
        weights = checkpoints.full_weights(parts.learner.network)
        if ranks.is_first():
            _write(job, settings, prepared, weights)
            _save_for_mlflow(job, prepared)
    return tags


@dataclass(frozen=True, slots=True)
class Parts:
    """What Lightning's trainer gets, and the tags of how it begins."""

    learner: Learner
    data: PackedData
    tags: dict[str, str]


def build(job: Job, settings: Settings, prepared: PreparedSet) -> Parts:
    """The parts of a training that is configured so; raises `ConfigError` where they don't fit."""
    schema = prepared.schema
    pl.seed_everything(settings.seed, verbose=False)
    task = targets.build(plain(settings.task), schema=schema)
    augmentation = targets.build(plain(settings.augmentation))
    data = _data(settings, prepared, augmentation.draw_count)
    network = bundle.build_network(plain(settings.network), task, schema)
    tags = _initialise(network, job.initial_bundle) if ranks.is_first() else {}
    for tensor in network.state_dict().values():
        ranks.take_from_first(tensor)
    if ranks.is_first():  # those of all
        tags["runforge.initial_weights"] = weights_text(network.state_dict())
    learner = Learner(
        network=_shared_out(network, settings, data.train_order()),
        task=task,
        augmentation=augmentation,
        optimizer=plain(settings.optimizer),
        schedule=targets.build(plain(settings.schedule)),
        schema=schema,
        clip_norm=settings.trainer.gradient_clip_norm,
        graphs=settings.machine.cuda_graphs,
    )
    if settings.trainer.compile:
        network.compile()
    return Parts(learner, data, tags)


def _tell_random(left: tuple[str, ...]) -> None:
    """Says where the promise ends that the number of devices does not matter."""
    if left and ranks.count() > 1 and ranks.is_first():
        names = ", ".join(left)
        print(f"train: {names}: random for each device, not for each sample", file=sys.stderr)


def _data(settings: Settings, prepared: PreparedSet, draw_count: int) -> PackedData:
    trainer = settings.trainer
    plan = BatchPlan(
        batch_size=settings.data.batch_size,
        seed=settings.seed,
        steps_per_epoch=trainer.steps_per_epoch,
        accumulate=trainer.accumulate,
    )
    return PackedData(
        prepared,
        plan,
        draw_count=draw_count,
        workers=settings.machine.workers,
        timeout_s=settings.machine.timeout_s,
        validation_limit=trainer.validation_steps,
        on_device=settings.machine.data_on_device,
        ranks=ranks.here(),
    )


def _shared_out(network: nn.Module, settings: Settings, order: BatchOrder) -> nn.Module:
    """The network, ready to see a part of each batch; raises `ConfigError` where it can't."""
    shared = ranks.count() > 1 and has_batch_norm(network)
    if shared and settings.trainer.sync_batch_norm:
        network = synchronise_batch_norm(network, device_type(settings.machine))
    elif shared and order.smallest < 2 * ranks.count():
        what = f"a batch of {order.smallest} samples is too small for batch norm on each device"
        raise ConfigError(
            what, where="trainer.sync_batch_norm", mend="set it to true, or change data.batch_size"
        )
    if settings.machine.activation_checkpointing:
        checkpoint_activations(network)
    return network


def _initialise(network: nn.Module, folder: str | None) -> dict[str, str]:
    if folder is None:
        return {}
    done = bundle.initialise_from(network, Path(folder))
    new = ", ".join(done.not_loaded) or "none"
    print(f"train: {len(done.loaded)} weights initialised; left at random: {new}", file=sys.stderr)
    origin = bundle_file.read(Path(folder)).run_id
    return {"runforge.init_from": origin, "runforge.init_left_random": new}


def _checkpoint(job: Job) -> Path | None:
    """What to go on from: rank 0 says, for the others may be on machines that have no such file."""
    found = newest_whole(job.checkpoints) if ranks.is_first() else None
    if found is not None:
        print(f"train: going on from {found.name}", file=sys.stderr)
    return ranks.tell_all(found)


def _fit(trainer: pl.Trainer, parts: Parts, checkpoint: Path | None) -> None:
    with HERE.steps():
        trainer.fit(parts.learner, parts.data, ckpt_path=checkpoint, weights_only=True)


@contextmanager
def _mistakes_of_the_user() -> Iterator[None]:
    """Turns what Lightning and FSDP2 say of what they are given into one line."""
    try:
        yield
    except NotImplementedError as error:
        if "sharding strategy" not in str(error):
            raise
        mend = "take `machine.strategy=ddp`, or an optimiser that is not fused"
        raise ConfigError(str(error), where="machine.strategy=fsdp", mend=mend) from error
    except MisconfigurationException as error:
        text = " ".join(str(error).split())
        raise ConfigError(text, where="machine or trainer", mend="mend the key") from error


def _keep(trainer: pl.Trainer, learner: Learner) -> dict[str, str]:
    """Puts the weights that are handed on into the learner; returns which they are."""
    kept = trainer.checkpoint_callback
    assert isinstance(kept, Checkpoints)
    tags = {
        "runforge.epochs": str(trainer.current_epoch),
        "runforge.steps": str(trainer.global_step),
    }
    if kept.best_epoch < 0:
        return tags
    kept.load_best(learner)
    return {**tags, "runforge.kept_epoch": str(kept.best_epoch)}


def _write(
    job: Job, settings: Settings, prepared: PreparedSet, weights: Mapping[str, Tensor]
) -> None:
    folder = Path(job.model)
    bundle.write(
        folder,
        weights=weights,
        network_node=plain(settings.network),
        task_node=plain(settings.task),
        schema=prepared.schema,
        run_id=job.run_id,
        lineage=job.lineage,
    )
    entries = JournalReader(job.journal).read()
    rows = (HistoryRow(e.epoch or 0, e.step, e.metrics) for e in entries)
    History(tuple(rows)).write(folder / HISTORY)


def _save_for_mlflow(job: Job, prepared: PreparedSet) -> None:
    """The model as MLflow has it, from the bundle as it was written; the driver records it."""
    # Imported here, by rank 0, when the training is done: MLflow takes seconds.
    from runforge.tracking.model_record import save_model

    model = bundle.load(Path(job.model))
    save_model(model, prepared.inputs[:EXAMPLES].copy(), job.mlflow_model, run_id=job.run_id)
