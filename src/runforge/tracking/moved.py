"""A project that was moved or copied keeps its artifacts.

MLflow stores where artifacts lie as absolute addresses. So the store notes in itself, as a tag of
its first experiment, which folder of artifacts is its project's; where that is no longer the
project's, everything that the store says lies there is said to lie in the new one.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

ARTIFACTS = "runforge.artifacts"
"""The tag that holds the address of the project's folder of artifacts."""

LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Tables and columns of MLflow's database that hold addresses of artifacts."""


def follow_project(database: Path, artifacts: Path) -> str | None:
    """Makes the store point to `artifacts`, where its project was moved or copied to here.

    All addresses change or none; those outside the project's old folder stay. Returns the old
    folder's address, or None where nothing had moved. To be called under the store's lock.
    """
    here = artifacts.as_uri()
    with closing(sqlite3.connect(database, timeout=20)) as connection, connection:
        noted = _noted(connection)
        if noted == here or (noted is not None and not _came_along(noted, artifacts)):
            return None
        if noted is not None:
            for table, column in LOCATIONS:
                _replace(connection, table, column, noted, here)
        _note(connection, here)
    return noted


def _noted(connection: sqlite3.Connection) -> str | None:
    query = "SELECT value FROM experiment_tags WHERE key = ?"
    found = connection.execute(query, (ARTIFACTS,)).fetchone()
    return None if found is None else str(found[0])


def _came_along(noted: str, artifacts: Path) -> bool:
    """False for a database that was copied alone, whose artifacts still lie where they were."""
    old = Path(unquote(urlsplit(noted).path))
    return not old.is_dir() or any(path.is_dir() for path in artifacts.glob("*"))


def _replace(connection: sqlite3.Connection, table: str, column: str, old: str, new: str) -> None:
    # Whole folder names only: /a/mlruns is not the beginning of /a/mlruns2.
    connection.execute(
        f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
        f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
        (new, len(old) + 1, old, len(old) + 1, f"{old}/"),
    )


def _note(connection: sqlite3.Connection, here: str) -> None:
    connection.execute("DELETE FROM experiment_tags WHERE key = ?", (ARTIFACTS,))
    connection.execute(
        "INSERT INTO experiment_tags (key, value, experiment_id) "
        "SELECT ?, ?, min(experiment_id) FROM experiments",
        (ARTIFACTS, here),
    )
