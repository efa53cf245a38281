"""Runs of `dvc repro` and trials of sweeps, made again; on two processes too."""

from __future__ import annotations

import pytest

from tests.reproductions import Made, made


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made(tmp_path_factory.mktemp("kinds"), each=12)


def test_a_run_of_the_pipeline(there: Made) -> None:
    run_id = there.dvc("repro", "--quiet")
    assert there.tags(run_id)["runforge.patch"] == "none"
    assert there.verdict(run_id)["verdict"] == "identical"


def test_a_trial_on_two_processes_that_begins_with_other_weights(there: Made) -> None:
    sweep = there.train("-m", "machine.devices=2", "init_from=latest")
    (trial,) = there.children(sweep)
    assert there.tags(trial)["runforge.processes"] == "2"
    verdict = there.verdict(trial)
    assert verdict["verdict"] == "identical", verdict
    assert there.tags(verdict["made_again"])["runforge.processes"] == "2"
