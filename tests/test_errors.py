"""What is the machine's fault is told as such, however a library wraps it."""

from __future__ import annotations

import threading

import pytest

from runforge.errors import of_the_machine

LOST = "DataLoader worker (pid 7) is killed by signal: Killed."


def test_a_lost_loader_is_told_where_a_lock_was_just_given_back() -> None:
    lock = threading.Lock()
    with pytest.raises(RuntimeError, match="release unlocked lock") as caught, lock:
        lock.release()
        raise RuntimeError(LOST)
    told = of_the_machine(caught.value)
    assert told is not None and told.startswith(f"a loading process was lost ({LOST})")


def test_a_fault_of_the_code_is_none_of_the_machine() -> None:
    assert of_the_machine(RuntimeError("release unlocked lock")) is None
