"""What a store has of a run, against what the run wrote."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from mlflow.tracking import MlflowClient

from runforge import places, selection
from runforge.journal import JournalReader
from runforge.metrics.figures import MAIN_METRICS
from tests.conftest import Project


def stored(database: Path, prefix: str = "") -> Counter[tuple[str, str, int]]:
    """How often each (run, metric, step) is in a store."""
    query = "SELECT run_uuid, key, step FROM metrics WHERE key LIKE ?"
    with closing(sqlite3.connect(database)) as connection:
        return Counter(connection.execute(query, (f"{prefix}%",)).fetchall())


def lost_and_doubled(found: Counter[Any], wanted: set[Any]) -> tuple[str, bool]:
    """`0 of 1000 lost, 0 doubled`, and whether so."""
    lost, doubled = len(wanted - found.keys()), sum(found.values()) - len(found)
    foreign = len(found.keys() - wanted)
    said = f"{lost} of {len(wanted)} lost, {doubled} doubled"
    return said, not (lost or doubled or foreign)


def what_arrived(
    project: Project, database: Path, address: str, run_id: str, delivered: list[dict[str, Any]]
) -> Iterator[tuple[str, str, bool]]:
    """The run as the store has it, against the run's folder."""
    folder = places.run_folder(project.folder, run_id)
    entries = [e for path in folder.glob("*journal.jsonl") for e in JournalReader(path).read()]
    wanted = {(run_id, n, entry.step) for entry in entries for n in entry.metrics}
    for name, prefix in ((MAIN_METRICS, "test/"), (selection.FILE, selection.PREFIX)):
        figures = json.loads((folder / "evaluation" / name).read_text())
        wanted |= {(run_id, f"{prefix}{n}", 0) for n in figures}
    found = Counter({k: n for k, n in stored(database).items() if k[1] != "epoch"})
    said, fine = lost_and_doubled(found, wanted)
    yield "metrics of that run, after `runforge sync`", said, fine
    client = MlflowClient(address)
    run = client.get_run(run_id)
    paths = {file.path for file in client.list_artifacts(run_id)}
    (model,) = run.outputs.model_outputs
    ready = client.get_logged_model(model.model_id).status
    whole = {"bundle", "evaluation", "configuration.yaml", "images"} <= paths
    fine = run.info.status == "FINISHED" and whole and ready == "READY" and len(delivered) == 1
    found_text = f"{run.info.status}, artifacts {'whole' if whole else paths}, model {ready}"
    yield "the rest of that run", found_text, fine
