"""The journal: the file through which the worker's metrics reach the driver (`journal.jsonl`).

One line is one `Entry`. The worker appends; the driver reads what is new. NaN and infinities are
kept as such (`NaN`, `Infinity`: JSON as Python reads and writes it).
"""

from __future__ import annotations

import json
import posixpath
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

from runforge.errors import RunforgeError
from runforge.lines import LineReader, open_to_append

MAX_NAME_LENGTH = 250
_ENCODER = json.JSONEncoder(ensure_ascii=False)
_NAME = re.compile(r"[/\w.\- ]+")


@dataclass(frozen=True, slots=True)
class MetricPoint:
    """One value of one metric at one step."""

    name: str
    value: float
    step: int
    timestamp_ms: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the journal: metrics that belong to one step."""

    metrics: dict[str, float]
    step: int
    timestamp_ms: int
    """Milliseconds since 1970, when it was appended."""
    epoch: int | None = field(default=None)

    def points(self) -> list[MetricPoint]:
        """The metrics as single points; the epoch is one of them, under the name `epoch`."""
        values = self.metrics if self.epoch is None else {**self.metrics, "epoch": self.epoch}
        return [
            MetricPoint(name, float(value), self.step, self.timestamp_ms)
            for name, value in values.items()
        ]


@cache
def check_metric_name(name: str) -> str:
    """The name itself, if MLflow keeps it as it is on every system.

    Raises ValueError otherwise: with odd characters removed, two metrics would become one.
    """
    plain = _NAME.fullmatch(name) and posixpath.normpath(name) == name
    if not plain or name.startswith(("/", "..")) or name == "." or len(name) > MAX_NAME_LENGTH:
        raise ValueError(
            f"{name!r} can't name a metric: letters, digits, space and _ - . / only, "
            f"at most {MAX_NAME_LENGTH} characters, no empty part between slashes"
        )
    return name


class Journal:
    """The writing end; each `append` is one whole line in the file when it returns."""

    def __init__(self, path: Path) -> None:
        self._file = open_to_append(path)

    def append(self, metrics: Mapping[str, float], *, step: int, epoch: int | None = None) -> None:
        """Writes one entry; raises ValueError for a name that MLflow would change."""
        values = {check_metric_name(name): float(value) for name, value in metrics.items()}
        # The fields of `Entry`: `asdict` would cost more than all the rest.
        now_ms = time.time_ns() // 1_000_000
        entry = {"metrics": values, "step": step, "timestamp_ms": now_ms, "epoch": epoch}
        self._file.write(_ENCODER.encode(entry) + "\n")

    def close(self) -> None:
        """Closes the file; a second time does nothing."""
        self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class JournalReader:
    """The reading end; it remembers how far it has read.

    A metric is read once for each step: what training logs again after it was started again from
    a checkpoint is left out.
    """

    def __init__(self, path: Path) -> None:
        self._lines = LineReader(path)
        self._last_steps: dict[str, int] = {}

    @property
    def offset(self) -> int:
        """Bytes read so far."""
        return self._lines.offset

    def read(self, until: int | None = None) -> list[Entry]:
        """What was appended since the last call; `until`: only up to this offset.

        Raises `RunforgeError` where a whole line is no entry.
        """
        entries = [self._news(self._entry(line)) for line in self._lines.read(until)]
        return [entry for entry in entries if entry.metrics]

    def _news(self, entry: Entry) -> Entry:
        """The metrics of an entry that have not been read for its step or a later one."""
        before = self._last_steps
        news = {n: v for n, v in entry.metrics.items() if entry.step > before.get(n, -1)}
        before.update(dict.fromkeys(news, entry.step))
        return entry if len(news) == len(entry.metrics) else replace(entry, metrics=news)

    def _entry(self, line: bytes) -> Entry:
        try:
            fields: dict[str, Any] = json.loads(line)
            return Entry(**fields)
        except (ValueError, TypeError) as error:
            raise RunforgeError(
                f"{self._lines.path}: a line is no entry of a journal: {error}"
            ) from None
