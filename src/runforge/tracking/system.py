"""Processor, memory, disk, network and GPU load of the machine, taken in the driver."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

from runforge.journal import Journal, JournalReader


@contextmanager
def system_metrics(journal: Path, *, interval_s: float = 2.0) -> Iterator[None]:
    """Appends `system/…` metrics of the machine to a journal every `interval_s` seconds.

    To a journal that is there already, as after a resume, from its last step on.
    """
    entries = JournalReader(journal).read()
    with Journal(journal) as file:
        monitor = _Monitor(file, entries[-1].step + 1 if entries else 0, interval_s)
        monitor.start()  # type: ignore[no-untyped-call]
        try:
            yield
        finally:
            monitor.finish()  # type: ignore[no-untyped-call]


class _Monitor(SystemMetricsMonitor):
    """MLflow's, without its requests: its own ends for good when the store does not answer once."""

    def __init__(self, journal: Journal, step: int, interval_s: float) -> None:
        super().__init__(None, sampling_interval=interval_s)  # type: ignore[no-untyped-call]
        self.mlflow_logger = _ToJournal(journal)  # type: ignore[assignment]
        self._logging_step = step

    def monitor(self) -> None:
        """The thread: a sample for each interval."""
        while True:
            self.collect_metrics()  # type: ignore[no-untyped-call]
            if self._shutdown_event.wait(self.sampling_interval):
                return
            self.publish_metrics(self.aggregate_metrics())  # type: ignore[no-untyped-call]


class _ToJournal:
    """Takes the place of MLflow's own buffer."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.data: list[object] = []
        """Nothing waits in memory."""

    def record_metrics(self, metrics: dict[str, float], step: int) -> None:
        """Appends one entry."""
        self._journal.append(metrics, step=step)

    def flush(self) -> None:
        """Nothing: each entry is in the file when it was appended."""
