"""What of a journal the store has not taken yet, known across processes.

The mark beside the journal moves when a batch was taken. A process killed between the two leaves
one batch to be sent again, and that is harmless: the journal holds each point's time, and MLflow
keeps a point of the same name, step, time and value once.
"""

from __future__ import annotations

from pathlib import Path

from runforge.journal import JournalReader, MetricPoint
from runforge.lines import Mark


class Unsent:
    """The points of one journal from the mark on."""

    def __init__(self, journal: Path) -> None:
        self._reader = JournalReader(journal)
        self._mark = Mark(journal)
        self._epoch: float | None = None
        self._points: list[MetricPoint] = []
        # Read, though not sent: what has been sent decides what is news after it.
        self._read(self._mark.read())
        self._points = []

    def points(self) -> list[MetricPoint]:
        """Everything in the journal that was not sent, in its order; each metric's step once."""
        self._read(None)
        return self._points

    def taken(self) -> None:
        """Says that the store has what `points` gave last."""
        if self._points:
            self._mark.move(self._reader.offset)
        self._points = []

    def _read(self, until: int | None) -> None:
        for entry in self._reader.read(until):
            self._points += [p for p in entry.points() if self._is_news(p)]

    def _is_news(self, point: MetricPoint) -> bool:
        """The epoch is said with every entry; one point for each change is enough."""
        if point.name != "epoch":
            return True
        changed, self._epoch = point.value != self._epoch, point.value
        return changed
