"""What a case of odd data is, and what becomes of it in a real project."""

from __future__ import annotations

import contextlib
import csv
import functools
import io
import os
import shutil
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from runforge import cli, config, places
from runforge.prepared import QUARANTINE, PreparedSet
from tests.conftest import REPOSITORY


@dataclass(frozen=True, slots=True)
class Accepted:
    """It is used, and `right` says whether what was packed is what was meant."""

    right: Callable[[PreparedSet], bool]


@dataclass(frozen=True, slots=True)
class Quarantined:
    """The sample is put aside with a reason, the rest is used."""

    where: str
    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Exit code 2 and one line that holds each of the parts."""

    parts: tuple[str, ...]


Expected = Accepted | Quarantined | Refused


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of odd data: `put` writes it into the data folder."""

    name: str
    put: Callable[[Path], None]
    expected: Expected
    overrides: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How `runforge stage prepare` ended."""

    code: int
    said: str


def refused(*parts: str) -> Refused:
    """Exit code 2, one line with these parts."""
    return Refused(parts)


def make_project(folder: Path, case: Case) -> None:
    """A project whose configuration is written and whose data are the case's."""
    folder.mkdir(parents=True)
    (folder / "conf").symlink_to(REPOSITORY / "conf")
    (folder / "dvc.yaml").touch()
    (folder / config.PARAMS).write_text(_params(case.overrides))
    (folder / "data").mkdir()
    case.put(folder / "data")


@functools.cache
def _params(overrides: tuple[str, ...]) -> str:
    composed = config.compose(REPOSITORY, ["~experiment", "data.root=data", *overrides])
    return yaml.safe_dump(composed.values)


def prepare(folder: Path) -> Outcome:
    """`runforge stage prepare` in this process; a traceback is what it said, with code -1."""
    said = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stderr(said):
        try:
            code = cli.main(["stage", "prepare"])
        except Exception:  # noqa: BLE001 - that is what is looked for
            return Outcome(-1, traceback.format_exc())
    return Outcome(code, said.getvalue())


def judge(case: Case, folder: Path, outcome: Outcome) -> str:
    """What is wrong with an outcome; empty where it is as expected."""
    expected = case.expected
    lines = [line for line in outcome.said.splitlines() if line.startswith("runforge: ")]
    if isinstance(expected, Refused):
        parts = [part for part in expected.parts if part not in outcome.said]
        fine = outcome.code == 2 and len(lines) == 1 and "Traceback" not in outcome.said
        return "" if fine and not parts else f"{outcome} lacks {parts}"
    if outcome.code != 0:
        return str(outcome)
    if isinstance(expected, Accepted):
        found = expected.right(PreparedSet.open(places.prepared(folder)))
        return "" if found else f"other values; {outcome}"
    reasons = quarantine(folder)
    fine = expected.reason in reasons.get(expected.where, "")
    return "" if fine else f"{expected.where} not among {reasons}"


def quarantine(folder: Path) -> dict[str, str]:
    """Reasons by the name of the sample."""
    with (places.prepared(folder) / QUARANTINE).open(encoding="utf-8", newline="") as file:
        return {row["where"]: row["reason"] for row in csv.DictReader(file)}


def try_all(cases: list[Case], folder: Path) -> Iterator[tuple[Case, str]]:
    """Each case with what is wrong about its outcome."""
    for number, case in enumerate(cases):
        place = folder / str(number)
        make_project(place, case)
        yield case, judge(case, place, prepare(place))
        remove(place)


def remove(folder: Path) -> None:
    """Removes a project; in bytes, for names that are no text."""
    shutil.rmtree(os.fsencode(folder))
