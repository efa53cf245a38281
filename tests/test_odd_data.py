"""Malformed and odd data: used rightly, put into quarantine, or refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.odd import folders, idx_files, images, tables
from tests.odd.cases import Case, judge, make_project, prepare, remove
from tests.odd.memory import peak_mib

CASES = [case for part in (images, folders, idx_files, tables) for case in part.CASES]
BY_NAME = {case.name: case for case in CASES}


def test_there_are_many_kinds_with_names_of_their_own() -> None:
    assert len(BY_NAME) == len(CASES) >= 90


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_odd_data(tmp_path: Path, case: Case) -> None:
    project = tmp_path / "project"
    make_project(project, case)
    problem = judge(case, project, prepare(project))
    # Removed here: names that are no text are more than pytest can clear away.
    remove(project)
    assert problem == ""


@pytest.mark.parametrize(
    ("name", "beside"),
    [
        ("image: 100 megapixels in 12 kB", "image: text"),
        ("IDX: a bomb behind the images", "IDX: plain"),
    ],
)
def test_a_bomb_takes_little_memory(tmp_path: Path, name: str, beside: str) -> None:
    _, ordinary = peak_mib(BY_NAME[beside], tmp_path / "ordinary")
    _, peak = peak_mib(BY_NAME[name], tmp_path / "bomb")
    assert peak < ordinary + 60
