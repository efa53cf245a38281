"""Trainings and predictions of the digits, as steps of a job, for tests and benchmarks."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from runforge import bundle, config, preparation
from runforge.job import Job
from runforge.prepared import PreparedSet
from runforge.sample_sets import write_sample_set
from tests.conftest import REPOSITORY, Project, make_project, thin_out

SIZES = (1, 2, 7, 1000, 1797)


def prepare_digits(folder: Path, *overrides: str, each: int | None = None) -> None:
    """The digits, packed into `folder/prepared`; `each`: so many of each class."""
    write_sample_set("digits", folder / "data")
    if each is not None:
        thin_out(folder / "data", each)
    prepare_data(folder, *overrides)


def prepare_data(folder: Path, *overrides: str) -> None:
    """What lies in `folder/data`, packed into `folder/prepared`."""
    settings = config.compose(REPOSITORY, list(overrides)).settings
    preparation.prepare(folder, settings, folder / "prepared", quiet=True)


def digits_project(folder: Path) -> Project:
    """A project with 300 digits."""
    made = make_project(folder / "project")
    write_sample_set("digits", made.folder / "data")
    thin_out(made.folder / "data", 30)
    return made


def make_job(folder: Path, *overrides: str) -> Job:
    """A job of training on `folder/prepared`, that is handed to nobody yet."""
    run_id = uuid.uuid4().hex
    return Job(
        steps=("train",),
        configuration=config.compose(REPOSITORY, list(overrides)).values,
        run_id=run_id,
        run_name="job",
        run_folder=str(folder / run_id),
        prepared=str(folder / "prepared"),
        model=str(folder / run_id / "model"),
        evaluation="",
        quiet=True,
    )


def fit(rank: int, count: int, job: Job) -> dict[str, str]:
    """One rank's part of a training."""
    from runforge import fitting

    torch.set_num_threads(job.configuration["machine"]["threads"] or 1)
    return fitting.run(job)


def evaluate(rank: int, count: int, job: Job) -> dict[str, str]:
    """One rank's part of an evaluation."""
    from runforge import evaluating

    return evaluating.run(job)


def say(
    rank: int, count: int, model: Path, prepared: Path, sizes: Sequence[int] = SIZES
) -> list[np.ndarray]:
    """Predictions of the first so many samples."""
    from runforge.evaluating import predict

    loaded, data = bundle.load(model), PreparedSet.open(prepared)
    return [predict(loaded, data, np.arange(size)) for size in sizes]
