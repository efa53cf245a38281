"""Sends a worker's journal to its run while the worker writes it."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType

from mlflow.exceptions import MlflowException

from runforge.journal import JournalReader, MetricPoint
from runforge.tracking.run import Run

POLL_S = 0.5


class Forwarder:
    """A thread that reads what is new in the journal and writes it to the run.

    What the store did not take is sent again with the next poll, and a last time by `close`,
    which raises what then still goes wrong: nothing is lost in silence.
    """

    def __init__(self, journal: Path, run: Run) -> None:
        self._reader = JournalReader(journal)
        self._run = run
        self._unsent: list[MetricPoint] = []
        self._epoch: float | None = None
        self._error: Exception | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="runforge-forwarder", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Sends the rest and ends the thread; raises what hindered either."""
        self._stop.set()
        self._thread.join()
        if self._error is not None:
            raise self._error
        self._send()

    def __enter__(self) -> Forwarder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _poll(self) -> None:
        while not self._stop.wait(POLL_S):
            try:
                self._send()
            except MlflowException:
                continue  # the store may come back; `close` raises where it does not
            except Exception as error:  # noqa: BLE001 - carried to the caller's thread by `close`
                self._error = error
                return

    def _send(self) -> None:
        for entry in self._reader.read():
            self._unsent += [p for p in entry.points() if self._is_news(p)]
        if self._unsent:
            self._run.log_metrics(self._unsent)
            self._unsent = []

    def _is_news(self, point: MetricPoint) -> bool:
        """The epoch is said with every entry; one point for each change is enough."""
        if point.name != "epoch":
            return True
        changed, self._epoch = point.value != self._epoch, point.value
        return changed
