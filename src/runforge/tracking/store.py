"""Where runs are recorded: which MLflow store belongs to a project, and opening it safely."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import unquote

import requests
from filelock import FileLock
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from sqlalchemy.exc import SADeprecationWarning, SQLAlchemyError

from runforge.errors import StoreError
from runforge.redaction import redact

with warnings.catch_warnings():
    # MLflow 3.17 declares its tables with an option that SQLAlchemy 2.1 gave up; nothing of ours.
    warnings.filterwarnings("ignore", "The ``noload`` loader strategy", SADeprecationWarning)
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

ANSWER_TIMEOUT_S = (2.0, 2.5)
"""Seconds to connect, and then to the first byte: a server that needs longer does not answer."""

_TEMPORARY_COPIES = (".dvc", "tmp", "exps")
_SQLITE = "sqlite:///"
_KIND = ("mlflow.experimentKind", "custom_model_development")
"""Lets the UI show an experiment as one of models; untold, it is taken for one of prompts."""
_SERVERS = ("http://", "https://")


@dataclass(frozen=True, slots=True)
class Store:
    """An open store and the experiment in it that runs are recorded in."""

    uri: str
    """MLflow's tracking URI, absolute; may hold credentials, so show `shown_uri` instead."""
    experiment_id: str
    experiment_name: str
    client: MlflowClient

    @property
    def shown_uri(self) -> str:
        """The URI without credentials."""
        return redact(self.uri)

    @property
    def is_local(self) -> bool:
        """True where the store is a file of the project and so holds the project's runs alone."""
        return self.uri.startswith("sqlite:")


def outermost_project(path: Path) -> Path:
    """The project that a folder belongs to, absolute.

    A folder under `<root>/.dvc/tmp/exps/` is a throw-away copy made by `dvc exp run --temp` or
    `--queue`: it belongs to `<root>`. Any other folder is its own project.
    """
    whole = path.resolve()
    parts, length = whole.parts, len(_TEMPORARY_COPIES)
    for start in range(1, len(parts) - length + 1):
        if parts[start : start + length] == _TEMPORARY_COPIES:
            return Path(*parts[:start])
    return whole


def store_uri(project: Path) -> str:
    """The tracking URI for a project: `MLFLOW_TRACKING_URI`, else `mlflow.db` in the project.

    A relative path in the variable counts from the outermost project, wherever it was set.
    Raises `StoreError` for MLflow's old file store, which MLflow itself refuses.
    """
    root = outermost_project(project)
    given = os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    if not given:
        return f"{_SQLITE}{root / 'mlflow.db'}"
    if given.startswith(_SQLITE) and given != "sqlite:///:memory:":
        return f"{_SQLITE}{root / given.removeprefix(_SQLITE)}"
    if not given.startswith("file:") and ("://" in given or given.startswith("databricks")):
        return given
    raise StoreError(
        f"{given!r} names a folder, and MLflow no longer keeps runs in plain files",
        where="MLFLOW_TRACKING_URI",
        mend=f"unset it, or set it to sqlite:///{Path(given.removeprefix('file:')).name}.db",
    )


def open_store(project: Path, experiment_name: str) -> Store:
    """Opens the project's store, creating it and the experiment where they are missing.

    Safe for any number of processes at once. Raises `StoreError` where a server does not answer,
    the store can't be read, or the experiment was deleted.
    """
    uri = store_uri(project)
    _hush()
    with _errors_of_store(uri):
        if uri.startswith("sqlite:"):
            return _open_file(uri, outermost_project(project) / "mlruns", experiment_name)
        if uri.startswith(_SERVERS):
            _require_answer(uri)
        return _open(uri, experiment_name)


def _open_file(uri: str, artifacts: Path, experiment_name: str) -> Store:
    """Creates and migrates under a lock: of processes that all met a fresh file, one survives."""
    database = Path(unquote(uri.removeprefix(_SQLITE)))
    database.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{database}.lock"):
        # Made here and not by the client, which would put the artifacts of new experiments
        # beneath the working directory.
        tables = SqlAlchemyStore(uri, artifacts.as_uri())  # type: ignore[no-untyped-call]
        return _open(uri, experiment_name, create=tables.create_experiment)


def _open(uri: str, experiment_name: str, create: Callable[[str], object] | None = None) -> Store:
    client = MlflowClient(uri)
    experiment_id = _experiment(client, experiment_name, create or client.create_experiment)
    return Store(uri, experiment_id, experiment_name, client)


def _experiment(client: MlflowClient, name: str, create: Callable[[str], object]) -> str:
    """The experiment's id; another process may create it at the same time."""
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            made = str(create(name))
            client.set_experiment_tag(made, *_KIND)
            return made
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)
    if found is None or found.lifecycle_stage != "active":
        number = found.experiment_id if found else "ID"
        raise StoreError(
            f"the experiment {name!r} was deleted",
            where=redact(client.tracking_uri),
            mend=f"restore it with `mlflow experiments restore --experiment-id {number}`, "
            "or choose another experiment_name",
        )
    return str(found.experiment_id)


def _require_answer(uri: str) -> None:
    """One short question, because MLflow's client would go on asking for minutes."""
    mend = "start the server, mend the address, or unset MLFLOW_TRACKING_URI to record locally"
    try:
        with requests.get(
            f"{uri.rstrip('/')}/health",
            timeout=ANSWER_TIMEOUT_S,
            allow_redirects=False,
            stream=True,
        ) as answer:
            status = answer.status_code
    except requests.RequestException as error:
        what = f"the tracking server does not answer ({type(error).__name__})"
        raise StoreError(what, where=redact(uri), mend=mend) from None
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        what = f"the tracking server is out of order (HTTP status {status})"
        raise StoreError(what, where=redact(uri), mend=mend)


@contextmanager
def _errors_of_store(uri: str) -> Iterator[None]:
    """Turns what MLflow and the database say into one line without credentials."""
    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        said = redact(str(error).strip()).splitlines() or [type(error).__name__]
        raise StoreError(
            f"the store can't be opened: {said[0]}",
            where=redact(uri),
            mend="`mlflow db upgrade URI` if an older MLflow wrote it; else mend the address",
        ) from error


def _hush() -> None:
    """MLflow would tell of each table it makes, draw a bar for each download, and print addresses.

    Standard output is for results: a run's address after its end would stand among them.
    """
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    for name in ("alembic", "mlflow.store.db.utils", "mlflow.system_metrics"):
        logging.getLogger(name).setLevel(logging.WARNING)
