"""Evaluations of few samples, shared by several processes: none lost, and the same to the byte."""

from __future__ import annotations

import csv
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from sklearn.datasets import load_digits

from benchmarks.faults.mishaps import Row
from runforge.job import Job
from tests.jobs import evaluate, fit, make_job, prepare_data
from tests.processes import together

COUNTS, SIZES = (1, 2, 3), (1, 2, 7, 103)
QUICK_COUNTS, QUICK_SIZES = (1, 2), (1, 7)
FEW = 300
"""Samples beside those, to train on."""
MANY = 1100
"""Test samples that are predicted in three blocks, so that each of three processes has one."""
TABLE = (
    *("experiment=breast_cancer", "task=multiclass", "data.root=data"),
    *("data.source.file=digits.csv", "data.source.split_column=for"),
    *("data.source.target=digit", "data.target.name=digit"),
)
WAYS = (*TABLE, "machine=cpu", "evaluation.resamples=100", "trainer.max_epochs=1")
FILES = ("confusion.csv", "predictions.parquet", "metrics.json")


def rows(quick: bool) -> Iterator[Row]:
    """One model, and for each size a set with so many test samples."""
    counts, sizes = (QUICK_COUNTS, QUICK_SIZES) if quick else (COUNTS, (*SIZES, MANY))
    with tempfile.TemporaryDirectory() as name:
        folders = {size: Path(name) / str(size) for size in sizes}
        labels = {size: _prepare(folder, size) for size, folder in folders.items()}
        job = make_job(folders[sizes[-1]], *WAYS)
        job.write()
        together(fit, 1, Path(job.run_folder) / "ranks", job)
        for size, folder in folders.items():
            yield _row(job, folder, labels[size], counts)


def _row(job: Job, folder: Path, labels: list[str], counts: tuple[int, ...]) -> Row:
    found = [_evaluated(job, folder, count) for count in counts]
    same = sum(files == found[0] for files in found)
    totals = {_total(files[0], Counter(labels)) for files in found}
    size = len(labels)
    what = f"{size} test samples, {', '.join(map(str, counts))} processes"
    told = f"{same} of {len(counts)} confusion matrices, predictions and figures alike"
    in_each = " or ".join(map(str, sorted(totals)))
    return what, f"{told}; {in_each} in each", same == len(counts) and totals == {size}


def _evaluated(job: Job, folder: Path, count: int) -> list[bytes]:
    """What so many processes write together."""
    out = folder / f"evaluation-{count}"
    job = replace(job, steps=("evaluate",), prepared=str(folder / "prepared"), evaluation=str(out))
    together(evaluate, count, folder / f"ranks-{count}", job)
    return [(out / name).read_bytes() for name in FILES]


def _total(confusion: bytes, actual: Counter[str]) -> int:
    """The sum over the cells; 0 where a row's sum is not what the data have of its class."""
    pairs = Counter(tuple(row) for row in list(csv.reader(confusion.decode().splitlines()))[1:])
    by_class: Counter[str] = Counter()
    for (label, _), number in pairs.items():
        by_class[label] += number
    return pairs.total() if by_class == actual else 0


def _prepare(folder: Path, size: int) -> list[str]:
    """The digits as a table that gives so many to the test split; returns the labels of those.

    A table, because class folders have no test split of a single class.
    """
    digits = load_digits()
    few = len(digits.target) if size > FEW else FEW + size
    splits = ["test"] * size + ["train"] * (few - size)
    lines = [",".join([*(f"p{pixel}" for pixel in range(digits.data.shape[1])), "digit", "for"])]
    for row, label, split in zip(digits.data, digits.target, splits, strict=False):
        lines.append(",".join([*map(str, row), str(label), split]))
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "digits.csv").write_text("\n".join(lines) + "\n")
    prepare_data(folder, *TABLE)
    return [str(label) for label in digits.target[:size]]
