"""`lineage/lineage.json` and `lineage/changes.patch`: what a run is made again from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from runforge.errors import DataError
from runforge.foreign import read_json, typed
from runforge.identity import code_hashes, joint
from runforge.lineage import Lineage
from runforge.patch import Patch
from runforge.schema import Schema

FOLDER, DESCRIPTION, CHANGES = "lineage", "lineage.json", "changes.patch"
CONFIGURATION = "configuration.yaml"
"""The artifact beside the folder that holds the configuration."""
EVALUATED_AS = f"{FOLDER}/evaluation.yaml"
"""The artifact with the configuration's node `evaluation`, where it was evaluated once more."""
REQUIREMENTS = "requirements.txt"
"""The artifact beside the folder that lists every installed package."""
FORMAT = 1


@dataclass(frozen=True, slots=True)
class LineageFile:
    """All that is known of a run's origin before it starts; its tags hold what its workers say."""

    lineage: dict[str, Any]
    """As `Lineage.to_dict`, the list of packages aside, which is an artifact of its own."""
    patch: str | None
    """The state of the patch beside it; None: there is no commit that it could be against."""
    configuration_hash: str
    """Of the resolved configuration."""
    data_root: str
    data_fingerprint: str
    """Of the prepared set."""
    code: dict[str, str]
    """A hash for each source file of runforge, as the run's process found it."""
    steps: tuple[str, ...]
    format: int = FORMAT

    @property
    def commit(self) -> str | None:
        """What the run's code and configuration were committed as; None: nothing was."""
        state = self.lineage.get("git")
        return state.get("commit") if isinstance(state, dict) else None


def configuration_hash(values: Mapping[str, Any]) -> str:
    """One text for a configuration, of plain values."""
    return joint(dict(values))


def describe(
    lineage: Lineage,
    patch: Patch | None,
    *,
    values: Mapping[str, Any],
    prepared: Path,
    steps: tuple[str, ...],
) -> LineageFile:
    """The lineage of a run of this process with the configuration `values` on a prepared set."""
    told = lineage.to_dict()
    told.pop("requirements")
    return LineageFile(
        lineage=told,
        patch=None if patch is None else patch.state,
        configuration_hash=configuration_hash(values),
        data_root=str(values["data"]["root"]),
        data_fingerprint=Schema.read(prepared / "schema.json").fingerprint,
        code={name: text for name, text in code_hashes().items() if name.endswith(".py")},
        steps=steps,
    )


def write(folder: Path, file: LineageFile, patch: Patch | None) -> None:
    """Writes both; there is no patch where it would be empty."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(asdict(file), indent=1, ensure_ascii=False)
    (folder / DESCRIPTION).write_text(text, encoding="utf-8")
    if patch is not None and patch.content:
        (folder / CHANGES).write_bytes(patch.content)


def read(path: Path) -> LineageFile:
    """Reads the description; raises `DataError` where it is damaged or too new."""
    mend = "take another run, or the version of runforge that recorded it"
    try:
        values = read_json(path)
        if values.get("format") != FORMAT:
            what = f"its format is {values.get('format')!r:.20}, this version reads {FORMAT}"
            raise DataError(what, where=str(path), mend=mend)
        return typed(LineageFile, values)
    except (ValueError, AttributeError, UnicodeDecodeError) as error:
        raise DataError(f"no whole lineage ({error})", where=str(path), mend=mend) from error
