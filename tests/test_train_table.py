"""`runforge train` of a table: what is wrong with its header is told at once; a leaking column is
left out, and what that changes is measured on the same samples."""

from __future__ import annotations

import csv
import json
import resource
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars
import pytest

from tests.conftest import Project, make_project
from tests.test_cli import one_line

ROWS = 240


@dataclass(frozen=True, slots=True)
class Trained:
    """A project with the same table trained on with its leaking column and without."""

    project: Project
    runs: tuple[str, str]
    told: tuple[str, str]

    def predictions(self, number: int) -> polars.DataFrame:
        folder = self.project.folder / "out" / "runs" / self.runs[number] / "evaluation"
        return polars.read_parquet(folder / "predictions.parquet")


def write_table(folder: Path) -> None:
    draw = np.random.default_rng(0)
    x, noise = draw.normal(size=ROWS), draw.normal(size=ROWS)
    folder.mkdir()
    with (folder / "data.csv").open("w", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(["id", "x", "copy", "kind", "target"])
        for i in range(ROWS):
            label = int(x[i] + noise[i] > 0)
            number = f"{x[i]:.5f}".replace(".", ",")
            writer.writerow([i, number, ["no", "yes"][label], "uvw"[i % 3], label])


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = make_project(
        tmp_path_factory.mktemp("tables") / "project", ("conf", "params.yaml", ".gitignore")
    )
    (made.folder / "dvc.yaml").write_text("stages: {}\n")
    write_table(made.folder / "own")
    return made


TABLE = ("experiment=breast_cancer", "data=table", "trainer.max_epochs=1")
OWN = (*TABLE, "data.root=own")


@pytest.fixture(scope="module")
def trained(project: Project) -> Trained:
    first = project.runforge("train", *OWN)
    second = project.runforge("train", *OWN, "data.source.ignore=[copy]")
    runs = first.stdout.split()[-1], second.stdout.split()[-1]
    return Trained(project, runs, (first.stderr, second.stderr))


def test_the_leak_is_told_and_its_cure_is_measured_on_the_same_samples(trained: Trained) -> None:
    told, cured = trained.told
    assert "prepare: warning: the column 'copy' alone predicts 'target'" in told
    assert "to leave it out: 'data.source.ignore=[copy]'" in told
    assert "separator ';' and decimal commas in 'x'" in told and "left out: 'id'" in told
    assert "alone predicts" not in cured
    first, second = trained.predictions(0), trained.predictions(1)
    assert first["id"].to_list() == second["id"].to_list() and len(first) > 20
    done = trained.project.runforge("compare", *trained.runs, "--json")
    samples = json.loads(done.stdout)["samples"]
    assert samples["compared"] == len(first) and samples["notes"] == []


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["data.source.target=Target"], "there is no column 'Target'"),
        (["data.source.separator=|"], "set data.source.separator=null: it is found out"),
        (["data.source.file=nope.csv"], "there is no such file; set data.root or"),
        (["data.source.ignore=[nope]"], "there is no column 'nope'"),
        (["data.source.split_column=nope"], "there is no column 'nope'"),
        (["data.source.columns=[id,x,x,kind,target]"], "more than once: 'x'"),
    ],
)
def test_a_wrong_header_is_told_at_once(project: Project, overrides: list[str], said: str) -> None:
    """Before torch, workers and MLflow: of 1.5 s on a free machine, the processor's part."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = project.runforge("train", *OWN, *overrides, code=2)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert said in one_line(done.stderr)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert spent < 1.5


def test_a_large_table_is_not_read_for_its_header(project: Project) -> None:
    (project.folder / "large").mkdir()
    with (project.folder / "large" / "t.csv").open("wb") as file:
        file.write(b"a,b,c\n")
        for _ in range(200):
            file.write(b"1.5,2.25,word\n" * 2**15)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = project.runforge("train", *TABLE, "data.root=large", code=2)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "there is no column 'target', only 'a', 'b', 'c'" in one_line(done.stderr)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.5
