"""This process among others: whom it must not outlive, what it is called, how others ended."""

from __future__ import annotations

import atexit
import ctypes
import os
import signal
import sys
import threading
from typing import NoReturn

from runforge import console

PARENT = "RUNFORGE_PARENT"
"""The variable that tells a process which one it must not outlive."""

PLACE = (
    *("RANK", "LOCAL_RANK", "GROUP_RANK", "ROLE_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK"),
    *("WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE", "ROLE_WORLD_SIZE", "ROLE_NAME"),
    *("MASTER_ADDR", "MASTER_PORT", "RUNFORGE_ATTEMPT", PARENT),
)
"""Variables that give a process its place among others; Lightning takes each for the truth."""

LAUNCHERS = ("TORCHELASTIC_", "TORCH_ELASTIC_", "PL_")
"""How names begin that steer torch's agent and, past the configuration, Lightning's trainer."""

PR_SET_PDEATHSIG, PR_SET_NAME = 1, 15

_LIBRARY = ctypes.CDLL(None)
"""Opened before any fork: between fork and exec nothing may be loaded."""


def stand_alone() -> None:
    """Forgets what a shell or another launcher says of this process's place among others.

    A command begins its own group. `torchrun` and its like would start it several times over: told.
    """
    several = os.environ.get("WORLD_SIZE", "1")
    for name in list(os.environ):
        if name in PLACE or name.startswith(LAUNCHERS):
            del os.environ[name]
    if several.isdigit() and int(several) > 1:
        told = f"warning: WORLD_SIZE={several} is not used: a command starts its own processes"
        print(f"{told}; machine.devices={several} trains on as many", file=sys.stderr)


def die_with_parent(number: signal.Signals = signal.SIGTERM) -> None:
    """Ends this process when the one that started it is gone; on Linux the kernel sees to it."""
    ask_to_be_told(number)
    end_without_parent()  # it may have gone before the kernel was asked


def ask_to_be_told(number: signal.Signals = signal.SIGTERM) -> None:
    """Has the kernel send that signal to this process when its parent ends (Linux only)."""
    if sys.platform == "linux":
        _LIBRARY.prctl(PR_SET_PDEATHSIG, number)


def name_process(name: str) -> None:
    """The name that `ps -c` and `top` show, of 15 letters at most (Linux only)."""
    if sys.platform == "linux":
        _LIBRARY.prctl(PR_SET_NAME, name.encode())


def end_without_parent() -> None:
    """Ends this process where the one that started it is gone."""
    if os.getppid() != int(os.environ[PARENT]):
        sys.exit(128 + signal.SIGTERM)


def leave(code: int) -> NoReturn:
    """Ends this process as `sys.exit` does, but does not take apart what the kernel frees anyway.

    Python would clear each module and look for cycles of objects: a second or more with torch.
    """
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, as at every end
    atexit._run_exitfuncs()
    os._exit(console.flushed(code))


def ended_by(code: int) -> str:
    """`ended by SIGKILL (out of memory?)`, from a negative exit code."""
    hint = " (out of memory?)" if -code == signal.SIGKILL else ""
    return f"ended by {signal.Signals(-code).name}{hint}"
