"""Where runs are recorded: which MLflow store belongs to a project, and opening it safely."""

from __future__ import annotations

import logging
import os
import sqlite3
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from urllib.parse import unquote, urlsplit

import mlflow.store.db.utils as mlflow_databases
import requests
from filelock import FileLock
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from sqlalchemy.exc import SADeprecationWarning, SQLAlchemyError

from runforge.errors import RunforgeError, StoreError, of_the_machine
from runforge.places import outermost_project
from runforge.redaction import redact
from runforge.tracking.address import is_address, no_address
from runforge.tracking.away import bound_requests
from runforge.tracking.drivers import close_dead_runs
from runforge.tracking.moved import follow_project
from runforge.tracking.outbox import Delivery, deliver
from runforge.wording import counted

with warnings.catch_warnings():
    # MLflow 3.17 declares its tables with an option that SQLAlchemy 2.1 gave up; nothing of ours.
    warnings.filterwarnings("ignore", "The ``noload`` loader strategy", SADeprecationWarning)
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

ANSWER_TIMEOUT_S = (2.0, 2.5)
"""Seconds to connect, and then to the first byte: a server that needs longer does not answer."""

_COMPARISONS = "-comparisons"
"""What the name of the experiment with the comparisons of another's runs ends with."""

_SQLITE = "sqlite:///"
_KIND = ("mlflow.experimentKind", "custom_model_development")
"""Lets the UI show an experiment as one of models; untold, it is taken for one of prompts."""
_SERVERS = ("http://", "https://")
_UPGRADE = "`mlflow db upgrade URI` if an older MLflow wrote it; else mend the address"


@dataclass(frozen=True, slots=True)
class Store:
    """An open store and the experiment in it that runs are recorded in."""

    uri: str
    """MLflow's tracking URI, absolute; may hold credentials, so show `shown_uri` instead."""
    experiment_id: str
    experiment_name: str
    client: MlflowClient
    project: Path
    """The outermost project, absolute: what waits for the store is kept under its `out/runs/`."""

    @property
    def shown_uri(self) -> str:
        """The URI without credentials."""
        return redact(self.uri)

    @property
    def is_local(self) -> bool:
        """True where the store is a file of the project and so holds the project's runs alone."""
        return self.uri.startswith("sqlite:")


def store_uri(project: Path) -> str:
    """The tracking URI for a project: `MLFLOW_TRACKING_URI`, else `mlflow.db` in the project.

    A relative path in the variable counts from the outermost project, wherever it was set.
    Raises `StoreError` for what names none, as MLflow's old file store.
    """
    root = outermost_project(project)
    given = os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    # As an address: of what a folder's name may hold, these two would mean something else in it.
    folder = Path(str(root).replace("%", "%25").replace("?", "%3F"))
    if not given:
        return f"{_SQLITE}{folder / 'mlflow.db'}"
    if given.startswith(_SQLITE) and given != "sqlite:///:memory:":
        return f"{_SQLITE}{folder / given.removeprefix(_SQLITE)}"
    if is_address(given):
        return given
    raise no_address(given)


def open_store(project: Path, experiment_name: str) -> Store:
    """Opens the project's store, creating it and the experiment where they are missing.

    Brings it up to date: artifacts of a project that was moved are found again, what waited on disk
    is delivered, runs of drivers that are gone are closed. Safe for any number of processes at
    once. Raises `StoreError` where a server does not answer, the store can't be read, or the
    experiment was deleted.
    """
    root, uri = outermost_project(project), store_uri(project)
    with errors_of_store(uri):
        client, create = _connected(root, uri)
        experiment_id = _experiment(client, experiment_name, create)
        store = Store(uri, experiment_id, experiment_name, client, root)
        _deliver_waiting(store)
        _close_dead_runs(store)
    return store


def sync(project: Path) -> list[Delivery]:
    """Delivers what waits on disk for the project's store; raises as `open_store` does.

    Of a store that is a file, runs whose driver is gone are closed too: which of a server's are the
    project's, a command that knows its experiment can tell.
    """
    root, uri = outermost_project(project), store_uri(project)
    with errors_of_store(uri):
        client, _ = _connected(root, uri)
        delivered = deliver(client, root)
        if uri.startswith(_SQLITE):
            _close_dead_runs(Store(uri, "", "", client, root))
        return delivered


def for_comparisons(store: Store) -> Store:
    """The store with the experiment that holds the comparisons of this one's runs.

    Created where it is missing. Among the runs they would fill the UI's charts with theirs. Raises
    as `open_store` does.
    """
    name = f"{store.experiment_name}{_COMPARISONS}"
    with errors_of_store(store.uri):
        create: Callable[[str], object] = store.client.create_experiment
        if store.client.get_experiment_by_name(name) is None:
            _, create = _connected(store.project, store.uri)
        known = _experiment(store.client, name, create)
    return replace(store, experiment_id=known, experiment_name=name)


