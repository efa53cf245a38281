"""The mistakes of words on the command line, each with what may have been meant."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runforge.config_check import CONF
from runforge.errors import ConfigError
from runforge.hints import Candidate, Mistyped, NoChoice, Several, Unread, candidates
from runforge.meanings import closest, in_quotes, key_of, keys_for, texts, written
from runforge.overrides import refuse_repeated
from runforge.signature import RENAMED


@dataclass(frozen=True, slots=True)
class Composition:
    """One that failed; what the messages need is found only then."""

    project: Path
    overrides: Sequence[str]
    load: Callable[[Path], object]
    """Reads one file of `conf/`; raises where it can't be read."""
    chosen: Callable[[], tuple[Sequence[str], Mapping[str, str]]]
    """The keys, joined by dots, that the choices give, and the choices by group."""

    @property
    def conf(self) -> Path:
        """The folder of the configuration."""
        return self.project / CONF

    def files(self) -> Iterator[Path]:
        """Every file of it."""
        return iter(sorted(self.conf.rglob("*.yaml")))

    def groups(self) -> list[str]:
        """The folders that choices lie in."""
        return sorted(path.name for path in self.conf.iterdir() if path.is_dir())

    def options(self, group: str) -> list[str]:
        """The choices of a group."""
        return sorted(path.stem for path in (self.conf / group).glob("*.yaml"))

    def typed(self, key: str) -> str | None:
        """The override of a key, as it was typed."""
        return next((o for o in self.overrides if key_of(o) == key), None)

    def place(self, key: str) -> str:
        """Where a key is overridden."""
        typed = self.typed(key)
        return CONF if typed is None else f"override {typed}"

    def name_of(self, file: Path) -> str:
        """A file as a place."""
        return file.relative_to(self.project).as_posix()


def check_words(overrides: Sequence[str], groups: Sequence[str]) -> None:
    """Raises `ConfigError` for what Hydra would read otherwise than it was meant.

    A key given twice, blanks around a `=`, several choices of a group in brackets, a wish for a
    sweep that only `-m` grants.
    """
    refuse_repeated(overrides)
    for at, word in enumerate(overrides):
        where, (key, _, value) = f"override {word}", word.partition("=")
        after = overrides[at + 1 : at + 3]
        if after and (after[0].startswith("=") or (word.endswith("=") and "=" not in after[0])):
            words = (word, *(after if after[0] == "=" else after[:1]))
            raise Mistyped(
                "there are blanks around the =",
                where=f"override {' '.join(words)}",
                mend="write key=value without blanks",
                candidates=[Candidate(words, "".join(words))],
            )
        if key in groups and value.startswith("["):
            swept = shlex.quote(f"{key}={value.strip('[]')}")
            mend = f"name one, or sweep over them: `-m {swept}`"
            raise ConfigError("a group has one choice", where=where, mend=mend)
        if key_of(word) == "hydra.mode":
            raise ConfigError("it is not read", where=where, mend="sweep with -m")
        if key_of(word).startswith("hydra.sweeper.params"):
            mend = f"sweep over the keys themselves (-m seed=1,2), or set it in a file of {CONF}/"
            raise ConfigError("Hydra takes it from files only", where=where, mend=mend)


def unread(override: str, text: str, made: Composition) -> ConfigError:
    """A word that Hydra's grammar has no reading for."""
    key, equals, raw = override.partition("=")
    if not equals:
        return _no_equals(override, made)
    given = _list_in_parts(override, made)
    given += candidates(override, *(f"{key}={value}" for value in texts(raw, several=True)))
    return Unread(
        f"can't be read: {_unread_part(raw, text)}",
        where=f"override {override}",
        mend=f"write it in a file of {CONF}/, or in quotes: key='\"value\"'",
        candidates=given,
    )


def _list_in_parts(override: str, made: Composition) -> list[Candidate]:
    """A list that the shell has split at its blanks."""
    given = list(made.overrides)
    at = given.index(override) if override in given else len(given)
    ends = [i for i, word in enumerate(given[at:], at) if word.endswith("]")]
    if "=[" not in override or not ends or ends[0] == at:
        return []
    words = given[at : ends[0] + 1]
    joined = ",".join(word.strip(",") for word in words)
    return [Candidate(tuple(words), joined)]


def _unread_part(raw: str, text: str) -> str:
    """What of it Hydra stumbled on, in plain words."""
    if "LexerNoViableAltException" in text:
        odd = next((c for c in raw if c in "~;&#!<>^`'\"" or not c.isascii()), "")
        return f"{odd} must stand in quotes" if odd else "a character must stand in quotes"
    if found := re.search(r"Unknown function '([^']*)'", text):
        return f"{found[1]}(…) is no function of Hydra's"
    if found := re.search(r"(?:extraneous|mismatched|alternative at) input '([^']*)'", text):
        part = found[1].replace("<EOF>", "the end")
        return f"{part} is not expected there"
    return re.sub(r"^Error parsing override '.*?' (?:\w+ while evaluating )?", "", text)


