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
from typing import Annotated, Any

from annotated_types import MaxLen
from pydantic import ConfigDict, Field, with_config

from runforge.errors import DataError
from runforge.foreign import read_json, regular, typed
from runforge.schema import Schema
from runforge.signature import node_problem
from runforge.targets import nodes

FORMAT = 1
WEIGHTS, DESCRIPTION = "weights.safetensors", "bundle.json"
NODE_LIMIT = 100_000
"""Letters of one node: each may stand for a layer, which takes memory however small it is."""
MEND = "train again, or fetch the bundle again"

RunId = Annotated[str, Field(pattern=r"^\w[\w-]*$"), MaxLen(64)]


@with_config(ConfigDict(extra="forbid", allow_inf_nan=False))
@dataclass(frozen=True, slots=True)
class Bundle:
    """All of a model but its weights."""

    network: dict[str, Any]
    """The node of the network, as configured."""
    task: dict[str, Any]
    """The node of the task, as configured."""
    schema: Schema
    run_id: RunId
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
    beside.write_text(_text(asdict(bundle)), encoding="utf-8")
    beside.replace(folder / DESCRIPTION)


def read(folder: Path) -> Bundle:
    """The description alone.

    Raises `DataError` where it is missing, altered, too new or no description, and `ConfigError`
    where it names a class that may not be named: it may be somebody else's.
    """
    path = regular(folder / DESCRIPTION, MEND)
    try:
        values = read_json(path)
        found, told = values.pop("format"), values.pop("hash")
        # Held against its own text too: the same number can be written in two ways.
        whole = path.read_text(encoding="utf-8") == _text(values)
        if found == FORMAT and told == _text_hash(values) and whole:
            bundle = typed(Bundle, values)
            _check_nodes(bundle, path)
            return bundle
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        what = f"it is no bundle's description ({error})"
        raise DataError(what, where=str(path), mend=MEND) from error
    if found != FORMAT:
        what = f"its format is {found!r:.20}, and this version of runforge reads {FORMAT}"
        raise DataError(what, where=str(path), mend="take the version that wrote it")
    raise DataError("it was altered: its hash does not fit", where=str(path), mend=MEND)


def _check_nodes(bundle: Bundle, path: Path) -> None:
    """Each node at its place is one that a configuration could hold there."""
    own = {"network": bundle.network, "task": bundle.task, "modality": bundle.modality}
    if bundle.schema.source:
        own["source"] = bundle.schema.source
    outer = [((name,), node) for name, node in own.items()]
    inner = [(keys, node) for keys, node in nodes(own) if len(keys) > 1]
    for keys, node in (*outer, *inner):
        if len(str(node)) > NODE_LIMIT:
            raise ValueError(f"{'.'.join(keys)}: it is longer than {NODE_LIMIT} letters")
        problem = node_problem(node, keys[-1], f"{path}: {'.'.join(keys)}")
        if problem is not None:
            key = ".".join((*keys, *map(str, problem["loc"])))
            raise ValueError(f"{key}: {problem['msg']}")


def _text(values: Mapping[str, Any]) -> str:
    described = {"format": FORMAT, "hash": _text_hash(values), **values}
    return json.dumps(described, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _text_hash(values: Mapping[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
