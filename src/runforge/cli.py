"""`runforge <command>`: parses, calls, and turns errors into one line and an exit code.

Commands are imported when they are called: `runforge --help` imports nothing heavy.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from runforge import signals
from runforge.errors import Interrupted, RunforgeError, of_the_machine
from runforge.redaction import redact

TRAIN_HELP = """\
One run: prepares the data if needed, trains, evaluates and records; prints the run's id.

Overrides are Hydra's: a choice from a group of conf/ (network=mlp), or a value
(optimizer.learning_rate=0.01). With -m, every combination of comma-separated values is run as a
trial of a sweep: runforge train -m network=cnn,mlp optimizer.learning_rate=0.001,0.01
"""


def parser() -> argparse.ArgumentParser:
    """The command line; each command names the module under `runforge` that runs it."""
    top = argparse.ArgumentParser(
        prog="runforge",
        description="From labelled data to trained, evaluated, recorded and reproducible models.",
    )
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_train(commands)
    _add_sample(commands)
    _add_sync(commands)
    stage = commands.add_parser("stage", help="runs one stage of dvc.yaml (as `dvc repro` does)")
    stage.add_argument("stage", choices=("compose", "prepare", "train", "evaluate"))
    stage.set_defaults(module=None)
    return top


def _add_train(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    train = commands.add_parser(
        "train",
        help="one run, or with -m a sweep: prepares, trains, evaluates, records",
        description=TRAIN_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    train.add_argument(
        "-m", "--multirun", action="store_true", help="a sweep over all combinations"
    )
    train.add_argument("overrides", nargs="*", metavar="key=value", help="overrides of conf/")
    train.set_defaults(module="commands.train")


def _add_sample(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    sample = commands.add_parser("sample", help="writes a sample data set that needs no download")
    sample.add_argument("name", metavar="NAME", help="digits, breast_cancer or diabetes")
    sample.add_argument(
        "folder", metavar="FOLDER", nargs="?", help="default: the root in conf/data/NAME.yaml"
    )
    sample.set_defaults(module="commands.sample")


def _add_sync(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    sync = commands.add_parser(
        "sync", help="delivers what waited on disk while the MLflow store was away"
    )
    sync.add_argument("--json", action="store_true", help="one object on standard output")
    sync.set_defaults(module="commands.sync")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit code."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nothing is sent anywhere unasked
    options = _parse(arguments)
    module = options.module or f"stages.{options.stage}"
    try:
        with signals.as_interrupts():
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


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    top = parser()
    options, rest = top.parse_known_args(arguments)
    # argparse takes positional arguments in one row only; overrides may stand on both sides of -m.
    if rest and (not hasattr(options, "overrides") or any(r.startswith("-") for r in rest)):
        top.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.overrides += rest
    return options
