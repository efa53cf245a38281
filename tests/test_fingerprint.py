"""Whether nodes have the same code, configuration and data."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from runforge import config
from runforge.errors import ConfigError
from runforge.fingerprint import compare_nodes, differing
from runforge.job import Job
from tests.conftest import REPOSITORY
from tests.made_sets import class_schema
from tests.processes import together


@pytest.mark.parametrize(
    ("one", "other", "names"),
    [
        ({}, {}, []),
        ({"a": "1", "b": "2"}, {"b": "2", "a": "1"}, []),
        ({"a": "1"}, {"a": "2"}, ["a"]),
        ({"b": "1", "a": "1", "c": "1"}, {"b": "2", "a": "2", "c": "1"}, ["a", "b"]),
        ({"a": "1"}, {}, ["a"]),
        ({}, {"a": ""}, ["a"]),
    ],
)
def test_what_differs_is_named(
    one: dict[str, str], other: dict[str, str], names: list[str]
) -> None:
    assert differing(one, other) == names
    assert differing(other, one) == names


def job_of(folder: Path, *overrides: str, fingerprint: str = "f") -> Job:
    """A job of a node that has prepared its data itself."""
    folder.mkdir(exist_ok=True)
    replace(class_schema([3, 4]), fingerprint=fingerprint).write(folder / "schema.json")
    values: dict[str, Any] = config.compose(REPOSITORY, overrides).values
    places = {name: str(folder) for name in ("run_folder", "prepared", "model", "evaluation")}
    return Job(steps=("train",), configuration=values, run_id="a", run_name="a", **places)


def test_a_node_alone_is_equal_to_itself(tmp_path: Path) -> None:
    compare_nodes(job_of(tmp_path), 0)


def _said(folder: Path, rank: int, count: int) -> list[str | None]:
    """What the nodes, whose rank 1 has something else, say of each case."""
    cases: list[dict[str, Any]] = [
        {"overrides": ["machine.threads=3", "machine.workers=1", "machine.accelerator=cpu"]},
        {"overrides": ["seed=7", "trainer.max_epochs=3"]},
        {"fingerprint": "g"},
        {"overrides": ["machine.strategy=fsdp"], "fingerprint": "g"},
    ]
    said: list[str | None] = []
    for case in cases:
        given = case if rank else {}
        overrides = given.get("overrides", [])
        job = job_of(folder / str(rank), *overrides, fingerprint=given.get("fingerprint", "f"))
        try:
            compare_nodes(job, rank)
            said.append(None)
        except ConfigError as error:
            said.append(str(error))
    return said


def test_every_rank_says_in_what_a_node_differs(tmp_path: Path) -> None:
    one, other = together(partial(_said, tmp_path), 2, tmp_path)
    assert (
        one
        == other
        == [
            None,
            "node 1: other configuration than node 0: seed, trainer.max_epochs;"
            " give both the same command",
            "node 1: other data than node 0: the prepared set; prepare the same data on both",
            "node 1: other configuration than node 0: machine.strategy; give both the same command",
        ]
    )
