"""MLflow's model registry, as it is read: a model's name and alias → version → run."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import mlflow.entities.model_registry as mlflow_registry
from mlflow.exceptions import MlflowException

from runforge.errors import StoreError
from runforge.tracking.store import Store, errors_of_store

BEGINNING = "models:/"
"""What makes a reference one of the registry, as in MLflow's own addresses."""

_REFERENCE = re.compile(r"models:/(?P<name>[^/@:]+)(?:@(?P<alias>[^/@:]+)|/(?P<version>\d{1,9}))")
_ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""MLflow's codes for a name, a version and an alias that are not there."""

_UNREADABLE = "the model registry can't be read"


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One version of a registered model."""

    name: str
    version: str
    run_id: str
    """The run that made it."""


def find_version(store: Store, reference: str) -> ModelVersion:
    """The version that `models:/NAME@ALIAS` or `models:/NAME/VERSION` means.

    Raises `StoreError` where it is written otherwise, there is none, it belongs to no run, or the
    registry does not answer.
    """
    parts = _REFERENCE.fullmatch(reference)
    if parts is None:
        mend = "write models:/NAME@ALIAS or models:/NAME/VERSION"
        raise StoreError(f"{reference!r} names no version of a model", mend=mend)
    name = parts["name"]
    if parts["alias"]:
        found = with_alias(store, name, parts["alias"])
    else:
        found = _found(store, lambda: store.client.get_model_version(name, parts["version"]))
    if found is None:
        with errors_of_store(store.uri, _UNREADABLE):
            raise _absent(store, name, reference)
    return found


def with_alias(store: Store, name: str, alias: str) -> ModelVersion | None:
    """The version with that alias; None where there is none. Raises `StoreError`."""
    return _found(store, lambda: store.client.get_model_version_by_alias(name, alias))


def _found(store: Store, ask: Callable[[], mlflow_registry.ModelVersion]) -> ModelVersion | None:
    with errors_of_store(store.uri, _UNREADABLE):
        try:
            found = ask()
        except MlflowException as error:
            if error.error_code in _ABSENT:
                return None
            raise
    if not found.run_id:
        what = f"version {found.version} of {found.name} belongs to no run, and so has no bundle"
        raise StoreError(what, where=store.shown_uri, mend="name a version that runforge made")
    return ModelVersion(found.name, str(found.version), found.run_id)


def _absent(store: Store, name: str, reference: str) -> StoreError:
    models = sorted(model.name for model in store.client.search_registered_models())
    if name not in models:
        known = f"registered: {', '.join(models[:5])}" if models else "no model is registered"
        return StoreError(f"no model is called {name!r}", where=store.shown_uri, mend=known)
    aliases = store.client.get_registered_model(name).aliases
    told = ", ".join(f"{alias} (version {number})" for alias, number in sorted(aliases.items()))
    known = f"aliases: {told}" if told else "it has no aliases"
    return StoreError(f"there is no {reference}", where=store.shown_uri, mend=known)
