"""The step `train`: builds the parts, fits them, and writes the bundle."""

from __future__ import annotations

import logging
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import Callback, EarlyStopping, RichProgressBar
from pytorch_lightning.plugins.precision import MixedPrecision
from pytorch_lightning.strategies import DDPStrategy, ModelParallelStrategy, Strategy
from torch import Tensor, nn

from runforge import bundle, bundle_file, checkpoints, ranks, targets
from runforge.batch_norm import has_batch_norm, synchronise_batch_norm
from runforge.blocks import checkpoint_activations
from runforge.checkpoints import Checkpoints, WholeFile
from runforge.datamodule import BatchOrder, BatchPlan, PackedData
from runforge.devices import device_type
from runforge.errors import ConfigError, Interrupted, TrainingError
from runforge.history import HISTORY, History, HistoryRow
from runforge.job import Job
from runforge.journal import JournalReader
from runforge.journal_logger import JournalLogger
from runforge.learner import Learner
from runforge.prepared import PreparedSet
from runforge.progress import EpochLines
from runforge.settings import MachineSettings, Settings, plain

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
    with _quiet_lightning():
        parts = _build(job, settings, prepared)
        with _mistakes_of_the_user():
            trainer = _trainer(job, settings)
        with _mistakes_of_the_user():
            _fit(trainer, parts, ranks.tell_all(checkpoints.newest(job.checkpoints)))
        if trainer.global_step == 0:
            raise TrainingError("training did no step: the training split gave no batch")
        tags = {**parts.tags, **_keep(trainer, parts.learner)}
        weights = checkpoints.full_weights(parts.learner.network)
        if ranks.is_first():
            _write(job, settings, prepared, weights)
            _record(job, settings, prepared)
    return tags


@dataclass(frozen=True, slots=True)
class _Parts:
    learner: Learner
    data: PackedData
    tags: dict[str, str]


def _build(job: Job, settings: Settings, prepared: PreparedSet) -> _Parts:
    schema = prepared.schema
    pl.seed_everything(settings.seed, verbose=False)
    if settings.machine.threads is not None:
        torch.set_num_threads(settings.machine.threads)
    task = targets.build(plain(settings.task), schema=schema)
    augmentation = targets.build(plain(settings.augmentation))
    data = _data(settings, prepared, augmentation.draw_count)
    network = bundle.build_network(plain(settings.network), task, schema)
    tags = _initialise(network, job.initial_bundle) if ranks.is_first() else {}
    for tensor in network.state_dict().values():
        ranks.take_from_first(tensor)
    learner = Learner(
        network=_shared_out(network, settings, data.train_order()),
        task=task,
        augmentation=augmentation,
        optimizer=plain(settings.optimizer),
        schedule=targets.build(plain(settings.schedule)),
        schema=schema,
    )
    if settings.trainer.compile:
        network.compile()
    return _Parts(learner, data, tags)


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
        validation_limit=trainer.validation_steps,
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


