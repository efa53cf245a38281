"""Processor, memory, disk, network and GPU load of the machine, taken in the driver."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlflow.system_metrics.metrics.base_metrics_monitor import BaseMetricsMonitor
from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor
from mlflow.system_metrics.metrics.rocm_monitor import ROCMMonitor

from runforge.journal import Journal, JournalReader


@contextmanager
def system_metrics(path: Path, *, interval_s: float = 2.0) -> Iterator[None]:
    """Appends `system/…` metrics of the machine to a journal every `interval_s` seconds.

    To a journal that is there already, as after a resume, from its last step on. MLflow's own
    thread for it ends for good when the store does not answer once.
    """
    entries = JournalReader(path).read()
    step = entries[-1].step + 1 if entries else 0
    stop = threading.Event()
    with Journal(path) as journal:
        thread = threading.Thread(
            target=_record, args=(journal, step, interval_s, stop), name="runforge-system"
        )
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def _record(journal: Journal, step: int, interval_s: float, stop: threading.Event) -> None:
    monitors = _monitors()
    while True:
        for monitor in monitors:
            monitor.collect_metrics()  # type: ignore[no-untyped-call]
        if stop.wait(interval_s):
            return
        metrics: dict[str, float] = {}
        for monitor in monitors:
            metrics |= monitor.aggregate_metrics()  # type: ignore[no-untyped-call]
            monitor.clear_metrics()  # type: ignore[no-untyped-call]
        journal.append({f"system/{name}": value for name, value in metrics.items()}, step=step)
        step += 1


def _monitors() -> list[BaseMetricsMonitor]:
    """Of the processor, the disk and the network, and of the GPUs where there are any."""
    always = (CPUMonitor, DiskMonitor, NetworkMonitor)
    found: list[BaseMetricsMonitor] = [kind() for kind in always]
    for kind in (GPUMonitor, ROCMMonitor):
        try:
            found.append(kind())
        except Exception:  # noqa: BLE001 - without such a GPU or its library, each in its own way
            continue
        break
    return found
