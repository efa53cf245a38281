"""Fuzzing, the short form: a value or one line, whatever comes in."""

from __future__ import annotations

import time

import pytest

from runforge.errors import DataError, Refused
from tests.odd import fuzzing
from tests.odd.fuzzing import PROPERTIES, explore, no_hang, told


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("name", PROPERTIES)
def test_a_value_or_one_line(name: str) -> None:
    explore(name, PROPERTIES[name].examples, seed=0)


@pytest.mark.parametrize("raised", [KeyError("x"), DataError(""), Refused("two\nlines")])
def test_another_exception_no_word_and_two_lines_are_found(raised: Exception) -> None:
    with pytest.raises((KeyError, AssertionError)), told():
        raise raised


def test_a_hang_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzzing, "HANG_S", 1)
    with pytest.raises(TimeoutError), no_hang():
        time.sleep(5)
