"""The command line: every command, its arguments, and the module that runs it."""

from __future__ import annotations

import argparse
import re
from typing import TypeAlias

from runforge.help_texts import BATCH_SIZE_HELP, EXPORT_HELP, PREDICT_HELP, SERVE_HELP, TRAIN_HELP
from runforge.usage import Parser

Commands: TypeAlias = "argparse._SubParsersAction[Parser]"

A_RUN = "its id, the beginning of one, its name, latest, best or best:DATA"
REF_HELP = (
    "a run (id, beginning of one, name, latest, best, best:DATA), models:/NAME@ALIAS or a folder"
)


def parser() -> Parser:
    """The command line; each command names the module under `runforge` that runs it."""
    return _made()[0]


def commands() -> dict[str, Parser]:
    """The parser of each command, by its name."""
    return dict(_made()[1].choices)


def _made() -> tuple[Parser, Commands]:
    top = Parser(
        prog="runforge",
        description="From labelled data to trained, evaluated, recorded and reproducible models.",
    )
    top.add_argument("--version", action="store_true", help="prints the version")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_train(commands)
    _add_profile(commands)
    _add_batch_size(commands)
    _add_sample(commands)
    _add_reproduce(commands)
    _add_promote(commands)
    _add_sync(commands)
    _add_predict(commands)
    _add_export(commands)
    _add_serve(commands)
    _add_runs(commands)
    _add_compare(commands)
    stage = commands.add_parser("stage", help="runs one stage of dvc.yaml (as `dvc repro` does)")
    stage.add_argument("stage", choices=("compose", "prepare", "train", "evaluate"))
    stage.set_defaults(parser=stage, module=None)
    return top, commands


def _command(
    commands: Commands, name: str, summary: str, description: str = ""
) -> argparse.ArgumentParser:
    """A command that the module of its name under `commands` runs."""
    made = commands.add_parser(
        name,
        help=summary,
        description=description or None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.set_defaults(parser=made, module=f"commands.{name.replace('-', '_')}")
    return made


def _model(command: argparse.ArgumentParser) -> None:
    command.add_argument("--model", required=True, metavar="REF", help=REF_HELP)


def _device(command: argparse.ArgumentParser) -> None:
    command.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")


def _json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="JSON on standard output")


def _overrides(command: argparse.ArgumentParser) -> None:
    command.add_argument("overrides", nargs="*", metavar="key=value", help="overrides of conf/")


def _add_train(commands: Commands) -> None:
    train = _command(
        commands,
        "train",
        "one run, or with -m a sweep: prepares, trains, evaluates, records",
        TRAIN_HELP,
    )
    train.add_argument(
        "-m", "--multirun", action="store_true", help="a sweep over all combinations"
    )
    _overrides(train)


def _add_profile(commands: Commands) -> None:
    profile = _command(
        commands,
        "profile",
        "where the time of a training step goes, and what to mend first",
        "A short run with trainer.profile=true, in the MLflow experiment runforge-profiles.",
    )
    _overrides(profile)
    _json(profile)


def _add_batch_size(commands: Commands) -> None:
    size = _command(
        commands,
        "batch-size",
        "the largest batch that there is memory for, and how fast smaller ones are",
        BATCH_SIZE_HELP,
    )
    _overrides(size)
    size.add_argument(
        "--memory", type=_memory, metavar="SIZE", help="512MB, 1.5GB; default: what there is"
    )
    _json(size)


