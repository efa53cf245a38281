"""Overrides as they are typed, before Hydra reads them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from runforge.errors import ConfigError

TEXTS = ("init_from",)
"""Keys whose values are texts that may look like numbers: one run's id in thirty begins so."""

_ID = re.compile(r"([=,]\s*)([0-9a-f]+)(?=\s*(?:,|$))")


def quoted(overrides: Sequence[str]) -> list[str]:
    """The same, where Hydra would take a run's id for a number: `init_from='1234e567'`.

    >>> quoted(["init_from=1234e567,latest", "seed=12"])
    ["init_from='1234e567',latest", 'seed=12']
    """
    return [_ID.sub(r"\1'\2'", o) if name(o) in TEXTS else o for o in overrides]


def name(override: str) -> str:
    """The key or group that an override changes."""
    return override.split("=")[0].lstrip("+~")


def typed(key: str, value: str | Sequence[str]) -> str:
    """An override that sets a text or a list of texts, as it is typed in a shell.

    >>> typed("data.source.ignore", ["id"])
    "'data.source.ignore=[id]'"
    >>> typed("data.source.file", "a.csv")
    "'data.source.file=\"a.csv\"'"
    """
    texts = [value] if isinstance(value, str) else value
    shown = ",".join(map(_quoted_text, texts))
    given = f"{key}={shown if isinstance(value, str) else f'[{shown}]'}"
    return shlex.quote(given)


def _quoted_text(text: str) -> str:
    """In quotes where Hydra would take it for something else than these characters."""
    plain = re.fullmatch(r"[A-Za-z_]\w*", text, re.ASCII)
    if plain and text.lower() not in ("null", "true", "false", "nan", "inf"):
        return text
    escaped = re.sub(r'(\\*)("|$)', lambda m: m[1] * 2 + ('\\"' if m[2] else ""), text)
    return '"{}"'.format(escaped.replace("${", "\\${"))


def is_hydras(override: str) -> bool:
    """Whether it steers Hydra itself and no key of ours."""
    return name(override).startswith(("hydra.", "hydra/"))


def refuse_repeated(overrides: Sequence[str]) -> None:
    """Raises `ConfigError` for a key that is given twice."""
    names = [override.split("=")[0] for override in overrides]
    for override, given in zip(overrides, names, strict=True):
        if names.count(given) > 1:
            mend = "give it once"
            raise ConfigError(f"{given} is given twice", where=f"override {override}", mend=mend)
