"""What SIGTERM and SIGINT do to a command.

The first raises `Interrupted`, once: a scheduler, DVC and a shell may all send one, and a second
exception would break the clean end that the first began. A second Ctrl-C hurries that end up; of
one press a terminal, `timeout` and a shell may each make a signal, so that those which come
together count as one.
"""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from types import FrameType
from typing import TYPE_CHECKING

from runforge.errors import Interrupted

if TYPE_CHECKING:
    import psutil

ENDING = (signal.SIGTERM, signal.SIGINT)
SHELLS = ("sh", "bash", "dash", "zsh", "ksh", "fish")
CHECK_S = 0.5

APART_S = 0.5
"""A signal that comes sooner after one that counted is the same press."""

Handler = Callable[[int, FrameType | None], None]

_came: list[int] = []
_at_once: list[Callable[[], None]] = []


@contextmanager
def as_interrupts() -> Iterator[None]:
    """Turns SIGTERM and SIGINT into `Interrupted` inside; the outermost of several counts.

    SIGINT too: polars puts a handler of its own over Python's, and then nobody hears of it.
    """
    if getattr(signal.getsignal(signal.SIGTERM), "__wrapped__", None) is _interrupt:
        yield
        return
    handler = apart(_interrupt)
    before = {number: signal.signal(number, handler) for number in ENDING}
    try:
        yield
    finally:
        _came.clear()
        for number, older in before.items():
            signal.signal(number, older)


def apart(handler: Handler) -> Handler:
    """The handler, not called for a signal that comes with one that it was called for."""
    last = -math.inf

    @wraps(handler)
    def called(number: int, frame: FrameType | None) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= APART_S:
            last = now
            handler(number, frame)

    return called


def check() -> None:
    """Raises `Interrupted` where one was raised before and got lost on its way."""
    if _came:
        raise Interrupted(_came[0])


@contextmanager
def hurried_by(act: Callable[[], None]) -> Iterator[None]:
    """Does `act` when Ctrl-C comes a second time while inside."""
    _at_once.append(act)
    try:
        yield
    finally:
        _at_once.remove(act)


def end_with_dvc() -> None:
    """Ends this command as SIGTERM does when the `dvc` that has started it is gone.

    DVC starts a stage through a shell, and a signal to it alone leaves both to themselves.
    """
    stage = os.environ.get("DVC_STAGE")
    dvc = None if stage is None else _who_has_set("DVC_STAGE", stage)
    if dvc is not None:
        threading.Thread(target=_end_after, args=(dvc,), name="runforge-dvc", daemon=True).start()


def _who_has_set(name: str, value: str) -> psutil.Process | None:
    """The nearest process above that was started without the variable; None: a shell has it set.

    What DVC is called depends on how it was installed.
    """
    import psutil

    for process in psutil.Process().parents():
        try:
            if process.environ().get(name) != value:
                return None if process.name() in SHELLS else process
        except psutil.Error:  # another user's: not what started this
            return None
    return None


def _end_after(process: psutil.Process) -> None:
    while process.is_running() and process.status() != "zombie":
        time.sleep(CHECK_S)
    os.kill(os.getpid(), signal.SIGTERM)


def _interrupt(number: int, frame: FrameType | None) -> None:
    _came.append(number)
    if len(_came) == 1:
        raise Interrupted(number)
    presses = _came.count(signal.SIGINT)
    if presses == 2:
        for act in _at_once:
            act()
    elif presses > 2:
        os._exit(128 + number)
