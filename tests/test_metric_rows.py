"""The rows that we write ourselves are those that MLflow writes."""

from __future__ import annotations

import math
import sqlite3
from contextlib import closing

import pytest
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException

from runforge.tracking.metric_rows import log_points
from runforge.tracking.store import open_store

ODD = [
    ("loss", 0.5, 3, 1000),
    ("loss", 0.5, 3, 1000),
    ("loss", 0.25, 3, 1000),
    ("loss", -1.5, 3, 999),
    ("late", 1.0, 7, 10),
    ("late", 2.0, 6, 11),
    ("gone", math.nan, 1, 5),
    ("gone", math.nan, 1, 5),
    ("zero", 0.0, 0, 5),
    ("zero", math.nan, 0, 5),
    ("nothing", math.nan, 2, 5),
    ("nothing", 0.0, 2, 5),
    ("high", math.inf, 2, 5),
    ("low", -math.inf, 2, 5),
    ("whole", 3, 2, 5),
    ("tiny", 5e-324, 2, 5),
]
AGAIN = [("loss", 9.0, 2, 2000), ("late", 4.0, 7, 10), ("gone", 1.0, 1, 5), ("new", 1.0, 0, 0)]


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return open_store(tmp_path, "rows")


def opened(store):
    return closing(sqlite3.connect(store.uri.removeprefix("sqlite:///"), isolation_level=None))


def rows(store, run_id):
    """What both tables hold of a run, with the types that the database keeps."""
    columns = "key, value, step, timestamp, is_nan, typeof(value), typeof(is_nan)"
    with opened(store) as database:
        return [
            sorted(database.execute(f"SELECT {columns} FROM {table} WHERE run_uuid = ?", (run_id,)))
            for table in ("metrics", "latest_metrics")
        ]


def by_mlflow(client, run_id, points):
    metrics = [Metric(name, value, time, step) for name, value, step, time in points]
    client.log_batch(run_id, metrics=metrics)


def made(store, write, *batches):
    """A run written in batches."""
    run_id = store.client.create_run(store.experiment_id).info.run_id
    for batch in batches:
        write(store.client, run_id, batch)
    return run_id


@pytest.mark.parametrize("batches", [(ODD,), (ODD, ODD), (ODD, AGAIN), (AGAIN, ODD, AGAIN)])
def test_the_rows_are_mlflows(store, batches):
    ours, theirs = (made(store, write, *batches) for write in (log_points, by_mlflow))
    found = rows(store, ours)
    assert found == rows(store, theirs)
    assert len(found[1]) == len({name for batch in batches for name, *_ in batch})
    both = [store.client.get_run(one).data.metrics for one in (ours, theirs)]
    assert repr(both[0]) == repr(both[1])


def test_the_rows_are_ours_and_not_a_call_of_mlflow(store, monkeypatch):
    run_id = made(store, log_points)
    monkeypatch.setattr(type(store.client), "log_batch", None)
    log_points(store.client, run_id, ODD)
    assert len(rows(store, run_id)[0]) == 14


def test_a_run_that_was_deleted_is_refused_as_mlflow_does(store):
    run_id = made(store, log_points, ODD)
    before = rows(store, run_id)
    store.client.delete_run(run_id)
    with pytest.raises(MlflowException, match="must be in the 'active' state"):
        log_points(store.client, run_id, AGAIN)
    assert rows(store, run_id) == before


def test_a_run_that_is_not_there_is_refused_as_mlflow_does(store):
    with pytest.raises(MlflowException, match="not found"):
        log_points(store.client, "0" * 32, AGAIN)


def test_tables_that_are_not_known_are_left_to_mlflow(store):
    with opened(store) as database:
        database.execute("ALTER TABLE metrics ADD COLUMN colour TEXT DEFAULT 'none'")
    ours, theirs = (made(store, write, ODD, AGAIN) for write in (log_points, by_mlflow))
    assert rows(store, ours) == rows(store, theirs)


def test_of_a_batch_all_is_written_or_nothing(store):
    run_id = made(store, log_points)
    with opened(store) as database:
        database.execute(
            "CREATE TRIGGER full BEFORE INSERT ON latest_metrics"
            " BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"
        )
    with pytest.raises(MlflowException, match="full"):
        log_points(store.client, run_id, ODD)
    assert rows(store, run_id) == [[], []]
