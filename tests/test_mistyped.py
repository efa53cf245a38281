"""Odd texts for every key, option and address: taken, or one line whose hint works when pasted.

The short form: some pairs of key and value. All of them: `python benchmarks/faults/mistyped.py`.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.odd import mistyped
from tests.odd.mistyped import address, command, commands, composed_pairs, composing, text_keys
from tests.odd.texts import VALUES

TRIED, COMMANDS_TRIED = 45, 60


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that is nothing but its configuration."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(REPOSITORY / "conf", folder / "conf")
    shutil.copy(REPOSITORY / "params.yaml", folder)
    (folder / "dvc.yaml").touch()
    return folder


def test_there_are_many_values_and_the_keys_are_found(project: Path) -> None:
    assert len(VALUES) >= 200
    keys = {key for _, key in text_keys(project)}
    assert {"init_from", "data.root", "data.source.target", "task.loss._target_"} <= keys
    assert {"data.source.ignore", "machine.rendezvous", "experiment_name"} <= keys
    assert not keys & {"seed", "data.batch_size", "network.filters", "trainer.precision"}


def test_an_odd_value_is_taken_or_its_hint_works(project: Path) -> None:
    pairs = random.Random(0).sample(composed_pairs(project), TRIED)
    found = [wrong for base, key, value in pairs if (wrong := composing(project, base, key, value))]
    assert found == []


def test_a_hint_that_does_not_work_is_found(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mistyped, "pasted", lambda _: ["experiment_name=;"])
    assert "must stand in quotes" in composing(project, (), "experiment_name", "a;b")


@pytest.mark.parametrize("value", VALUES)
def test_an_address_is_taken_or_its_hint_works(project: Path, value: str) -> None:
    assert address(value) == ""


def test_an_odd_argument_of_a_command_is_one_line(project: Path) -> None:
    words = random.Random(0).sample([w for v in VALUES for w in commands(v)], COMMANDS_TRIED)
    assert [wrong for one in words if (wrong := command(project, one))] == []
