"""Sends a worker's journal, and the machine's, to their run while they are written."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType

from mlflow.exceptions import MlflowException
from requests import RequestException

from runforge.tracking.run import Run
from runforge.tracking.unsent import Unsent

POLL_S = 0.5


class Forwarder:
    """A thread that reads what is new in journals and writes it to the run.

    While the store is away, metrics stay where they are, in the journals, and are tried again with
    each poll. `close` gives the rest to the run, with which it waits if need be, and raises what
    the store refused: nothing is lost in silence.
    """

    def __init__(self, run: Run, *journals: Path) -> None:
        self._unsent = [Unsent(journal) for journal in journals]
        self._run = run
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
        for unsent in self._unsent:
            self._run.log_metrics(unsent.points())
            unsent.taken()

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
            except (MlflowException, RequestException):
                continue  # the store may come back; `close` raises where it refuses
            except Exception as error:  # noqa: BLE001 - carried to the caller's thread by `close`
                self._error = error
                return

    def _send(self) -> None:
        for unsent in self._unsent:
            self._run.try_metrics(unsent.points())
            unsent.taken()
