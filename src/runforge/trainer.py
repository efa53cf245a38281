"""Lightning's trainer, as the configuration, the machine and the group of ranks ask for it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from pytorch_lightning.callbacks import Callback, EarlyStopping
from pytorch_lightning.plugins.precision import MixedPrecision
from pytorch_lightning.profilers import Profiler
from pytorch_lightning.strategies import DDPStrategy, ModelParallelStrategy, Strategy

from runforge import determinism, ranks
from runforge.checkpoint_files import CheckpointFiles
from runforge.checkpoints import Checkpoints, WholeFile, check_monitor
from runforge.devices import device_type
from runforge.job import Job
from runforge.journal_logger import JournalLogger
from runforge.progress import EpochLines, MovingLine, can_move
from runforge.settings import MachineSettings, Settings

MOST_EPOCHS = 10**6
"""More than any probe takes."""


def build_trainer(job: Job, settings: Settings) -> pl.Trainer:
    """The trainer of a job; the process group is there already, where there is to be one."""
    files = CheckpointFiles(job.checkpoints, job.journal)
    progress = [] if job.quiet or not ranks.is_first() else [_progress()]
    whole = [] if settings.machine.strategy == "fsdp" else [WholeFile(files)]
    trainer = pl.Trainer(
        **_as_configured(settings),
        plugins=[*_plugins(settings), *whole],
        max_epochs=settings.trainer.max_epochs,
        logger=JournalLogger(job.journal, name=job.run_name, run_id=job.run_id),
        callbacks=[*_callbacks(settings, files), *progress],
        profiler=_profiler(job, settings),
        default_root_dir=job.run_folder,
        enable_progress_bar=False,
        enable_checkpointing=True,
    )
    _settle(trainer, tf32=settings.trainer.tf32)
    return trainer


def probe_trainer(settings: Settings, watch: Callback) -> pl.Trainer:
    """A trainer that does the same steps, keeps nothing, and goes on until `watch` stops it."""
    trainer = pl.Trainer(
        **_as_configured(settings),
        plugins=_plugins(settings),
        max_epochs=MOST_EPOCHS,
        limit_val_batches=0,
        logger=False,
        callbacks=[watch],
        enable_progress_bar=False,
        enable_checkpointing=False,
    )
    _settle(trainer, tf32=settings.trainer.tf32)
    return trainer


def _as_configured(settings: Settings) -> dict[str, Any]:
    """What a step depends on, and what Lightning is not to do of its own."""
    chosen, machine = settings.trainer, settings.machine
    return {
        "accelerator": device_type(machine),
        "devices": ranks.here().on_node,
        "num_nodes": machine.nodes,
        "strategy": _strategy(machine),
        "deterministic": chosen.deterministic,
        "benchmark": not chosen.deterministic,
        "log_every_n_steps": chosen.log_every_steps,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "use_distributed_sampler": False,
    }


def _settle(trainer: pl.Trainer, *, tf32: bool) -> None:
    determinism.spare_filling()
    determinism.round_products(tf32)
    # Lightning asks rank 0 before every step whether it got a signal: a wait for the device.
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]
    # Its handlers talk to the other ranks, who may be dead, and end the training with exit code 0:
    # what a signal does is `watch`'s business.
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]


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
    found: list[Any] = [TorchElasticEnvironment() if ranks.in_group() else LightningEnvironment()]
    precision = settings.trainer.precision
    if precision != "32-true":
        device = device_type(settings.machine)
        scaler = torch.amp.GradScaler(device) if precision == "16-mixed" else None
        found.append(MixedPrecision(precision, device, scaler))
    return found


def _profiler(job: Job, settings: Settings) -> Profiler | None:
    """What measures the parts of a step, on rank 0."""
    if not (settings.trainer.profile and ranks.is_first()):
        return None
    # Imported only here: most trainings start sooner without it.
    from runforge.profiling import StepProfiler

    device = torch.device(device_type(settings.machine))
    return StepProfiler(job.profile, batch_size=settings.data.batch_size, device=device)


class _Stopping(EarlyStopping):
    """Not strict: a monitor that is measured may have no value in one epoch."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Raises `ConfigError` where the monitor is not measured."""
        check_monitor(pl_module, self.monitor)


def _callbacks(settings: Settings, files: CheckpointFiles) -> Iterator[Callback]:
    chosen = settings.trainer
    yield Checkpoints(
        files,
        monitor=chosen.monitor if chosen.keep == "best" else None,
        mode=chosen.monitor_mode,
        interval_s=settings.machine.checkpoint_interval_s,
    )
    if chosen.patience is not None:
        patience = chosen.patience
        yield _Stopping(chosen.monitor, mode=chosen.monitor_mode, patience=patience, strict=False)


def _progress() -> Callback:
    return MovingLine() if can_move() else EpochLines()


@contextmanager
def quiet_lightning() -> Iterator[None]:
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
        # Order and draws are functions of the step: the data module goes on where it was.
        warnings.filterwarnings("ignore", message=".*your dataloader is not resumable.*")
        # Lightning's and torch's own business with one another: nothing a user could mend.
        warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
        warnings.filterwarnings("ignore", message="No complete tensor found in the group")
        yield
