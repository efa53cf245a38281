"""The samples as a person sees them, where their prepared set is still there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from runforge import places, targets
from runforge.errors import DataError
from runforge.prepared import SCHEMA, PreparedSet
from runforge.sample import Shown
from runforge.schema import Schema

ShownById = Callable[[str], Shown | None]

MISSING = (
    "The pictures are left out: no prepared set of these runs is in out/ any more. "
    "The samples are named by their ids."
)


def samples_shown(project: Path, fingerprints: Sequence[str]) -> ShownById | None:
    """A sample by id, from the prepared set of the first fingerprint that is still there.

    None where there is none of them.
    """
    there = _sets(project)
    folder = next((there[one] for one in fingerprints if one in there), None)
    if folder is None:
        return None
    try:
        prepared = PreparedSet.open(folder)
    except DataError:
        return None
    schema = prepared.schema
    modality = targets.build(schema.modality)
    rows = {identity: row for row, identity in enumerate(prepared.ids)}

    def shown(identity: str) -> Shown | None:
        if identity not in rows:
            return None
        found: Shown = modality.show(prepared.inputs[rows[identity]], schema.layout)
        return found

    return shown


def _sets(project: Path) -> dict[str, Path]:
    """The prepared sets of a project, by fingerprint; damaged ones are none."""
    folders = (places.prepared(project), *sorted(places.sets(project).glob("*/")))
    found = {}
    for folder in folders:
        try:
            found[Schema.read(folder / SCHEMA).fingerprint] = folder
        except (OSError, ValueError):
            continue
    return found
