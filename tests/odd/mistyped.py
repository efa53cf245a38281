"""Odd values for every key that takes text: each is taken, or told in one line whose hint works.

The keys are found in the settings' models and the constructors' signatures. A hint works where what
it says to write, split as a shell splits it, composes in the place of what was typed.
"""

from __future__ import annotations

import contextlib
import functools
import io
import re
import shlex
import traceback
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from runforge import arguments, cli, config
from runforge.errors import ConfigError, StoreError
from runforge.settings import Node, Settings
from runforge.signature import KNOWN, keyword_model
from runforge.tracking.address import VARIABLE
from runforge.tracking.store import store_uri
from tests.odd.texts import VALUES

NEEDS = {
    "data=diabetes": ("task=regression",),
    "task=regression": ("data=diabetes",),
    "machine=multi_node": ("machine.rendezvous=node7:29400",),
}
"""What a choice leaves to the user."""


@functools.cache
def text_keys(project: Path) -> list[tuple[tuple[str, ...], str]]:
    """Each key that takes text, with the overrides that choose what has it."""
    found: dict[str, tuple[str, ...]] = {}
    for file in sorted((project / "conf").glob("*/*.yaml")):
        choice = f"{file.parent.name}={file.stem}"
        base = ("~experiment", choice, *NEEDS.get(choice, ()))
        if file.parent.name == "experiment":
            base = (choice,)
        for key in _keys(Settings, config.compose(project, base).values):
            found.setdefault(key, base)
    return [(base, key) for key, base in found.items()]


def _keys(model: type[BaseModel], values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        value, key = values.get(field.alias or name), f"{prefix}{field.alias or name}"
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Node) and isinstance(value, Mapping):
            yield from _node_keys(value, key)
        elif isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _keys(inner, value or {}, f"{key}.")
        elif takes_text(inner):
            yield key


def _node_keys(node: Mapping[str, Any], key: str) -> Iterator[str]:
    yield f"{key}._target_"
    role = key.rpartition(".")[2]
    model = keyword_model(node["_target_"], KNOWN.get(role, ()))
    assert model is not None
    for name, field in model.model_fields.items():
        if isinstance(node.get(name), Mapping) and "_target_" in node[name]:
            yield from _node_keys(node[name], f"{key}.{name}")
        elif takes_text(field.annotation):
            yield f"{key}.{name}"


def takes_text(annotation: Any) -> bool:
    """Whether a text, or several, is among what a key takes."""
    origin = typing.get_origin(annotation)
    if origin is None:
        return annotation is str
    if origin is typing.Literal:
        return False
    if origin is types.UnionType or origin in (typing.Union, typing.Annotated, list, dict):
        return any(takes_text(one) for one in typing.get_args(annotation))
    return False


def composing(project: Path, base: tuple[str, ...], key: str, value: str) -> str:
    """What is wrong with what comes of an override; empty where nothing is."""
    typed = f"{key}={value}"
    try:
        config.compose(project, [*base, typed])
    except ConfigError as error:
        return _judge(str(error), project, base, typed)
    except Exception:  # noqa: BLE001 - that is what is looked for
        return traceback.format_exc()
    return ""


def _judge(told: str, project: Path, base: tuple[str, ...], typed: str) -> str:
    if "; " not in told or len(told.splitlines()) > 1 or len(told) > 900:
        return f"no line with a hint: {told!r}"
    for written in pasted(told):
        [word] = shlex.split(written) or [""]
        try:
            config.compose(
                project, [*(o for o in base if o.split("=")[0] != word.split("=")[0]), word]
            )
        except ConfigError as error:
            return f"{typed!r} → {told!r} → {word!r} → {error}"
    return ""


def pasted(told: str) -> list[str]:
    """What a message says to write, as overrides: in backquotes; without commands and options."""
    parts = re.findall(r"`(.+?)`(?=[?,; ]|$)", told.partition("; ")[2] or told)
    return [
        part for part in parts if "=" in part and not part.startswith(("-", "runforge ", "dvc "))
    ]


def command(project: Path, words: list[str]) -> str:
    """What is wrong with what a command says of odd words; empty where nothing is."""
    said, out = io.StringIO(), io.StringIO()
    try:
        with (
            contextlib.chdir(project),
            contextlib.redirect_stderr(said),
            contextlib.redirect_stdout(out),
        ):
            code = cli.main(words)
    except SystemExit as end:
        code = int(end.code or 0)
    except Exception:  # noqa: BLE001 - that is what is looked for
        return f"{words}: {traceback.format_exc()}"
    lines = [line for line in said.getvalue().splitlines() if line.startswith("runforge: ")]
    if code == 0:
        return ""
    fine = code in (2, 3) and len(lines) == 1 and "Traceback" not in said.getvalue()
    return "" if fine else f"{words}: {code} {said.getvalue()!r}"


GIVEN = {
    **{"model": ["latest"], "format": ["onnx"], "inputs": ["data"], "run": ["latest"]},
    **{"runs": ["latest", "best"], "name": ["diabetes"], "stage": ["compose"]},
}
"""By the name of an argument that has to be given, what is given where another one is tried."""


def commands(value: str) -> Iterator[list[str]]:
    """Every command with a value for each of its arguments in turn."""
    for name, parser in arguments.commands().items():
        for tried in parser.actions:
            # Overrides are tried by composing; a folder is written to.
            if tried.nargs == 0 or tried.dest in ("overrides", "folder"):
                continue
            words = [name]
            for action in parser.actions:
                given = [value] if action is tried else GIVEN.get(action.dest, [])
                if action is tried or action.required or not action.option_strings:
                    words += [*action.option_strings[-1:], *given] if given else []
            yield words


def address(value: str) -> str:
    """What is wrong with what comes of a value of MLFLOW_TRACKING_URI; empty where nothing is."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv(VARIABLE, value)
        try:
            store_uri(Path.cwd())
        except StoreError as error:
            told = str(error)
        else:
            return ""
        for written in re.findall(r"write `(.+?)`, or unset", told):
            [word] = shlex.split(written)
            patched.setenv(VARIABLE, word.removeprefix(f"{VARIABLE}="))
            store_uri(Path.cwd())
    return "" if "unset it" in told and len(told.splitlines()) == 1 else told


def composed_pairs(project: Path) -> list[tuple[tuple[str, ...], str, str]]:
    """Every key that takes text with every odd value, and what chooses the key."""
    return [(base, key, value) for base, key in text_keys(project) for value in VALUES]
