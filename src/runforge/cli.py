"""`runforge <command>`: parses, calls, and turns errors into one line and an exit code.

Commands are imported when they are called: `runforge --help` imports nothing heavy.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from runforge import arguments, console, signals
from runforge.errors import Interrupted, ReaderGone, RunforgeError, of_the_machine
from runforge.process import leave, stand_alone
from runforge.redaction import redact

PATHS = ("folder", "html", "inputs", "model", "output")
"""The arguments that are paths, or may be."""


def main(given: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit code. None: the process's own command, which ends it."""
    if given is None:
        _own_command()
    return _run(given)


def _own_command() -> NoReturn:
    console.take_over()
    stand_alone()
    try:
        code = _run(None)
    except SystemExit as asked:  # by argparse: `--help`, or what it can't read
        code = int(asked.code or 0)
    except KeyboardInterrupt:  # before there was anything to end
        code = 128 + signal.SIGINT
    leave(code)


def _run(given: Sequence[str] | None) -> int:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nothing is sent anywhere unasked
    options = _parse(given)
    module = options.module or f"stages.{options.stage}"
    try:
        with signals.as_interrupts():
            signals.end_with_dvc()
            importlib.import_module(f"runforge.{module}").run(options)
        sys.stdout.flush()
    except ReaderGone as error:
        return error.exit_code
    except (RunforgeError, Interrupted) as error:
        print(f"runforge: {redact(str(error))}", file=sys.stderr)
        return error.exit_code
    except Exception as error:
        known = of_the_machine(error)
        if known is None:
            raise
        print(f"runforge: {redact(known)}", file=sys.stderr)
        return 1
    return 0


def _parse(given: Sequence[str] | None) -> argparse.Namespace:
    top = arguments.parser()
    options, rest = top.parse_known_args(given)
    # argparse takes positional arguments in one row only; overrides may stand on both sides of -m.
    if rest and (not hasattr(options, "overrides") or any(r.startswith("-") for r in rest)):
        top.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.overrides += rest
    for name in PATHS:
        if (path := getattr(options, name, None)) is not None:
            setattr(options, name, _at_home(path))
    return options


def _at_home(path: str | list[str]) -> str | list[str]:
    """With `~` as the home folder, which a shell leaves in quotes and behind `--output=`."""
    if not isinstance(path, str):
        return [str(_at_home(one)) for one in path]
    return str(Path(path).expanduser()) if path.startswith("~") else path
