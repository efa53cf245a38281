"""A parser of the command line whose mistakes are one line, with what may have been meant."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from functools import partial
from typing import Any, NoReturn

from runforge.errors import ConfigError, UserError
from runforge.meanings import closest

WORDS = {
    **dict.fromkeys(("fit", "run", "learn", "start"), "train"),
    **dict.fromkeys(("sweep", "multirun", "tune", "search", "hpo", "-m"), "train -m"),
    **dict.fromkeys(("eval", "evaluate", "test", "validate"), "stage evaluate"),
    **dict.fromkeys(("prepare", "compose"), "stage prepare"),
    **dict.fromkeys(("infer", "inference", "apply"), "predict"),
    **dict.fromkeys(("list", "ls", "log", "history", "experiments"), "runs"),
    **dict.fromkeys(("deploy", "api", "server"), "serve"),
    **dict.fromkeys(("diff", "comparison"), "compare"),
    **dict.fromkeys(("rollback",), "promote --rollback"),
    **dict.fromkeys(("onnx", "convert"), "export --format onnx"),
    **dict.fromkeys(("download", "dataset"), "sample"),
    **dict.fromkeys(("repro", "rerun"), "reproduce"),
    **dict.fromkeys(("help", "-help"), "--help"),
    **dict.fromkeys(("version", "-v", "-V"), "--version"),
}
"""Words of other tools, each with our command."""

FLAGS = {
    **dict.fromkeys(("gpu", "cuda", "use_cuda"), "machine=gpu"),
    **dict.fromkeys(("cpu", "no_cuda"), "machine=cpu"),
    **dict.fromkeys(("fp16", "amp", "half"), "trainer.precision=16-mixed"),
    **dict.fromkeys(("bf16",), "trainer.precision=bf16-mixed"),
    **dict.fromkeys(("sweep", "multi_run"), "-m"),
}
"""Options of other tools that take no value, each with our override."""


class Parser(argparse.ArgumentParser):
    """One whose mistakes are `UserError`s."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.actions: list[argparse.Action] = []
        self.given: Sequence[str] = ()
        super().__init__(*args, **options)

    def add_argument(self, *names: Any, **options: Any) -> argparse.Action:
        """As its parent, and it is remembered."""
        action = super().add_argument(*names, **options)
        self.actions.append(action)
        return action

    @property
    def options(self) -> list[str]:
        """The names of its options."""
        return [name for action in self.actions for name in action.option_strings]

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As its parent, and what was given is remembered."""
        self.given = args or ()
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Raises the mistake as one line."""
        unknown = next((word for word in self.given if self._misspelt(word)), None)
        if unknown is not None and not message.startswith("argument COMMAND"):
            raise no_option(self, unknown, self.given)
        found = re.fullmatch(
            r"argument (.+?): invalid choice: (.*?) \(choose from (.*)\)", message, re.DOTALL
        )
        if found and found[1] == "COMMAND":
            raise _no_command(found[2].strip("'\""), found[3])
        if found:
            mend = f"take one of {', '.join(_options(found[3]))}"
            raise UserError(f"{found[2]} is not among its values", where=found[1], mend=mend)
        where, what = "", message
        if told := re.fullmatch(r"argument (.+?): (.*)", message, re.DOTALL):
            where, what = told.groups()
        raise UserError(what, where=where, mend=f"`{self.prog} --help` tells what it takes")

    def _misspelt(self, word: str) -> bool:
        name = word.partition("=")[0]
        known = any(option.startswith(name) for option in self.options)
        return word.startswith("--") and len(word) > 2 and not known


def no_option(parser: Parser, unknown: str, given: Sequence[str]) -> UserError:
    """The mistake of an option that a command does not have."""
    name, equals, value = unknown.partition("=")
    what, where = f"there is no option {name}", parser.prog.removeprefix("runforge ")
    near = [one for one in closest(name, parser.options) if one.startswith("--")]
    if near and not _takes_overrides(parser):
        return UserError(what, where=where, mend=f"did you mean `{near[0]}{equals}{value}`?")
    mend = f"`{parser.prog} --help` lists them"
    if not _takes_overrides(parser):
        return UserError(what, where=where, mend=mend)
    if not equals:
        after = list(given)[list(given).index(unknown) + 1 :] if unknown in given else []
        value = after[0] if after and not after[0].startswith("-") and "=" not in after[0] else ""
    word = name.lstrip("-").replace("-", "_")
    meant = _override(word, value) or (f"did you mean `{near[0]}`?" if near else "")
    return UserError(what, where=where, mend=meant or f"values are given as key=value: {mend}")


def _takes_overrides(parser: argparse.ArgumentParser) -> bool:
    return "key=value" in parser.format_usage()


def _override(word: str, value: str) -> str:
    """How an option of another tool is written as an override, tried; empty where it is none."""
    from runforge import config, hints

    if not value and word in FLAGS:
        return f"write `{FLAGS[word]}`"
    try:
        project = config.find_project()
    except ConfigError:
        return ""
    typed = f"{word}={value or 'true'}"
    mistake = hints.Mistyped(
        "", where="", mend="", candidates=[hints.Candidate((f"--{word}",), typed)]
    )
    return (
        hints.tried(mistake, [], partial(config.composed, project))
        .mend.replace("did you mean", "write", 1)
        .rstrip("?")
    )


def _no_command(given: str, listed: str) -> UserError:
    options = _options(listed)
    near = [WORDS[given.lower()]] if given.lower() in WORDS else closest(given, options)
    mend = "`runforge --help` lists them"
    if near:
        mend = f"did you mean `runforge {near[0]}`?"
    return UserError(f"there is no command {given}", mend=mend)


def _options(listed: str) -> list[str]:
    """Of "choose from 'a', 'b'", whose quotes some versions of Python leave out."""
    return [option.strip(" '") for option in listed.split(",")]