def _memory(text: str) -> int:
    from runforge.batch_sizes import memory_bytes

    try:
        return memory_bytes(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _add_sample(commands: Commands) -> None:
    sample = _command(commands, "sample", "writes a sample data set that needs no download")
    sample.add_argument("name", metavar="NAME", help="digits, breast_cancer or diabetes")
    sample.add_argument(
        "folder", metavar="FOLDER", nargs="?", help="default: the root in conf/data/NAME.yaml"
    )


def _add_predict(commands: Commands) -> None:
    predict = _command(commands, "predict", "what a model says of raw files", PREDICT_HELP)
    _model(predict)
    predict.add_argument("--output", metavar="FILE", help="default: standard output")
    predict.add_argument(
        "--format",
        choices=("csv", "jsonl", "parquet"),
        help="default: by the name of --output, else csv",
    )
    predict.add_argument(
        "--batch-size", type=_positive, default=256, metavar="N", help="samples at once (256)"
    )
    _device(predict)
    predict.add_argument("inputs", nargs="+", metavar="FILE|FOLDER|-")


def _add_export(commands: Commands) -> None:
    export = _command(
        commands, "export", "a model as ONNX or pt2, checked against the trained one", EXPORT_HELP
    )
    _model(export)
    export.add_argument("--format", required=True, choices=("onnx", "pt2"))
    export.add_argument("--output", metavar="PATH", help="default: model.onnx or model.pt2")
    export.add_argument(
        "--samples",
        nargs="+",
        default=[],
        metavar="FILE",
        help="raw samples to hold it against; default: the prepared set that it was trained on",
    )


def _add_serve(commands: Commands) -> None:
    serve = _command(commands, "serve", "a model over HTTP", SERVE_HELP)
    _model(serve)
    serve.add_argument("--host", default="127.0.0.1", help="127.0.0.1: this machine alone")
    serve.add_argument("--port", type=_port, default=8000, help="8000; 0: any that is free")
    serve.add_argument(
        "--allowed-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name that requests may call it by, beside localhost; several times for several",
    )
    serve.add_argument("--max-body-mb", type=_positive, default=16, metavar="MIB", help="16")
    serve.add_argument(
        "--max-pixels", type=_positive, metavar="N", help="of a picture; default: as in training"
    )
    serve.add_argument(
        "--max-waiting", type=_positive, default=64, metavar="N", help="requests at once (64)"
    )
    _device(serve)


def _port(text: str) -> int:
    value = _whole(text)
    if not 0 <= value < 2**16:  # the system would take its last 16 bits
        raise argparse.ArgumentTypeError(f"{text} is not in 0..65535")
    return value


def _positive(text: str) -> int:
    value = _whole(text)
    if not 1 <= value < 2**31:
        raise argparse.ArgumentTypeError(f"{text} is not in 1..{2**31 - 1}")
    return value


def _whole(text: str) -> int:
    if not re.fullmatch(r"[+-]?\d{1,20}", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number")
    return int(text)


def _add_reproduce(commands: Commands) -> None:
    reproduce = _command(
        commands,
        "reproduce",
        "makes a run again from its lineage and checks it, number for number",
        "Exit code 0: identical. 4: not. 2: its commit or its data can't be had.",
    )
    reproduce.add_argument("run", metavar="RUN", help=A_RUN)
    _json(reproduce)


def _add_promote(commands: Commands) -> None:
    promote = _command(
        commands, "promote", "makes a run the champion if every gate holds (exit 3: it does not)"
    )
    promote.add_argument("run", metavar="RUN", nargs="?", help=A_RUN)
    _overrides(promote)
    promote.add_argument(
        "--rollback", action="store_true", help="the champion before becomes the champion again"
    )
    promote.add_argument(
        "--replace-champion",
        action="store_true",
        help="also where the champion's run was deleted, so that the two can't be compared",
    )
    _json(promote)


def _add_sync(commands: Commands) -> None:
    sync = _command(
        commands, "sync", "delivers what waited on disk while the MLflow store was away"
    )
    _json(sync)


def _add_runs(commands: Commands) -> None:
    runs = _command(commands, "runs", "lists runs, the newest first")
    runs.add_argument("--experiment", metavar="NAME", help="of this MLflow experiment only")
    runs.add_argument("--limit", metavar="N", default="20", help="at most so many (default: 20)")
    runs.add_argument(
        "--status", metavar="STATUS", help="running, finished, failed, killed or scheduled"
    )
    _json(runs)


def _add_compare(commands: Commands) -> None:
    compare = _command(
        commands,
        "compare",
        "what differs between runs, and whether one is better by more than chance",
        "The first run is what the others are held against.",
    )
    compare.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help=A_RUN,
    )
    compare.add_argument("--diff", action="store_true", help="the code's diff, line by line")
    _json(compare)
    compare.add_argument("--html", metavar="PATH", help="a copy of the page goes there")
