"""Processor, memory, disk, network and GPU load of a run, taken in the driver."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

from runforge.tracking.run import Run


@contextmanager
def system_metrics(run: Run, *, interval_s: float = 2.0) -> Iterator[None]:
    """Records `system/…` metrics of the machine every `interval_s` seconds while inside.

    After a resume the steps go on from the last one recorded.
    """
    monitor = SystemMetricsMonitor(  # type: ignore[no-untyped-call]
        run.run_id,
        sampling_interval=interval_s,
        resume_logging=True,
        tracking_uri=run.client.tracking_uri,
    )
    monitor.start()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        monitor.finish()  # type: ignore[no-untyped-call]
