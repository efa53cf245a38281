"""Mistaken configurations: each is refused in one line, before any data are looked at."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.odd.configurations import MISTAKES, Mistake, judge, make_project, train


def test_there_are_many_mistakes_with_names_of_their_own() -> None:
    assert len({mistake.name for mistake in MISTAKES}) == len(MISTAKES) >= 60


@pytest.mark.parametrize("mistake", MISTAKES, ids=[mistake.name for mistake in MISTAKES])
def test_a_mistake_is_one_line_with_place_key_and_mend(tmp_path: Path, mistake: Mistake) -> None:
    make_project(tmp_path / "project", mistake)
    assert judge(mistake, train(tmp_path / "project", mistake)) == ""
