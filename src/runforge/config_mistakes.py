"""Hydra's and OmegaConf's long messages, each as one line: the place, what is wrong, the mend."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yaml import MarkedYAMLError
from yaml.reader import ReaderError

from runforge.config_check import CONF, Origin
from runforge.errors import ConfigError
from runforge.signature import RENAMED

GRAMMAR = "see https://hydra.cc/docs/advanced/override_grammar/basic"


@dataclass(frozen=True, slots=True)
class Composition:
    """One that failed; what the messages need is found only then."""

    project: Path
    overrides: Sequence[str]
    load: Callable[[Path], object]
    """Reads one file of `conf/`; raises where it can't be read."""
    known_keys: Callable[[], Sequence[str]]
    """The keys, joined by dots, of the configuration without overrides."""

    @property
    def conf(self) -> Path:
        """The folder of the configuration."""
        return self.project / CONF

    def files(self) -> Iterator[Path]:
        """Every file of it."""
        return iter(sorted(self.conf.rglob("*.yaml")))

    def override_of(self, key: str) -> str | None:
        """The override of a key, as a place."""
        named = (o for o in self.overrides if o.split("=")[0].strip("+~ ") == key)
        return next((f"override {override}" for override in named), None)

    def name_of(self, file: Path) -> str:
        """A file as a place."""
        return file.relative_to(self.project).as_posix()


def composition_mistake(error: Exception, made: Composition) -> ConfigError:
    """Why Hydra could not compose."""
    text = _text(error)
    if override := getattr(error, "override", None):
        where, what = f"override {override}", f"can't be read: {text}"
        return ConfigError(what, where=where, mend="write key=value")
    if found := re.search(r"(?:argument|parameters) '([^=']+)=", text):
        what, mend = "is several values", "give one, or sweep over them with -m"
        return ConfigError(what, where=made.override_of(found[1]) or CONF, mend=mend)
    if found := re.search(r"Could not find '([\w/-]+)/([^']*)'", text):
        return _no_choice(found[1], found[2], made)
    if found := re.search(r"Could not override '([^']+)'|delete from config. '([^']+)'", text):
        return _no_key(found[1] or found[2], made)
    if unreadable := _unreadable(made):
        return unreadable
    if isinstance(error, RecursionError):
        mend = f"mend the defaults in {CONF}/"
        return ConfigError("the choices name one another without end", where=CONF, mend=mend)
    return ConfigError(text or "can't be read", where=CONF, mend=GRAMMAR)


def value_mistake(error: Any, origin: Origin) -> ConfigError:
    """Why a value that refers to another one is none."""
    key = error.full_key or ""
    where = f"{origin.of(key)}: {key}" if key else CONF
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


def _no_choice(group: str, choice: str, made: Composition) -> ConfigError:
    options = sorted(path.stem for path in (made.conf / group).glob("*.yaml"))
    where = made.override_of(group) or _naming(group, choice, made)
    if not options:
        return ConfigError(f"there is no group {group}", where=where, mend=f"see {CONF}/")
    mend = _suggest(choice, options) + f"there are: {', '.join(options)}"
    return ConfigError(f"there is no {CONF}/{group}/{choice}.yaml", where=where, mend=mend)


def _naming(group: str, choice: str, made: Composition) -> str:
    """The file that names a choice."""
    line = re.compile(rf"\b{re.escape(group)}: *{re.escape(choice)}\s*$", re.MULTILINE)
    texts = ((file, file.read_text(encoding="utf-8", errors="replace")) for file in made.files())
    return next((made.name_of(file) for file, text in texts if line.search(text)), CONF)


def _no_key(key: str, made: Composition) -> ConfigError:
    where = made.override_of(key) or CONF
    groups = [path.name for path in made.conf.iterdir() if path.is_dir()]
    known = [*made.known_keys(), *groups]
    parent, _, last = key.rpartition(".")
    siblings = [name for name in known if name.rpartition(".")[0] == parent]
    right = f"{parent}.{RENAMED.get(last)}"
    elsewhere = [name for name in known if name.rpartition(".")[2] == last]
    mend = f"did you mean {right}?" if right in siblings else _suggest(key, elsewhere or siblings)
    mend = mend or _suggest(key, known) or f"see {CONF}/ for the keys"
    return ConfigError(f"there is no key {key}", where=where, mend=mend)


def _suggest(word: str, options: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, options, n=1, cutoff=0.5)
    return f"did you mean {close[0]}? " if close else ""
