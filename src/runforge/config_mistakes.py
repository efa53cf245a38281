"""Hydra's and OmegaConf's long messages, each as one line: the place, what is wrong, the mend."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from yaml import MarkedYAMLError
from yaml.reader import ReaderError

from runforge.config_check import CONF, Origin
from runforge.errors import ConfigError
from runforge.override_mistakes import (
    Composition,
    no_choice,
    no_key,
    several,
    there_already,
    unread,
)

GRAMMAR = "see https://hydra.cc/docs/advanced/override_grammar/basic"
SWEEPER = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"


def check_sweep(sweeper: str, overrides: Iterable[Any]) -> None:
    """Raises `ConfigError` for a sweep that has no list of trials: by Hydra's parsed overrides."""
    if sweeper != SWEEPER:
        mend = "leave hydra/sweeper out: trials are all combinations"
        raise ConfigError(f"{sweeper} finds its trials one by one", where=CONF, mend=mend)
    for override in overrides:
        if override.is_sweep_override():
            _check_values(override)


def _check_values(override: Any) -> None:
    where = f"override {override.input_line}"
    if override.is_interval_sweep():
        ends = override.value()
        named = shlex.quote(f"{override.get_key_element()}={ends.start:g},{ends.end:g}")
        mend = f"name values, such as `{named}`"
        raise ConfigError("an interval has no list of values", where=where, mend=mend)
    mend = "name values, or a range by its start, end and step"
    if override.value_type.name == "GLOB_CHOICE_SWEEP":
        mend = f"glob() finds choices of a group by their names: the files of {CONF}/GROUP/"
    try:
        empty = not list(override.sweep_iterator())
    except Exception as error:
        raise ConfigError(_text(error), where=where, mend=mend) from error
    if empty:
        raise ConfigError("there is nothing to try", where=where, mend=mend)


def composition_mistake(error: Exception, made: Composition) -> ConfigError:
    """Why Hydra could not compose."""
    text = _text(error)
    if override := getattr(error, "override", None):
        return unread(str(override), text, made)
    if found := re.search(r"(?:argument|parameters) '([^=']+)=", text):
        return several(found[1], made)
    if found := re.search(r"Could not find '([\w/-]+)/([^']*)'", text):
        return no_choice(found[1], found[2], made)
    if found := re.search(r"Could not override '([^']+)'|delete from config. '([^']+)'", text):
        return no_key(found[1] or found[2], made)
    if found := re.search(r"Multiple values for ([\w/]+)", text):
        return there_already(found[1], made)
    if found := re.search(r"Could not append to \w+[^']*'([^']+)'", text):
        return there_already(found[1], made)
    if unreadable := _unreadable(made):
        return unreadable
    if isinstance(error, RecursionError):
        mend = f"mend the defaults in {CONF}/"
        return ConfigError("the choices name one another without end", where=CONF, mend=mend)
    return ConfigError(text or "can't be read", where=_named_in(text, made), mend=GRAMMAR)


def _named_in(text: str, made: Composition) -> str:
    """The override that a message holds, else the whole configuration."""
    return next((f"override {o}" for o in made.overrides if o in text), CONF)


def value_mistake(error: Any, origin: Origin) -> ConfigError:
    """Why a value that refers to another one is none."""
    key = error.full_key or ""
    where = f"{origin.of(key)}: {key}" if key else CONF
    if "Missing mandatory value" in str(error) and key:
        return ConfigError("it has to be given", where=where, mend=f"write {key}=VALUE")
    return ConfigError(_text(error), where=where, mend="mend the value or what it refers to")


def _text(error: Exception) -> str:
    return re.split(" See https://| full_key: ", " ".join(str(error).split()))[0]


def _unreadable(made: Composition) -> ConfigError | None:
    """The first file that can't be read by itself; None where each can."""
    for file in made.files():
        try:
            made.load(file)
        except RecursionError:
            return _bad_file(made, file, "lists or keys lie too deep in one another", "flatten it")
        except UnicodeDecodeError as error:
            what = f"is not UTF-8 at byte {error.start}"
            return _bad_file(made, file, what, "save it as UTF-8")
        except Exception as error:  # noqa: BLE001 - of whatever kind, it is this file's fault
            return _bad_file(made, file, f"no valid YAML: {_reason(error)}", "mend that line")
    return None


def _bad_file(made: Composition, file: Path, what: str, mend: str) -> ConfigError:
    return ConfigError(what, where=made.name_of(file), mend=mend)


def _reason(error: Exception) -> str:
    if isinstance(error, MarkedYAMLError) and error.problem_mark:
        return f"line {error.problem_mark.line + 1}, {error.problem or error.context}"
    if isinstance(error, ReaderError):
        return f"at {error.position}, {error.reason}"
    key = getattr(error, "full_key", None)
    return f"key {key}, {_text(error)}" if key else _text(error) or type(error).__name__
