"""What each rank is at, told once a second, so that one that hangs can be named.

A rank that waits for the others is inside `torch.distributed` or in the backward pass, which waits
for the others' gradients; one that they wait for is anywhere else, or says nothing any more.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from types import FrameType

from torch.distributed import TCPStore  # type: ignore[attr-defined]

from runforge.ranks import in_group

INTERVAL_S = 1.0
SILENT_S = 5.0
"""A rank whose last word is so much older than the newest one's has stopped altogether."""

STORE_TIMEOUT = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Beat:
    """What one rank was at, at one time."""

    time_s: float
    """Seconds since 1970, by the clock of the rank's machine."""
    waiting: bool
    where: str


@contextmanager
def heartbeat(rank: int, attempt: int) -> Iterator[None]:
    """Tells what the main thread is at while inside; nothing in a process that is alone."""
    if not in_group():
        yield
        return
    store = _store(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
    stop = threading.Event()
    key, main = _key(rank, attempt), threading.main_thread().ident

    def tell() -> None:
        frame = sys._current_frames().get(main or 0)
        store.set(key, json.dumps(asdict(_beat(frame))))

    def keep_telling() -> None:
        while not stop.wait(INTERVAL_S):
            try:
                tell()
            except RuntimeError:
                return  # the agent has gone; so will this process

    tell()
    thread = threading.Thread(target=keep_telling, name="runforge-heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()  # or it dies inside the store, and the process with it


def read_beats(address: str, port: int, *, attempt: int, count: int) -> dict[int, Beat]:
    """The last beat of each rank that has told one."""
    store = _store(address, port)
    keys = {rank: _key(rank, attempt) for rank in range(count)}
    return {
        rank: Beat(**json.loads(store.get(key))) for rank, key in keys.items() if store.check([key])
    }


def hung(beats: dict[int, Beat], ranks: Sequence[int]) -> str | None:
    """Names the rank that the others waited for; None where the beats don't tell."""
    newest = max((beat.time_s for beat in beats.values()), default=0.0)
    for rank in ranks:
        beat = beats.get(rank)
        if beat is None:
            return f"rank {rank} never arrived"
        if newest - beat.time_s > SILENT_S:
            silence_s = newest - beat.time_s
            return f"rank {rank} has not been heard of for {silence_s:.0f} s, since {beat.where}"
    for rank in ranks:
        if not beats[rank].waiting:
            return f"rank {rank} hangs in {beats[rank].where}"
    return None


def _beat(frame: FrameType | None) -> Beat:
    while frame is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    if frame is None:
        return Beat(time.time(), False, "its end")
    path, name = frame.f_code.co_filename, frame.f_code.co_name
    waiting = "torch/distributed/" in path or name == "_engine_run_backward"
    place = "/".join(Path(path).parts[-2:])
    return Beat(time.time(), waiting, f"{place}:{frame.f_lineno} ({name})")


def _key(rank: int, attempt: int) -> str:
    return f"runforge/beat/{attempt}/{rank}"


def _store(address: str, port: int) -> TCPStore:
    return TCPStore(address, port, is_master=False, timeout=STORE_TIMEOUT)
