"""Every error a user can cause or meet, each with its exit code.

    RunforgeError            1  a fault of ours, or of the machine
    ├── UserError            2  the user's mistake: what, where, the mend, in one line
    │   ├── ConfigError         a key, a value or a choice in the configuration
    │   ├── DataError           a file, a folder, a row or a label
    │   └── StoreError          the MLflow store or its server
    ├── TrainingError        1  training ended without a usable model (a loss of nan, …)
    ├── GateRefused          3  everything worked, and what came of it is not good enough
    ├── NotReproduced        4  a run that was made again is another
    └── ReaderGone         141  nobody reads the result any more, as after `| head`
    Interrupted              130 or 143: a signal ended it

`Refused` is no failure of a command: it is how a source or a modality says that one sample
can't be used. Preparing catches it and puts the sample into quarantine.
"""

from __future__ import annotations

import errno
import os
import re
import signal


class RunforgeError(Exception):
    """Something that ended a command; `exit_code` is what the process ends with."""

    exit_code = 1


class UserError(RunforgeError):
    """A mistake of the user's: one line that says what is wrong, where, and the mend."""

    exit_code = 2

    def __init__(self, what: str, *, where: str = "", mend: str = "") -> None:
        self.what, self.where, self.mend = what, where, mend
        line = " ".join((f"{where}: {what}" if where else what).split())
        # What is pasted keeps its blanks.
        hint = " ".join(part.strip() for part in mend.splitlines())
        super().__init__(f"{line}; {hint}" if hint else line)


class ConfigError(UserError):
    """A key, value or choice in the configuration; `where` is the file or the override."""


class DataError(UserError):
    """A file, folder, row or label in the data; `where` is its path."""


class StoreError(UserError):
    """The MLflow store: not reachable, not readable, or without what was asked for."""


class GateRefused(RunforgeError):
    """A gate did not hold: nothing was handed on."""

    exit_code = 3


class TrainingError(RunforgeError):
    """Training ended without a model that may be used."""


class NotReproduced(RunforgeError):
    """A run that was made again is not the same, bit for bit."""

    exit_code = 4


class ReaderGone(RunforgeError):
    """Nobody reads standard output any more: as by SIGPIPE, and nothing is said."""

    exit_code = 128 + signal.SIGPIPE


class Interrupted(KeyboardInterrupt):
    """A signal ended the command: exit code 128 + its number, as shells have it.

    No `Exception`: it comes between any two instructions, and libraries swallow those.
    """

    def __init__(self, signal_number: int) -> None:
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number
        super().__init__(f"interrupted by {signal.Signals(signal_number).name}")


NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")
_DISK_FULL = ("No space left on device", "disk is full", "Disk quota exceeded")
_NO_ACCESS = (errno.EACCES, errno.EPERM, errno.EROFS)
_SYSTEM = {
    "readonly database": "its database may not be written; let this user write it and its folder",
    "unable to open database file": "its database can't be opened; check that its folder is there"
    " and who may write it",
    "database is locked": "another process holds its database; start again when that has ended",
    "disk I/O error": "the disk refuses; check its health, the quota and `ulimit -f`",
    "Too many open files": "too many open files; raise the limit: `ulimit -n 4096`",
}
"""What the system says by way of a library, and the line for it."""
_LOST_LOADER = re.compile(r"DataLoader worker \(pid[^)]*\) .*")


_NO_FILE = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EINVAL)
"""What the system says of a name that can't be that of a file, or not of such a one."""


def of_a_name(error: BaseException) -> UserError | None:
    """The user's mistake where a name that was given is none for the system; None for any other."""
    if not isinstance(error, OSError) or error.errno not in _NO_FILE or not error.filename:
        return None
    where = str(error.filename)
    shown = where if len(where) < 200 else f"{where[:100]}…{where[-60:]}"
    return UserError(str(error.strerror).lower(), where=shown, mend="check the path")


def of_the_machine(error: BaseException) -> str | None:
    """The one line for an error that is the machine's and not the code's; None for any other.

    Libraries wrap what the system says, so their text is all there is to go by.
    """
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError) or any(told in text for told in _OUT_OF_MEMORY):
        return "out of memory; lower data.batch_size (trainer.accumulate makes up for it)"
    full = isinstance(error, OSError) and error.errno in NO_SPACE
    if full or any(told in text for told in _DISK_FULL):
        where = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
        return f"{where}no space left on the disk; make room and start again by the same command"
    if isinstance(error, OSError) and error.errno in _NO_ACCESS and error.filename:
        place = os.fsdecode(error.filename)
        return f"{place}: {error.strerror}; let this user in, or run as the user whose it is"
    for said, line in _SYSTEM.items():
        if said in text:
            return line
    lost = _lost_loader(error)
    if lost is not None:
        return f"a loading process was lost ({lost}); start again by the same command"
    return None


def _lost_loader(error: BaseException | None) -> str | None:
    """What torch says of it, from a signal handler: at any instruction.

    In the midst of a lock that is given back, only "release unlocked lock" would come out.
    """
    while error is not None:
        told = _LOST_LOADER.search(" ".join(str(error).split()))
        if told is not None:
            return told[0]
        error = error.__cause__ or error.__context__
    return None


def first_line(error: BaseException) -> str:
    """Of what a library says, often over pages; its type where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def in_one_line(error: BaseException) -> str:
    """Its type and what it says; torch puts the traceback of a loading process before both."""
    text = str(error).strip()
    if text.startswith("Caught ") and "Original Traceback" in text:
        return text.splitlines()[-1]
    return " ".join(f"{type(error).__name__}: {text}".split())


class Refused(Exception):
    """One sample can't be used; the message is the reason, as the quarantine list shows it."""
