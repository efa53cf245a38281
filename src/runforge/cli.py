"""`runforge <command>`: parses, calls, and turns errors into one line and an exit code.

Commands are imported when they are called: `runforge --help` imports nothing heavy.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from runforge import arguments, signals
from runforge.errors import Interrupted, RunforgeError, UserError, of_the_machine
from runforge.process import leave
from runforge.redaction import redact
from runforge.usage import no_option
from runforge.user import make_known


def main(given: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit code. None: the process's own command, which ends it."""
    code = _run(given)
    if given is None:
        leave(code)
    return code


def _run(given: Sequence[str] | None) -> int:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nothing is sent anywhere unasked
    # Of what is started from here: a `queue.py` in the project is not Python's.
    os.environ.setdefault("PYTHONSAFEPATH", "1")
    try:
        options = _parse(given)
        module = options.module or f"stages.{options.stage}"
        with signals.as_interrupts():
            make_known()
            if "DVC_STAGE" in os.environ:
                signals.end_with_dvc()
            importlib.import_module(f"runforge.{module}").run(options)
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
    return options
