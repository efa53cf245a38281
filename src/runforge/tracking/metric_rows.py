"""Metrics put into a store that is a file as rows, the same that MLflow's `log_batch` writes.

That makes objects of each metric, checks and compares it several times: 85 µs of the processor,
which a small network that is trained on the next core has to do without. These rows take 6: see
decision 0020. A store whose tables are not those that are known here, a run that takes none, a
server: there `log_batch` itself does it, or says why it does not.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from mlflow.entities import Metric
from mlflow.tracking import MlflowClient

Row = tuple[str, float, int, int, bool, str]
"""In the order of `COLUMNS`."""

COLUMNS = ("key", "value", "step", "timestamp", "is_nan", "run_uuid")
_VALUES = f"({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"

_KNOWN = "SELECT group_concat(name) FROM (SELECT name FROM pragma_table_info(?) ORDER BY name)"
_STAGE = "SELECT lifecycle_stage FROM runs WHERE run_uuid = ?"
_ADD = f"INSERT INTO metrics {_VALUES} ON CONFLICT DO NOTHING"
_MOVE_ON = f"""INSERT INTO latest_metrics {_VALUES} ON CONFLICT (key, run_uuid) DO UPDATE SET
    value = excluded.value, step = excluded.step, timestamp = excluded.timestamp,
    is_nan = excluded.is_nan
    WHERE (excluded.step, excluded.timestamp, excluded.value)
    > (latest_metrics.step, latest_metrics.timestamp, latest_metrics.value)"""


def log_points(client: MlflowClient, run_id: str, points: Sequence[Sequence[Any]]) -> None:
    """Writes points: name, value, step, milliseconds since 1970; one that is there stays once.

    Raises as `MlflowClient.log_batch` does. The names must have been checked.
    """
    store = client._tracking_client.store
    if getattr(store, "db_type", None) == "sqlite" and _took(store, run_id, points):
        return
    metrics = [Metric(name, value, time, step) for name, value, step, time in points]
    client.log_batch(run_id, metrics=metrics)


def _took(store: Any, run_id: str, points: Iterable[Sequence[Any]]) -> bool:
    """False where nothing was written."""
    rows = [_row(run_id, *point) for point in points]
    with store.ManagedSessionMaker(read_only=False) as session:
        ask = session.connection().exec_driver_sql
        known = {ask(_KNOWN, (table,)).scalar() for table in ("metrics", "latest_metrics")}
        if known != {",".join(sorted(COLUMNS))} or ask(_STAGE, (run_id,)).scalar() != "active":
            return False
        ask(_ADD, rows)
        ask(_MOVE_ON, _latest(rows))
    return True


def _row(run_id: str, name: str, value: float, step: int, time_ms: int) -> Row:
    """The database holds neither NaN nor infinities: MLflow puts 0 and the largest numbers."""
    if math.isfinite(value):
        return name, value, step, time_ms, False, run_id
    if math.isnan(value):
        return name, 0.0, step, time_ms, True, run_id
    return name, math.copysign(sys.float_info.max, value), step, time_ms, False, run_id


def _latest(rows: Iterable[Row]) -> list[Row]:
    """Of each name the one with the highest step, then time, then value; of equals the first."""
    latest: dict[str, Row] = {}
    for row in rows:
        before = latest.setdefault(row[0], row)
        if (row[2], row[3], row[1]) > (before[2], before[3], before[1]):
            latest[row[0]] = row
    return list(latest.values())
