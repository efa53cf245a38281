"""The step `train`: builds the parts, fits them, and writes the bundle."""

from __future__ import annotations

import logging
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint, RichProgressBar
from pytorch_lightning.utilities.exceptions import SIGTERMException

from runforge import bundle, bundle_file, targets
from runforge.datamodule import PackedData
from runforge.errors import ConfigError, Interrupted, TrainingError
from runforge.history import HISTORY, History, HistoryRow
from runforge.job import Job
from runforge.journal import JournalReader
from runforge.journal_logger import JournalLogger
from runforge.learner import Learner
from runforge.prepared import PreparedSet
from runforge.progress import EpochLines
from runforge.settings import Settings, TrainerSettings, plain
from runforge.tracking.model_record import record_model
from runforge.tracking.run import Run

EXAMPLES = 4
"""Packed samples that MLflow keeps with a model as the example of its input."""


def run(job: Job) -> dict[str, str]:
    """Trains as the job's configuration says and writes the bundle to `job.model`.

    Returns what is to be noted as tags of the run. Raises `ConfigError` where parts do not fit
    one another or the data, `TrainingError` where no usable model comes out.
    """
    settings = Settings.model_validate(job.configuration)
    prepared = PreparedSet.open(Path(job.prepared))
    with _quiet_lightning():
        parts = _build(job, settings, prepared)
        with _mistakes_of_the_user():
            trainer = _trainer(job, settings)
        with _mistakes_of_the_user(trainer), _signals():
            trainer.fit(parts.learner, parts.data)
        if trainer.global_step == 0:
            raise TrainingError("training did no step: the training split gave no batch")
        tags = {**parts.tags, **_keep(trainer, parts.learner)}
        _write(job, settings, prepared, parts.learner)
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
    network = bundle.build_network(plain(settings.network), task, schema)
    tags = _initialise(network, job.initial_bundle)
    if settings.trainer.compile:
        network.compile()
    augmentation = targets.build(plain(settings.augmentation))
    learner = Learner(
        network=network,
        task=task,
        augmentation=augmentation,
        optimizer=plain(settings.optimizer),
        schedule=targets.build(plain(settings.schedule)),
        schema=schema,
    )
    data = PackedData(
        prepared,
        batch_size=settings.data.batch_size,
        seed=settings.seed,
        draw_count=augmentation.draw_count,
        steps_per_epoch=settings.trainer.steps_per_epoch,
        workers=settings.machine.workers,
    )
    return _Parts(learner, data, tags)


def _initialise(network: torch.nn.Module, folder: str | None) -> dict[str, str]:
    if folder is None:
        return {}
    done = bundle.initialise_from(network, Path(folder))
    new = ", ".join(done.not_loaded) or "none"
    print(f"train: {len(done.loaded)} weights initialised; left at random: {new}", file=sys.stderr)
    origin = bundle_file.read(Path(folder)).run_id
    return {"runforge.init_from": origin, "runforge.init_left_random": new}


def _trainer(job: Job, settings: Settings) -> pl.Trainer:
    chosen = settings.trainer
    bar = sys.stderr.isatty() and not job.quiet
    return pl.Trainer(
        accelerator=settings.machine.accelerator,
        devices=settings.machine.devices,
        precision=chosen.precision,
        max_epochs=chosen.max_epochs,
        limit_val_batches=chosen.validation_steps,
        accumulate_grad_batches=chosen.accumulate,
        gradient_clip_val=chosen.gradient_clip_norm,
        deterministic=chosen.deterministic,
        log_every_n_steps=chosen.log_every_steps,
        logger=JournalLogger(job.journal, name=job.run_name, run_id=job.run_id),
        callbacks=[*_callbacks(job, chosen), *_progress(bar, job.quiet)],
        default_root_dir=job.run_folder,
        enable_progress_bar=bar,
        enable_model_summary=False,
        enable_checkpointing=chosen.keep == "best",
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


def _callbacks(job: Job, chosen: TrainerSettings) -> Iterator[Callback]:
    if chosen.keep == "best":
        yield ModelCheckpoint(
            Path(job.run_folder) / "checkpoints",
            filename="best",
            monitor=chosen.monitor,
            mode=chosen.monitor_mode,
            save_weights_only=True,
            enable_version_counter=False,
        )
    if chosen.patience is not None:
        yield EarlyStopping(chosen.monitor, mode=chosen.monitor_mode, patience=chosen.patience)


def _progress(bar: bool, quiet: bool) -> Iterator[Callback]:
    if bar:
        yield RichProgressBar(console_kwargs={"stderr": True})
    elif not quiet:
        yield EpochLines()


@contextmanager
def _mistakes_of_the_user(trainer: pl.Trainer | None = None) -> Iterator[None]:
    """Turns what Lightning says of its arguments into one line."""
    try:
        yield
    except MisconfigurationException as error:
        text = " ".join(str(error).split())
        if trainer is None or "monitor" not in text:
            raise ConfigError(text, where="machine or trainer", mend="mend the key") from error
        mend = f"known: {', '.join(sorted(trainer.callback_metrics))}"
        what = "nothing of that name is measured"
        raise ConfigError(what, where="trainer.monitor", mend=mend) from error


@contextmanager
def _signals() -> Iterator[None]:
    """Lightning ends the process itself, after SIGTERM even with exit code 0."""
    try:
        yield
    except SIGTERMException as error:
        raise Interrupted(signal.SIGTERM) from error
    except SystemExit as error:
        raise Interrupted(signal.SIGINT) from error


def _keep(trainer: pl.Trainer, learner: Learner) -> dict[str, str]:
    """Puts the weights that are handed on into the learner; returns which they are."""
    callback = trainer.checkpoint_callback
    tags = {
        "runforge.epochs": str(trainer.current_epoch),
        "runforge.steps": str(trainer.global_step),
    }
    if not isinstance(callback, ModelCheckpoint):
        return tags
    kept = torch.load(callback.best_model_path, map_location="cpu", weights_only=True)
    learner.load_state_dict(kept["state_dict"])
    return {**tags, "runforge.kept_epoch": str(kept["epoch"])}


def _write(job: Job, settings: Settings, prepared: PreparedSet, learner: Learner) -> None:
    folder = Path(job.model)
    bundle.write(
        folder,
        network=learner.network,
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
        # Lightning's and torch's own business with one another: nothing a user could mend.
        warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
        warnings.filterwarnings("ignore", message="No complete tensor found in the group")
        yield
