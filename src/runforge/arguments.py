"""The command line: every command, its arguments, and the module that runs it."""

from __future__ import annotations

import argparse
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

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
    _add_reproduce(commands)
    _add_sync(commands)
    _add_runs(commands)
    _add_compare(commands)
    stage = commands.add_parser("stage", help="runs one stage of dvc.yaml (as `dvc repro` does)")
    stage.add_argument("stage", choices=("compose", "prepare", "train", "evaluate"))
    stage.set_defaults(module=None)
    return top


def _add_train(commands: Commands) -> None:
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


def _add_sample(commands: Commands) -> None:
    sample = commands.add_parser("sample", help="writes a sample data set that needs no download")
    sample.add_argument("name", metavar="NAME", help="digits, breast_cancer or diabetes")
    sample.add_argument(
        "folder", metavar="FOLDER", nargs="?", help="default: the root in conf/data/NAME.yaml"
    )
    sample.set_defaults(module="commands.sample")


def _add_reproduce(commands: Commands) -> None:
    reproduce = commands.add_parser(
        "reproduce",
        help="makes a run again from its lineage and checks it, number for number",
        description="Exit code 0: identical. 4: not. 2: its commit or its data can't be had.",
    )
    reproduce.add_argument("run", metavar="RUN", help="a run's id, the beginning of one, or a name")
    reproduce.add_argument("--json", action="store_true", help="one object on standard output")
    reproduce.set_defaults(module="commands.reproduce")


def _add_sync(commands: Commands) -> None:
    sync = commands.add_parser(
        "sync", help="delivers what waited on disk while the MLflow store was away"
    )
    sync.add_argument("--json", action="store_true", help="one object on standard output")
    sync.set_defaults(module="commands.sync")


def _add_runs(commands: Commands) -> None:
    runs = commands.add_parser("runs", help="lists runs, the newest first")
    runs.add_argument("--experiment", metavar="NAME", help="of this MLflow experiment only")
    runs.add_argument("--limit", metavar="N", default="20", help="at most so many (default: 20)")
    runs.add_argument(
        "--status", metavar="STATUS", help="running, finished, failed, killed or scheduled"
    )
    runs.add_argument("--json", action="store_true", help="one array on standard output")
    runs.set_defaults(module="commands.runs")


def _add_compare(commands: Commands) -> None:
    compare = commands.add_parser(
        "compare",
        help="what differs between runs, and whether one is better by more than chance",
        description="The first run is what the others are held against.",
    )
    compare.add_argument(
        "runs", nargs="+", metavar="RUN", help="id, beginning of one, name, latest or best"
    )
    compare.add_argument("--diff", action="store_true", help="the code's diff, line by line")
    compare.add_argument("--json", action="store_true", help="one object on standard output")
    compare.add_argument("--html", metavar="PATH", help="a copy of the page goes there")
    compare.set_defaults(module="commands.compare")
