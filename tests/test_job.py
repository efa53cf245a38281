"""Jobs and results: what passes between a driver and its workers, as files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runforge.job import Job, Result, Step


def job_of(folder: Path, **changes: Any) -> Job:
    paths = {"run_folder": "run", "prepared": "set", "model": "model", "evaluation": "evaluation"}
    given: dict[str, Any] = {
        **{"steps": ("train", "evaluate"), "configuration": {"seed": 1, "network": {"a": [1, 2]}}},
        **{"run_id": "abc", "run_name": "digits"},
        **{name: str(folder / path) for name, path in paths.items()},
    }
    return Job(**{**given, **changes})


def written(folder: Path) -> Job:
    """A job whose steps have left their outputs."""
    job = job_of(folder)
    job.write()
    for output in (job.model, job.evaluation):
        Path(output).mkdir()
    return job


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"steps": ("evaluate",), "quiet": True},
        {"lineage": {"commit": "1f", "dirty": False}, "initial_bundle": "/bundle"},
    ],
)
def test_a_job_is_read_as_it_was_written(tmp_path: Path, changes: dict[str, Any]) -> None:
    job = job_of(tmp_path, **changes)
    job.write()
    assert job.file == tmp_path / "run" / "job.json"
    assert Job.read(job.file) == job


def test_a_step_is_done_once_it_is_noted(tmp_path: Path) -> None:
    job = written(tmp_path)
    assert job.done("train") is None and job.done("evaluate") is None
    job.note_done("train", {"runforge.epochs": "3"})
    assert job.done("train") == {"runforge.epochs": "3"}
    assert job.done("evaluate") is None
    # Another process that reads the job, as after a restart, sees the same.
    assert Job.read(job.file).done("train") == {"runforge.epochs": "3"}
    job.note_done("evaluate", {})
    assert job.done("evaluate") == {}
    job.note_done("train", {"runforge.epochs": "4"})
    assert job.done("train") == {"runforge.epochs": "4"}


def test_notes_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    job = written(tmp_path)
    job.note_done("train", {"a": "b"})
    with pytest.raises(TypeError):
        job.note_done("train", {"a": object()})  # type: ignore[dict-item]
    assert job.done("train") == {"a": "b"}


def test_a_step_may_be_repeated(tmp_path: Path) -> None:
    job = written(tmp_path)
    job.note_done("train", {"a": "1"})
    job.note_done("evaluate", {"b": "2"})
    job.write()  # as by a driver that goes on with the run
    assert job.done("train") == {"a": "1"} and job.done("evaluate") == {"b": "2"}
    # As `dvc repro evaluate` does after a training: what trained stays trained.
    job.repeat("evaluate")
    assert job.done("train") == {"a": "1"} and job.done("evaluate") is None


@pytest.mark.parametrize(("step", "output"), [("train", "model"), ("evaluate", "evaluation")])
def test_a_step_whose_output_is_gone_is_to_be_done(tmp_path: Path, step: Step, output: str) -> None:
    """DVC takes a stage's outputs away before it runs the stage again."""
    job = written(tmp_path)
    job.note_done(step, {})
    assert job.done(step) == {}
    (tmp_path / output).rmdir()
    assert job.done(step) is None


def test_files_of_a_run_lie_in_its_folder(tmp_path: Path) -> None:
    job = job_of(tmp_path)
    assert job.journal == tmp_path / "run" / "journal.jsonl"
    assert job.checkpoints == tmp_path / "run" / "checkpoints"


@pytest.mark.parametrize(
    "result",
    [
        Result(0),
        Result(0, tags={"runforge.epochs": "3", "runforge.kept_epoch": "1"}),
        Result(2, "conf: a mistake; mend it", final=True),
        Result(1, "RuntimeError: gloo", lost_contact=True, trace="Traceback\n  …\n"),
    ],
)
def test_a_result_is_read_as_it_was_written(tmp_path: Path, result: Result) -> None:
    path = tmp_path / "results" / "0-1.json"
    assert Result.read(path) is None
    result.write(path)
    assert Result.read(path) == result
    assert [p.name for p in path.parent.iterdir()] == ["0-1.json"]
    assert json.loads(path.read_text())["exit_code"] == result.exit_code


def test_a_result_half_written_is_none(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        Result(0, tags={"a": object()}).write(tmp_path / "0.json")  # type: ignore[dict-item]
    assert Result.read(tmp_path / "0.json") is None