def _trainer(job: Job, settings: Settings) -> pl.Trainer:
    chosen, machine = settings.trainer, settings.machine
    bar = sys.stderr.isatty() and not job.quiet and ranks.is_first()
    return pl.Trainer(
        accelerator=device_type(machine),
        devices=int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
        num_nodes=machine.nodes,
        strategy=_strategy(machine),
        plugins=_plugins(settings),
        max_epochs=chosen.max_epochs,
        accumulate_grad_batches=chosen.accumulate,
        gradient_clip_val=chosen.gradient_clip_norm,
        deterministic=chosen.deterministic,
        log_every_n_steps=chosen.log_every_steps,
        logger=JournalLogger(job.journal, name=job.run_name, run_id=job.run_id),
        callbacks=[*_callbacks(job, settings), *_progress(bar, job.quiet or not ranks.is_first())],
        default_root_dir=job.run_folder,
        enable_progress_bar=bar,
        enable_model_summary=False,
        enable_checkpointing=True,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


def _strategy(machine: MachineSettings) -> Strategy | str:
    """How weights and gradients are shared; the process group is there already."""
    count = ranks.count()
    if machine.strategy == "fsdp":
        return ModelParallelStrategy(data_parallel_size=count, tensor_parallel_size=1)
    if count == 1:
        return "auto"
    # Buffers are the learner's business. With more than two ranks the sums of gradients depend on
    # how torch groups them, which it changes after the first step of every start unless it looks
    # for unused parameters: a restart would then not give the same weights.
    return DDPStrategy(forward_sync_buffers=False, find_unused_parameters=count > 2)


def _plugins(settings: Settings) -> list[Any]:
    """Said outright: Lightning guesses wrongly under SLURM, and knows no fp16 on the CPU."""
    grouped = "LOCAL_RANK" in os.environ
    found: list[Any] = [TorchElasticEnvironment() if grouped else LightningEnvironment()]
    precision = settings.trainer.precision
    if precision != "32-true":
        device = device_type(settings.machine)
        scaler = torch.amp.GradScaler(device) if precision == "16-mixed" else None
        found.append(MixedPrecision(precision, device, scaler))
    return found if settings.machine.strategy == "fsdp" else [*found, WholeFile()]


def _callbacks(job: Job, settings: Settings) -> Iterator[Callback]:
    chosen, machine = settings.trainer, settings.machine
    yield Checkpoints(
        job.checkpoints,
        monitor=chosen.monitor if chosen.keep == "best" else None,
        mode=chosen.monitor_mode,
        interval_s=machine.checkpoint_interval_s if "LOCAL_RANK" in os.environ else None,
    )
    yield OwnSignals()
    if chosen.patience is not None:
        yield EarlyStopping(chosen.monitor, mode=chosen.monitor_mode, patience=chosen.patience)


def _progress(bar: bool, quiet: bool) -> Iterator[Callback]:
    if bar:
        yield RichProgressBar(console_kwargs={"stderr": True})
    elif not quiet:
        yield EpochLines()


class OwnSignals(Callback):
    """Takes the signals from Lightning: its handler talks to the other ranks, who may be dead."""

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """After Lightning has set its handlers, before the first step."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise Interrupted(number)


def _fit(trainer: pl.Trainer, parts: _Parts, checkpoint: Path | None) -> None:
    # Lightning asks rank 0 before every step whether it got a signal: a wait for the device.
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]
    try:
        trainer.fit(parts.learner, parts.data, ckpt_path=checkpoint, weights_only=True)
    except SystemExit as error:
        # Lightning ends the process itself.
        raise Interrupted(signal.SIGINT) from error


@contextmanager
def _mistakes_of_the_user() -> Iterator[None]:
    """Turns what Lightning says of its arguments into one line."""
    try:
        yield
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


def _record(job: Job, settings: Settings, prepared: PreparedSet) -> None:
    """The model as MLflow has it, from the bundle as it was written."""
    # Imported here, by rank 0, when the training is done: MLflow takes seconds.
    from runforge.tracking.model_record import record_model
    from runforge.tracking.run import Run

    model = bundle.load(Path(job.model))
    run = Run.join(job.tracking_uri, job.run_id)
    record_model(run, model, prepared.inputs[:EXAMPLES].copy(), name=settings.title)


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Leaves out what Lightning says to newcomers on every run."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # Packed arrays are read faster in the training process: measured, see docs/architecture.md.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*is smaller than the logging interval.*")
        warnings.filterwarnings("ignore", message=".*exists and is not empty.*")
        warnings.filterwarnings("ignore", message=".*across ranks is zero.*")
        # Epoch figures are summed over all ranks before they are logged.
        warnings.filterwarnings("ignore", message=".*sync_dist=True.*")
        # Lightning's and torch's own business with one another: nothing a user could mend.
        warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
        warnings.filterwarnings("ignore", message="No complete tensor found in the group")
        yield
