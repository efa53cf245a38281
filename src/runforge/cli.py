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
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

from runforge import arguments, console, signals
from runforge.errors import (
    Interrupted,
    ReaderGone,
    RunforgeError,
    UserError,
    of_a_name,
    of_the_machine,
)
from runforge.process import leave, stand_alone
from runforge.redaction import redact
from runforge.usage import no_option
from runforge.user import make_known

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
    # Of what is started from here: a `queue.py` in the project is not Python's.
    os.environ.setdefault("PYTHONSAFEPATH", "1")
    try:
        options = _parse(given)
        module = options.module or f"stages.{options.stage}"
        with signals.as_interrupts():
            make_known()
            signals.end_with_dvc()
            importlib.import_module(f"runforge.{module}").run(options)
        sys.stdout.flush()
    except ReaderGone as error:
        return error.exit_code
    except (RunforgeError, Interrupted) as error:
        print(f"runforge: {redact(str(error))}", file=sys.stderr)
        return error.exit_code
    except Exception as error:
        known, mistake = of_the_machine(error), of_a_name(error)
        if known is None and mistake is None:
            raise
        print(f"runforge: {redact(str(mistake or known))}", file=sys.stderr)
        return 2 if mistake else 1
    return 0


def _parse(given: Sequence[str] | None) -> argparse.Namespace:
    words = sys.argv[1:] if given is None else list(given)
    if words == ["--version"]:
        print(f"runforge {version('runforge')}")
        raise SystemExit(0)
    options: argparse.Namespace
    options, rest = arguments.parser().parse_known_args(words)
    # argparse takes positional arguments in one row only; overrides may stand on both sides of -m.
    for word in rest:
        if word.startswith("-"):
            raise no_option(options.parser, word, words)
        if not hasattr(options, "overrides"):
            where = options.parser.prog.removeprefix("runforge ")
            mend = f"`{options.parser.prog} --help` tells what it takes"
            raise UserError(f"{word!r} is one word too many", where=where, mend=mend)
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
