"""One thing is changed, and `runforge reproduce` names it: 4 of 4, on a whole run made again."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.reproductions import (
    Made,
    dirty,
    made,
    other_byte,
    other_line,
    other_package,
    other_value,
)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Made:
    found = made(tmp_path_factory.mktemp("causes"), each=12)
    found.project.edit("conf/experiment/images.yaml", "/network: cnn", "/network: mlp")
    dirty(found.project)
    return found


@pytest.fixture(scope="module")
def run_id(there: Made) -> str:
    """A training without an evaluation, as `dvc repro train` makes it."""
    for stage in ("compose", "prepare", "train"):
        there.project.runforge("stage", stage, **there.environment)
    return str(there.runs()[0].info.run_id)


@pytest.mark.parametrize(
    ("change", "artifact", "cause", "said"),
    [
        (other_value, "configuration.yaml", "configuration", "learning_rate: 0.003 → 0.02"),
        (other_line, "lineage/changes.patch", "code", "runforge/networks/mlp.py"),
    ],
)
def test_a_changed_record(
    there: Made,
    run_id: str,
    change: Callable[[Made, str], None],
    artifact: str,
    cause: str,
    said: str,
) -> None:
    path = there.artifact(run_id, artifact)
    before = path.read_bytes()
    change(there, run_id)
    verdict = there.verdict(run_id, code=4)
    path.write_bytes(before)
    assert (verdict["verdict"], verdict["cause"]) == ("different", cause)
    assert said in verdict["because"]
    assert there.tags(run_id)["runforge.reproduction"] == "different"


def test_a_changed_version_of_a_package(there: Made, run_id: str, tmp_path: Path) -> None:
    path = f"{there.folder}/src{os.pathsep}{other_package(tmp_path)}"
    verdict = there.verdict(run_id, code=4, PYTHONPATH=path)
    assert (verdict["verdict"], verdict["cause"]) == ("different", "environment")
    assert "torchmetrics 1.9.0 → 1.9.0.post1" in verdict["because"]
    states = {check["name"]: check["state"] for check in verdict["checks"]}
    assert states["initial weights"] == "identical"
    assert states["metrics of every step"] == "different"


def test_a_changed_byte_of_an_image(there: Made, run_id: str) -> None:
    name = other_byte(there)
    verdict = there.verdict(run_id, code=4)
    assert (verdict["verdict"], verdict["cause"]) == ("different", "data")
    assert name in verdict["because"]
