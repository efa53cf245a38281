"""The samples as a person sees them, where their prepared set is still there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from runforge import targets
from runforge.errors import DataError
from runforge.manifest import read_places
from runforge.prepared import MANIFEST, PreparedSet, find_set
from runforge.sample import Shown


@dataclass(frozen=True, slots=True)
class Located:
    """A sample as a person sees it, and where it comes from."""

    shown: Shown
    where: str


ShownById = Callable[[str], Located | None]

MISSING = (
    "The pictures are left out: no prepared set of these runs is in out/ any more. "
    "The samples are named by their ids."
)


def samples_shown(
    project: Path, fingerprints: Sequence[str], ids: Collection[str]
) -> ShownById | None:
    """One of the samples `ids`, from the prepared set of the first fingerprint that is still there.

    None where there is none of them.
    """
    found = (find_set(project, fingerprint) for fingerprint in fingerprints)
    folder = next((folder for folder in found if folder is not None), None)
    if folder is None:
        return None
    try:
        prepared = PreparedSet.open(folder)
    except DataError:
        return None
    schema = prepared.schema
    modality = targets.build(schema.modality)
    rows = {identity: row for row, identity in enumerate(prepared.ids)}
    places = read_places(folder / MANIFEST, ids)

    def shown(identity: str) -> Located | None:
        if identity not in rows:
            return None
        found: Shown = modality.show(prepared.inputs[rows[identity]], schema.layout)
        return Located(found, places.get(identity, ""))

    return shown
