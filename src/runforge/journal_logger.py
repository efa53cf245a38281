"""Lightning's logger for the worker: everything goes to the journal, nothing to MLflow."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from runforge.journal import Journal


class JournalLogger(Logger):
    """Writes metrics to `journal.jsonl`; parameters are the driver's business."""

    def __init__(self, path: Path, *, name: str, run_id: str) -> None:
        super().__init__()
        self._path = path
        self._name = name
        self._run_id = run_id
        self._journal: Journal | None = None

    @property
    def name(self) -> str:
        """The run's name."""
        return self._name

    @property
    def version(self) -> str:
        """The run's id."""
        return self._run_id

    @property
    def save_dir(self) -> str:
        """The run's folder."""
        return str(self._path.parent)

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Appends one entry; Lightning gives the epoch among the metrics."""
        if self._journal is None:
            self._journal = Journal(self._path)
        values = dict(metrics)
        epoch = values.pop("epoch", None)
        if values:
            whole = None if epoch is None else int(epoch)
            self._journal.append(values, step=step or 0, epoch=whole)

    def log_hyperparams(
        self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any
    ) -> None:
        """Nothing: the configuration is recorded by the driver."""

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Closes the journal; logging after it opens it again."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None
