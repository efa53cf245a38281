"""Overrides as they are typed, before Hydra reads them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from runforge.errors import ConfigError
from runforge.meanings import key_of, written

TEXTS = ("init_from",)
"""Keys whose values are texts that may look like numbers: one run's id in thirty begins so."""

_ID = re.compile(r"([=,]\s*)([0-9a-f]+)(?=\s*(?:,|$))")


def quoted(overrides: Sequence[str]) -> list[str]:
    """The same, where Hydra would take a run's id for a number: `init_from='1234e567'`.

    >>> quoted(["init_from=1234e567,latest", "seed=12"])
    ["init_from='1234e567',latest", 'seed=12']
    """
    return [_ID.sub(r"\1'\2'", o) if key_of(o) in TEXTS else o for o in overrides]


def typed(key: str, value: object) -> str:
    """An override that sets a value, as it is typed in a shell.

    >>> typed("data.source.ignore", ["id"])
    "'data.source.ignore=[id]'"
    >>> print(typed("data.source.file", "a (1).csv"))
    'data.source.file="a (1).csv"'
    """
    return shlex.quote(f"{key}={written(value)}")


def is_hydras(override: str) -> bool:
    """Whether it steers Hydra itself and no key of ours."""
    return key_of(override).startswith(("hydra.", "hydra/"))


def refuse_repeated(overrides: Sequence[str]) -> None:
    """Raises `ConfigError` for a key that is given twice."""
    names = [override.split("=")[0] for override in overrides]
    for override, given in zip(overrides, names, strict=True):
        if names.count(given) > 1:
            mend = "give it once"
            raise ConfigError(f"{given} is given twice", where=f"override {override}", mend=mend)
