"""A canary that must not sing, and how a refusal is told from an accident."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runforge.errors import UserError
from tests.conftest import REPOSITORY

ONE_LINE = 600
"""Letters: a refusal that is longer is none that somebody reads."""

Row = tuple[str, str, bool]


@dataclass(frozen=True, slots=True)
class Trap:
    """A project's configuration, a canary that must not appear and a victim that must stay."""

    folder: Path

    @classmethod
    def set_up(cls, folder: Path) -> Trap:
        """Lays out the trap in an empty folder."""
        trap = cls(folder)
        shutil.copytree(REPOSITORY / "conf", folder / "conf")
        (folder / "dvc.yaml").touch()
        trap.victim.mkdir()
        (trap.victim / "file").touch()
        trap.pickle.write_bytes(pickle.dumps(_Touch(str(trap.canary))))
        (folder / "model").mkdir()
        return trap

    @property
    def canary(self) -> Path:
        """There once anything ran."""
        return self.folder / "canary"

    @property
    def victim(self) -> Path:
        """A folder with a file."""
        return self.folder / "victim"

    @property
    def pickle(self) -> Path:
        """Makes the canary when it is unpickled."""
        return self.folder / "pickle"

    def sprung(self) -> bool:
        """Whether anything ran."""
        return self.canary.exists() or not (self.victim / "file").exists()


class _Touch:
    """An object whose pickle runs a command."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


def refusal(attempt: Callable[[], object]) -> str | None:
    """The line that an attempt is refused with; None where it is not, or in many lines."""
    try:
        attempt()
    except UserError as error:
        line = str(error)
        return line if "\n" not in line and len(line) <= ONE_LINE else None
    return None


def counted(what: str, found: dict[str, bool], trap: Trap) -> Row:
    """A row: how many of the named attempts were refused, and which were not."""
    refused = sum(found.values())
    odd = [name for name, fine in found.items() if not fine]
    told = f"{refused} refused" + (f" (not: {', '.join(odd)})" if odd else "")
    ran = "something ran" if trap.sprung() else "nothing ran"
    return f"{len(found)} {what}", f"{told}, {ran}", not odd and not trap.sprung()
