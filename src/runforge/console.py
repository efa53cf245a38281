"""A process's own standard streams: signs that they can't show, and nobody who reads them.

What is said on standard error is progress: where nobody reads it any more, the work goes on. What
goes to standard output is the result: where it can't be written, the command ends.
"""

from __future__ import annotations

import codecs
import errno
import io
import json
import os
import sys
from typing import Any

from runforge.errors import NO_SPACE, ReaderGone, RunforgeError

ERRORS = "runforge"
"""The name of the codecs' error handler."""

PLAIN = {"–": "-", "−": "-", "…": "...", "→": "->", "·": "*", "×": "x", "≤": "<=", "≥": ">="}
"""Our own signs, for outputs whose encoding has none of them."""


def take_over(*, result: bool = True) -> None:
    """Makes the streams of this process take any text and outlive their readers.

    A stream that was closed becomes one to nowhere: a file that is opened later must not get its
    number. `result` False: standard output is progress too, as in a worker.
    """
    _open_closed()
    codecs.register_error(ERRORS, _shown)
    sys.stdout = _text(sys.stdout, 1, fails=result)
    sys.stderr = _text(sys.stderr, 2, fails=False)
    if sys.stdin is None:
        sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), "utf-8")


def flushed(code: int) -> int:
    """Writes what still waits; the exit code, another one where a good end could not be told."""
    sys.stderr.flush()
    try:
        sys.stdout.flush()
    except RunforgeError as error:
        if not isinstance(error, ReaderGone):
            print(f"runforge: {error}", file=sys.stderr)
        return code or error.exit_code
    return code


def json_text(value: Any) -> str:
    """JSON for standard output: exact in every encoding, readable in UTF-8."""
    encoding = sys.stdout.encoding or "utf-8"
    return json.dumps(value, ensure_ascii=codecs.lookup(encoding).name != "utf-8")


class _Output(io.FileIO):
    """A standard stream; after the first failure it leads nowhere, so that none comes after it."""

    def __init__(self, descriptor: int, *, fails: bool) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._fails = fails

    def write(self, data: Any, /) -> int:
        """Writes, once it has failed into nothing; raises `RunforgeError` at that failure."""
        try:
            return super().write(data)
        except OSError as error:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            if self._fails:
                raise _told(error) from None
            return memoryview(data).nbytes


def _told(error: OSError) -> RunforgeError:
    if error.errno == errno.EPIPE:
        return ReaderGone("nobody reads standard output any more")
    full = error.errno in NO_SPACE
    why = "no space left on the disk" if full else str(error.strerror or error).lower()
    return RunforgeError(f"standard output can't be written: {why}")


def _text(before: Any, descriptor: int, *, fails: bool) -> io.TextIOWrapper:
    encoding = getattr(before, "encoding", None) or "utf-8"
    by_line = descriptor == 2 or os.isatty(descriptor)
    buffer = io.BufferedWriter(_Output(descriptor, fails=fails))
    return io.TextIOWrapper(buffer, encoding, ERRORS, line_buffering=by_line)


def _open_closed() -> None:
    """Opening gives the lowest free number, so those of the streams first."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def _shown(error: UnicodeError) -> tuple[str, int]:
    """What an encoding lacks, as JSON and Python write it: `\\u4e2d`; our own signs plainly."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(PLAIN.get(sign) or _escaped(sign) for sign in lacking), error.end


def _escaped(sign: str) -> str:
    # A byte of a file name that is no text comes as one half of a pair.
    units = sign.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at] << 8 | units[at + 1]:04x}" for at in range(0, len(units), 2))
