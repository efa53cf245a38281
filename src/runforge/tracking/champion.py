"""The champion of a registered model: its versions, what was decided on them, and their aliases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock
from mlflow.exceptions import MlflowException

from runforge import places
from runforge.errors import StoreError
from runforge.redaction import redact
from runforge.tracking.registry import ModelVersion, with_alias
from runforge.tracking.store import Store, errors_of_store

CHAMPION, PREVIOUS = "champion", "previous"
"""The aliases that are moved."""

DECISION, GATES = "runforge.promotion", "runforge.promotion_gates"
"""Tags of a version: `promoted` or `refused`, and every gate with its figures as JSON."""

_REGISTRY = "the model registry does not take it"


@contextmanager
def one_at_a_time(store: Store) -> Iterator[None]:
    """Promotions of a project wait for each other: each is judged against the champion it meets."""
    folder = places.runs(store.project)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "promotion.lock"):
        yield


def register(store: Store, model: str, run_id: str) -> ModelVersion:
    """The version of the run's model: the one that it has, or a new one."""
    client = store.client
    with errors_of_store(store.uri, _REGISTRY):
        _create_model(store, model)
        for known in client.search_model_versions(f"name = '{model}'"):
            if known.run_id == run_id:
                return ModelVersion(model, str(known.version), run_id)
        outputs = client.get_run(run_id).outputs
        if not outputs or not outputs.model_outputs:
            what, mend = (
                f"run {run_id} has no MLflow model",
                "name a run that trained: `runforge runs`",
            )
            raise StoreError(what, where=store.shown_uri, mend=mend)
        model_id = outputs.model_outputs[-1].model_id
        source = f"models:/{model_id}"
        made = client.create_model_version(model, source, run_id=run_id, model_id=model_id)
        return ModelVersion(model, str(made.version), run_id)


def note(store: Store, version: ModelVersion, tags: dict[str, str], card: str) -> None:
    """Tags of a version, and its card as the description that the UI shows."""
    with errors_of_store(store.uri, _REGISTRY):
        for tag, value in tags.items():
            store.client.set_model_version_tag(version.name, version.version, tag, redact(value))
        store.client.update_model_version(version.name, version.version, description=redact(card))


def move(store: Store, to: ModelVersion, instead_of: ModelVersion | None) -> None:
    """Makes `to` the champion; raises `StoreError` where another one than `instead_of` is it."""
    now = with_alias(store, to.name, CHAMPION)
    if now != instead_of:
        number = now.version if now else "none"
        what = f"{to.name}@{CHAMPION} was moved meanwhile, to version {number}"
        raise StoreError(what, where=store.shown_uri, mend="promote again")
    with errors_of_store(store.uri, _REGISTRY):
        # First the old one: cut off in between, the champion is still the champion.
        if instead_of is not None:
            store.client.set_registered_model_alias(to.name, PREVIOUS, instead_of.version)
        store.client.set_registered_model_alias(to.name, CHAMPION, to.version)


def _create_model(store: Store, model: str) -> None:
    try:
        store.client.create_registered_model(model)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def roll_back(store: Store, model: str) -> tuple[ModelVersion, ModelVersion]:
    """Swaps the champion and the one before it; returns the new champion and the old one."""
    with one_at_a_time(store):
        champion, previous = (with_alias(store, model, one) for one in (CHAMPION, PREVIOUS))
        if champion is None:
            what, mend = f"there is no {model}@{CHAMPION}", "promote a run first"
            raise StoreError(what, where=store.shown_uri, mend=f"{mend}: `runforge promote RUN`")
        if previous is None:
            what = f"{model}@{CHAMPION} is version {champion.version}, with none before it"
            mend = "promote another run in its place: `runforge promote RUN`"
            raise StoreError(what, where=store.shown_uri, mend=mend)
        move(store, previous, champion)
    return previous, champion
