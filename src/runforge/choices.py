"""What `trainer.auto` has chosen (`out/auto/<key>.json`), and what each choice was measured at."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from runforge.atomic import write_whole
from runforge.errors import DataError

Value = bool | int | str | None

HANDED_OVER = "choices"
"""The name under which the step `choose` hands them to the driver."""

DEFAULTS = {"machine.threads": "default"}
"""How a key's null is told."""


@dataclass(frozen=True, slots=True)
class Tried:
    """A training with one key's value changed; the first has none changed."""

    choice: str
    """`compile=true`, or `as given`."""
    verdict: str
    """`kept`, `not faster` or `can't be`."""
    step_ms: float | None = None
    """Median; None: it failed."""
    start_s: float | None = None
    """What it costs once, such as compiling."""
    total_s: float | None = None
    """What all steps of the training would take."""
    cause: str = ""
    """Why it can't be."""

    def cells(self) -> tuple[str, str, str, str, str]:
        """As a table shows it."""
        figures = (self.step_ms, self.start_s, self.total_s)
        ms, start, total = ("–" if value is None else f"{value:.4g}" for value in figures)
        return self.choice, ms, start, total, self.verdict


COLUMNS = ("choice", "ms a step", "start, s", "training, s", "")
"""Of the table of what was tried."""


@dataclass(frozen=True, slots=True)
class Choices:
    """What a training is to be configured with; nothing where nothing could be measured."""

    values: dict[str, Value]
    """By key: every one that was tried, with the value that was kept."""
    tried: tuple[Tried, ...]

    @property
    def words(self) -> str:
        """`threads=1, compile=false`."""
        told = (told_as(key, value) for key, value in self.values.items())
        return ", ".join(told) or "nothing to choose"

    def put_into(self, configuration: Mapping[str, Any]) -> dict[str, Any]:
        """The configuration as if they had been given by hand."""
        return with_values(configuration, {**self.values, "trainer.auto": False})

    def to_text(self) -> str:
        """JSON."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False)

    @classmethod
    def from_text(cls, text: str) -> Choices:
        """The inverse of `to_text`."""
        found = json.loads(text)
        return cls(found["values"], tuple(Tried(**one) for one in found["tried"]))

    def write(self, path: Path) -> None:
        """Writes the file whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, self.to_text())

    @classmethod
    def read(cls, path: Path) -> Choices | None:
        """What was kept there; None: nothing. Raises `DataError` where it can't be read."""
        if not path.is_file():
            return None
        try:
            return cls.from_text(path.read_text(encoding="utf-8"))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError("holds no choices", where=str(path), mend="remove it") from error


def with_values(configuration: Mapping[str, Any], values: Mapping[str, Value]) -> dict[str, Any]:
    """A copy with other values of keys such as `trainer.compile`."""
    changed = deepcopy(dict(configuration))
    for key, value in values.items():
        part, _, name = key.partition(".")
        changed[part][name] = value
    return changed


def told_as(key: str, value: Value) -> str:
    """`compile=true` of `trainer.compile`."""
    shown = DEFAULTS.get(key, "null") if value is None else str(value)
    return f"{key.rpartition('.')[2]}={shown.lower() if isinstance(value, bool) else shown}"
