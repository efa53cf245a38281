"""How a worker ends when it is told to stop: within bounds, wherever it is.

An exception raised by a signal handler may be swallowed by what it interrupts, and a rank that
waits in torch's own code for the others never gets to it. So a thread is told of the signal. In
training it lets the main thread come to the next step that all ranks agree on; anywhere else, or
when that takes too long, it says how the worker ended and ends the process.
"""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import NoReturn

from runforge import console
from runforge.errors import Interrupted
from runforge.job import Result
from runforge.signals import ENDING
from runforge.stopping import HERE

POLL_S = 0.25
"""How often a rank looks whether another one was told to stop."""

AGREE_S = 2.0
"""How long ranks may take to agree: their threads answer at once, unless one was lost."""


class Watch:
    """The thread that is told of signals, and what it does then."""

    def __init__(self, result: Path, stop_s: float) -> None:
        self._result, self._stop_s = result, stop_s
        self._read, self._written = os.pipe()
        os.set_blocking(self._written, False)
        self._ending = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="runforge-stop", daemon=True)

    def start(self) -> None:
        """From now on signals end the worker; those that came before are heard too."""
        for number in ENDING:
            signal.signal(number, noticed)
        signal.set_wakeup_fd(self._written, warn_on_full_buffer=False)
        self._thread.start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)

    def end(self, result: Result) -> NoReturn:
        """Says how the worker ended and ends it, without a word to anybody who might not answer."""
        self._ending.acquire()
        result.write(self._result)
        for child in multiprocessing.active_children():
            child.kill()
        os._exit(console.flushed(result.exit_code))

    def done(self, result: Result) -> None:
        """The worker has done its work: nothing that comes now changes that."""
        self._ending.acquire()
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)
        signal.set_wakeup_fd(-1)
        os.write(self._written, b"\0")
        self._thread.join()  # or it dies inside the store, and the process with it
        result.write(self._result)

    def _run(self) -> None:
        number = self._next()
        if not number:
            return
        try:
            if HERE.settle(number, min(AGREE_S, self._stop_s)):
                HERE.reached.wait(self._stop_s)
        except RuntimeError:
            pass  # another rank had no time for steps, or has gone
        error = Interrupted(number)
        self.end(Result(error.exit_code, str(error), final=True))

    def _next(self) -> int:
        """The signal that comes, to this rank or to another; 0 when the work is done."""
        while True:
            ready, _, _ = select.select([self._read], [], [], POLL_S)
            if ready:
                number = os.read(self._read, 1)[0]
                if number in (*ENDING, 0):
                    return number
            elif number := HERE.told_to_another():
                return number


def noticed(number: int, frame: FrameType | None) -> None:
    """A handler that does nothing: that there is one lets the thread be told."""
