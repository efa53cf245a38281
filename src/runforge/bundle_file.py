"""The bundle's description (`bundle.json`): all of a model but its weights.

Read without torch, so that a driver can ask whose bundle it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from runforge.errors import DataError
from runforge.schema import Schema

FORMAT = 1
WEIGHTS, DESCRIPTION = "weights.safetensors", "bundle.json"
MEND = "train again, or fetch the bundle again"


@dataclass(frozen=True, slots=True)
class Bundle:
    """All of a model but its weights."""

    network: dict[str, Any]
    """The node of the network, as configured."""
    task: dict[str, Any]
    """The node of the task, as configured."""
    schema: Schema
    run_id: str
    lineage: dict[str, Any]
    weights_hash: str = ""
    """SHA-256 of the weights' file; set when the bundle is written."""
    version: str = field(default_factory=lambda: version("runforge"))
    """The version of runforge that wrote it."""

    @property
    def modality(self) -> dict[str, Any]:
        """The node of the modality."""
        return self.schema.modality


def write(folder: Path, bundle: Bundle) -> None:
    """Writes the file whole or not at all."""
    beside = folder / f".{DESCRIPTION}.partial"
    beside.write_text(_to_text(bundle), encoding="utf-8")
    beside.replace(folder / DESCRIPTION)


def read(folder: Path) -> Bundle:
    """The description alone; raises `DataError` where it is missing, altered or too new."""
    path = folder / DESCRIPTION
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        found, told = values.pop("format"), values.pop("hash")
    except FileNotFoundError as error:
        raise DataError(f"there is no {DESCRIPTION}", where=str(folder), mend=MEND) from error
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise DataError("it is no bundle's description", where=str(path), mend=MEND) from error
    if found != FORMAT:
        what = f"its format is {found}, and this version of runforge reads {FORMAT}"
        raise DataError(what, where=str(path), mend="take the version that wrote it")
    if told != _text_hash(values):
        raise DataError("it was altered: its hash does not fit", where=str(path), mend=MEND)
    try:
        return Bundle(**{**values, "schema": Schema.from_dict(values["schema"])})
    except (KeyError, TypeError) as error:
        what = f"it describes no model ({error})"
        raise DataError(what, where=str(path), mend=MEND) from error


def _to_text(bundle: Bundle) -> str:
    values = asdict(bundle)
    described = {"format": FORMAT, "hash": _text_hash(values), **values}
    return json.dumps(described, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _text_hash(values: Mapping[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