def experiments_of_project(store: Store) -> list[str]:
    """Where the project's runs are: in all of a file's experiments; of a shared server in one, and
    in that of its comparisons."""
    if not store.is_local:
        beside = store.client.get_experiment_by_name(f"{store.experiment_name}{_COMPARISONS}")
        return [store.experiment_id, *([] if beside is None else [str(beside.experiment_id)])]
    return [str(found.experiment_id) for found in store.client.search_experiments()]


def _connected(project: Path, uri: str) -> tuple[MlflowClient, Callable[[str], object]]:
    """A client of the store, and what creates an experiment in it."""
    _hush()
    bound_requests()
    mlflow_databases._make_parent_dirs_if_sqlite = _make_none
    os.environ["MLFLOW_ENABLE_ASYNC_LOGGING"] = "false"  # what is acknowledged is written
    if uri.startswith("sqlite:"):
        create = _made_file(project, uri).create_experiment
        return MlflowClient(uri, uri), create
    if uri.startswith(_SERVERS):
        _require_answer(uri)
    client = MlflowClient(uri, uri)  # the registry is the store's, whatever a shell has set
    return client, client.create_experiment


def _made_file(project: Path, uri: str) -> SqlAlchemyStore:
    """Creates and migrates under a lock: of processes that all met a fresh file, one survives."""
    database = Path(unquote(uri.removeprefix(_SQLITE).partition("?")[0]))
    database.parent.mkdir(parents=True, exist_ok=True)
    artifacts = project / "mlruns"
    with FileLock(f"{database}.lock"):
        # Made here and not by the client, which would put the artifacts of new experiments
        # beneath the working directory.
        tables = SqlAlchemyStore(uri, artifacts.as_uri())  # type: ignore[no-untyped-call]
        # A file elsewhere may be that of several projects, and has not moved with this one.
        moved = database.is_relative_to(project) and follow_project(database, artifacts)
    if moved:
        print(f"runforge: artifacts moved with the project, from {moved}", file=sys.stderr)
    return tables


def _make_none(db_uri: str) -> None:
    """MLflow takes the address for a path, and would make the folders of that name."""


def _deliver_waiting(store: Store) -> None:
    for delivery in deliver(store.client, store.project):
        waited = counted(
            delivery.writes, "write that had waited was", "writes that had waited were"
        )
        found = delivery.problem or f"{waited} delivered"
        print(f"runforge: run {delivery.run_id}: {found}", file=sys.stderr)


def _close_dead_runs(store: Store) -> None:
    experiments = experiments_of_project(store)
    for run_id in close_dead_runs(store.client, store.project, experiments, local=store.is_local):
        print(f"runforge: run {run_id} was closed: its driver is gone", file=sys.stderr)


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
        raise StoreError(what, where=redact(uri), mend=_past_proxy(uri) or mend) from None
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        what = f"the tracking server is out of order (HTTP status {status})"
        raise StoreError(what, where=redact(uri), mend=_past_proxy(uri) or mend)


def _past_proxy(uri: str) -> str | None:
    """How to ask the server itself, where the environment sends requests to a proxy."""
    if not requests.utils.get_environ_proxies(uri):
        return None
    host = urlsplit(uri).hostname
    told = "a proxy is asked, as HTTP_PROXY or HTTPS_PROXY says"
    return f"{told}; to ask the server itself: export NO_PROXY={host}"


@contextmanager
def errors_of_store(
    uri: str, what: str = "the store can't be opened", mend: str = _UPGRADE
) -> Iterator[None]:
    """Turns what MLflow and the database say into one line without credentials.

    Raises `StoreError`, or `RunforgeError` where it is the machine's, as with a full disk.
    """
    try:
        yield
    except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError) as error:
        known = of_the_machine(error)
        if known is not None:
            raise RunforgeError(f"{redact(uri)}: {known}") from error
        said = redact(str(error).strip()).splitlines() or [type(error).__name__]
        raise StoreError(f"{what}: {said[0]}", where=redact(uri), mend=mend) from error


def _hush() -> None:
    """MLflow would tell of each table it makes, draw a bar for each download, and print addresses.

    Standard output is for results: a run's address after its end would stand among them. And it
    prints the traceback of each error of the database that it raises too, so with a full disk one
    every half second.
    """
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    for name in ("alembic", "mlflow.system_metrics"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
