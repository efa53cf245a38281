"""Whether all nodes of a run have the same code, configuration and data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runforge import ranks
from runforge.config import flatten
from runforge.errors import ConfigError
from runforge.identity import code_hashes
from runforge.job import Job
from runforge.schema import Schema

FREE = (
    "fresh",
    "promotion.",
    "machine.accelerator",
    "machine.threads",
    "machine.workers",
    "machine.rendezvous",
)
"""How the keys begin in which nodes may differ."""

MENDS = {
    "code": "bring both to the same commit and the same packages",
    "configuration": "give both the same command",
    "data": "prepare the same data on both",
}


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What must be equal: of each kind, a text for each name."""

    node: int
    parts: dict[str, dict[str, str]]


def compare_nodes(job: Job, node: int) -> None:
    """Raises `ConfigError` on every rank where a node differs from node 0, naming what differs."""
    first, *others = ranks.gather(Fingerprint(node, _parts(job)))
    for other in others:
        for kind, mend in MENDS.items():
            names = differing(first.parts[kind], other.parts[kind])
            if names:
                what = f"other {kind} than node 0: {', '.join(names[:3])}"
                raise ConfigError(what, where=f"node {other.node}", mend=mend)


def differing(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """The names whose texts differ, or that only one has."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def _parts(job: Job) -> dict[str, dict[str, str]]:
    flat = flatten(job.configuration)
    return {
        "code": code_hashes(),
        "configuration": {n: str(v) for n, v in flat.items() if not n.startswith(FREE)},
        "data": {"the prepared set": Schema.read(Path(job.prepared) / "schema.json").fingerprint},
    }
