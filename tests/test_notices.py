"""What a person should know is told once, wherever it is noticed, and not lost in a failure."""

from __future__ import annotations

import pytest

from runforge.errors import DataError
from runforge.notices import collected, notice


def test_a_line_is_kept_once_with_place_and_hint() -> None:
    with collected() as found:
        notice("a mask", where="x.png", hint="set data.source.exclude=[]")
        notice("a  mask", where="x.png", hint="set data.source.exclude=[]")
        notice("another")
    assert found == ["x.png: a mask; set data.source.exclude=[]", "another"]


def test_where_nobody_collects_it_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    notice("a mask")
    assert capsys.readouterr().err == "warning: a mask\n"


def test_what_was_noticed_before_a_failure_is_said() -> None:
    said: list[str] = []
    with pytest.raises(DataError), collected(said.append):
        notice("files that are no pictures are left out")
        raise DataError("there are no samples")
    assert said == ["warning: files that are no pictures are left out"]
