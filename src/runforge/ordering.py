"""The one order of names: natural (2 before 10), and which names look alike."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

DIGITS = re.compile(r"([0-9]+)")


def natural_key(name: str) -> tuple[list[str | tuple[int, str]], str]:
    """Sorting key: numbers by value, letters without case; the name itself breaks ties."""
    parts = DIGITS.split(name.casefold())
    return [_value(p) if i % 2 else p for i, p in enumerate(parts)], name


def _value(digits: str) -> tuple[int, str]:
    """Sorts as the number does, however long it is: Python makes no integer of 4,300 digits."""
    significant = digits.lstrip("0")
    return len(significant), significant


def natural_order(names: Iterable[str]) -> list[str]:
    """The distinct names in natural order."""
    return sorted(set(names), key=natural_key)


def look_alikes(names: Iterable[str]) -> list[list[str]]:
    """Groups of different names that a reader takes for one: `Cat`, `cat `, other code points."""
    groups: dict[str, list[str]] = {}
    for name in natural_order(names):
        groups.setdefault(_seen(name), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _seen(name: str) -> str:
    visible = (c for c in unicodedata.normalize("NFKC", name) if unicodedata.category(c) != "Cf")
    return " ".join("".join(visible).split()).casefold()