def _no_equals(word: str, made: Composition) -> ConfigError:
    """A word alone: a key and its value apart, a choice, the rest of a text, or a path."""
    given = list(made.overrides)
    at = given.index(word) if word in given else len(given)
    after, before = given[at + 1 : at + 2], given[at - 1 : at] if at else []
    found = [Candidate((word, one), f"{word}={one}") for one in after if "=" not in one]
    parts = re.split(r"[:/\s]+", word, maxsplit=1)
    found += candidates(word, *([f"{parts[0]}={parts[1]}"] if len(parts) == 2 else []))
    # An experiment brings more with it than a choice of the same name.
    groups = sorted(made.groups(), key=lambda group: group != "experiment")
    found += candidates(
        word, *(f"{group}={word}" for group in groups if word in made.options(group))
    )
    for one in before:
        key, _, value = one.partition("=")
        found.append(Candidate((one, word), f"{key}={in_quotes(f'{value} {word}')}"))
    if (made.project / word).exists() or "/" in word:
        found += candidates(word, f"data.root={written(word)}")
    mend = "write key=value, such as `seed=1`"
    return Mistyped("it has no =", where=f"override {word}", mend=mend, candidates=found)


def several(key: str, made: Composition) -> ConfigError:
    """A key that is given several values in one run."""
    typed, what = made.typed(key), "is several values"
    mend = "give one, or sweep over them with -m"
    if typed is None:
        return ConfigError(what, where=CONF, mend=mend)
    name, _, raw = typed.partition("=")
    given = candidates(typed, *(f"{name}={value}" for value in texts(raw)))
    return Several(what, where=f"override {typed}", mend=mend, candidates=given)


def there_already(key: str, made: Composition) -> ConfigError:
    """A key or group that is added, and is there."""
    typed, what = made.typed(key), f"{key} is there already"
    if typed is None:
        return ConfigError(what, where=CONF, mend="name it once")
    given = candidates(typed, typed.lstrip("+"))
    mend = "leave the + out"
    return Mistyped(what, where=f"override {typed}", mend=mend, candidates=given)


def no_choice(group: str, choice: str, made: Composition) -> ConfigError:
    """A choice or a group without a file."""
    options, typed = made.options(group), made.typed(group)
    where = f"override {typed}" if typed else _naming(group, choice, made)
    if group.startswith("hydra"):
        mend = "take one of Hydra's own, or install the package that brings it"
        return ConfigError(f"there is no {group}={choice}", where=where, mend=mend)
    if not options:
        mend = f"the groups are: {', '.join(made.groups())}"
        return ConfigError(f"there is no group {group}", where=where, mend=mend)
    what, there = f"there is no {CONF}/{group}/{choice}.yaml", f"there are: {', '.join(options)}"
    near = closest(Path(choice).stem, options)
    if typed is None:
        mend = f"did you mean {near[0]}? {there}" if near else there
        return ConfigError(what, where=where, mend=mend)
    sign = typed.partition("=")[0]
    given = candidates(typed, *(f"{sign}={option}" for option in near))
    return NoChoice(what, where=where, mend=there, candidates=given)


def _naming(group: str, choice: str, made: Composition) -> str:
    """The file that names a choice."""
    line = re.compile(rf"\b{re.escape(group)}: *{re.escape(choice)}\s*$", re.MULTILINE)
    texts = ((file, file.read_text(encoding="utf-8", errors="replace")) for file in made.files())
    return next((made.name_of(file) for file, text in texts if line.search(text)), CONF)


def no_key(key: str, made: Composition) -> ConfigError:
    """A key that is not there, or not with the choices that were made."""
    typed, (known, choices) = made.typed(key), made.chosen()
    elsewhere = _choices_with(key, made)
    group = key.partition(".")[0]
    if elsewhere and group in choices:
        what = f"{group}={choices[group]} has no key {key}"
        there = " or ".join(f"`{group}={choice}`" for choice in elsewhere)
        mend = f"take {there}, or leave it out"
        return ConfigError(what, where=made.place(key), mend=mend)
    near = keys_for(key, [*known, *made.groups()])
    parent, _, last = key.rpartition(".")
    if parent and last in RENAMED:
        near.insert(0, f"{parent}.{RENAMED[last]}")
    what = f"there is no key {key}"
    mend = f"did you mean {near[0]}?" if near else f"the keys are those of {CONF}/"
    if typed is None:
        return ConfigError(what, where=CONF, mend=mend)
    name, equals, value = typed.partition("=")
    sign = name[: len(name) - len(name.lstrip("+~"))]
    given = candidates(typed, *(f"{sign}{other}{equals}{value}" for other in near))
    return Mistyped(what, where=f"override {typed}", mend=mend, candidates=given)


def _choices_with(key: str, made: Composition) -> list[str]:
    """The choices of its group that have a key."""
    group, *path = key.split(".")
    found = []
    for choice in made.options(group) if path else []:
        with suppress(Exception):  # what can't be read is another mistake
            here: Any = made.load(made.conf / group / f"{choice}.yaml")
            for part in path:
                here = here.get(part)
            if here is not None:
                found.append(choice)
    return found
