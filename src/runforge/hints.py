"""What a mistyped override may have been meant to say, each way tried before it is shown.

A hint is pasted into a shell. So it is written in Hydra's grammar, quoted for the shell, and held
against the configuration first: one that would be refused too is never shown.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from runforge.errors import ConfigError
from runforge.meanings import key_of
from runforge.overrides import typed

MOST = 6
"""Candidates that are tried: each costs a composition."""
MOST_SHOWN = 100
"""Characters of a value that is shown as an example."""


class Candidate(NamedTuple):
    """What may have been meant by some neighbouring words of the command line."""

    words: tuple[str, ...]
    override: str


class Mistyped(ConfigError):
    """An override that may have been meant otherwise.

    `mend` is the hint where no candidate serves; `more` follows one that does.
    """

    more = ""

    def __init__(
        self, what: str, *, where: str, mend: str, candidates: Sequence[Candidate]
    ) -> None:
        super().__init__(what, where=where, mend=mend)
        self.candidates = tuple(candidates)


class Unread(Mistyped):
    """One that Hydra's grammar can't read."""


class Several(Mistyped):
    """One that has several values in one run."""

    more = ", or sweep over them with -m"


class NoChoice(Mistyped):
    """A choice that is not in its group; the hint is which there are."""


class WrongValue(Mistyped):
    """A key, `typed` as an override, that takes another kind of value."""

    def __init__(
        self, what: str, *, where: str, typed: str, candidates: Sequence[Candidate]
    ) -> None:
        super().__init__(what, where=where, mend="mend the value", candidates=candidates)
        self.typed = typed


class HasValues(Protocol):
    """A composed configuration."""

    @property
    def values(self) -> Mapping[str, Any]:
        """Nested plain values."""


Compose = Callable[[Sequence[str]], HasValues]


def candidates(word: str, *overrides: str) -> list[Candidate]:
    """Those for one word."""
    return [Candidate((word,), override) for override in overrides]


def tried(error: Mistyped, overrides: Sequence[str], compose: Compose) -> ConfigError:
    """The same error, its hint being the first candidate that `compose` takes."""
    instead: WrongValue | None = None
    for candidate in list(dict.fromkeys(error.candidates))[:MOST]:
        found, refused = _serving(candidate, overrides, compose)
        if found and pasteable(found):
            return ConfigError(error.what, where=error.where, mend=_told(found, candidate, error))
        if isinstance(error, Unread) and isinstance(refused, WrongValue):
            instead = refused
    if isinstance(error, WrongValue):
        instead = error
    if instead is None:
        return ConfigError(error.what, where=error.where, mend=error.mend)
    mend = _example(instead.typed, instead.mend, overrides, compose)
    return ConfigError(instead.what, where=error.where, mend=mend)


def _told(found: str, candidate: Candidate, error: Mistyped) -> str:
    shown = f"`{shlex.quote(found)}`"
    if isinstance(error, NoChoice):
        return f"did you mean {shown}? {error.mend}"
    same = key_of(found) == key_of(candidate.words[0])
    if error.more or same:
        return f"write {shown}{error.more}"
    return f"did you mean {shown}?"


def _serving(
    candidate: Candidate, overrides: Sequence[str], compose: Compose, most: int = 2
) -> tuple[str | None, ConfigError | None]:
    """The override that serves: the candidate, or what it is mistyped for; else the refusal."""
    given = _replaced(overrides, candidate)
    refused = refusal(candidate.override, given, compose)
    if refused is None:
        return candidate.override, None
    if isinstance(refused, Mistyped):
        for again in refused.candidates[:most]:
            found, _ = _serving(again, given, compose, most - 1)
            if found is not None:
                return found, refused
    return None, refused


def refusal(override: str, overrides: Sequence[str], compose: Compose) -> ConfigError | None:
    """Why an override among others is refused; None where it is not, or another one is."""
    try:
        compose(overrides)
    except ConfigError as error:
        others = (f"override {one}" for one in overrides if one != override)
        return None if error.where.startswith(tuple(others)) else error
    return None


def _replaced(overrides: Sequence[str], candidate: Candidate) -> list[str]:
    """The overrides with a candidate in the place of its words."""
    given, words = list(overrides), list(candidate.words)
    for at in range(len(given)):
        if given[at : at + len(words)] == words:
            return [*given[:at], candidate.override, *given[at + len(words) :]]
    return [*given, candidate.override]


def _example(given: str, mend: str, overrides: Sequence[str], compose: Compose) -> str:
    """The hint for a value of the wrong kind: what the key has without the override."""
    key = key_of(given)
    try:
        here: Any = compose([o for o in overrides if key_of(o) != key]).values
    except ConfigError:
        return mend
    for part in key.split("."):
        here = here.get(part) if isinstance(here, Mapping) else None
    if isinstance(here, Mapping):
        return f"its keys are {', '.join(f'{key}.{part}' for part in here)}" if here else mend
    shown = typed(key, here)
    if here is None or len(shown) > MOST_SHOWN or not pasteable(shown):
        return mend
    return f"{mend}, which is else `{shown}`"


def pasteable(override: str) -> bool:
    """Whether it can stand in a line of a terminal: no line break, no other control character."""
    return override.isprintable()
