"""One run over hostile names and odd files: nothing is run by a spreadsheet or a browser, and what
preparing noticed is in the prepared set, in the report and in the run."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow.tracking import MlflowClient
from PIL import Image as Pictures

from tests.conftest import Project, make_project
from tests.odd.images import encoded, quarters
from tests.test_near_duplicates import again, photographs

FORMULA = "=cmd|' !A0"
MARKUP = "<img src=x onerror=alert(1)>"
NEGATIVE = "-2+3"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Any, Path]:
    """A project after a run, the run, and its folder."""
    project = make_project(tmp_path_factory.mktemp("hostile") / "project")
    _lay(project.folder / "data")
    done = project.runforge(
        *("train", "network=mlp", "data.modality.height=40", "data.modality.width=40"),
        *("data.modality.mode=RGB", "data.max_refused=0.2", "trainer.max_epochs=1"),
        *("evaluation.resamples=100", "machine=cpu", "data.split.test=0.3"),
    )
    run_id = done.stdout.strip()
    client = MlflowClient(f"sqlite:///{project.folder}/mlflow.db")
    folder = project.folder / "out" / "runs" / run_id
    assert "nearly the same as one of another split" in done.stderr
    return project, client.get_run(run_id), folder


def _lay(root: Path) -> None:
    """Three classes of 24 real pictures, some of them twice, and what is refused."""
    parts = photographs()
    for number, picture in enumerate(parts[:72]):
        folder = root / (FORMULA, MARKUP, NEGATIVE)[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        picture.save(folder / f"@SUM({number}).png")
        again(picture, 3).save(folder / f"+{number}.png")
    (root / FORMULA / "=1+1.png").write_bytes(b"")
    (root / MARKUP / "<script>alert(2)<\u200bscript>.png").write_bytes(b"no picture")
    (root / NEGATIVE / "four.jpg").write_bytes(encoded(quarters("CMYK"), "JPEG"))
    (root / NEGATIVE / "clear.png").write_bytes(
        encoded(Pictures.fromarray(np.full((40, 40, 4), 9, np.uint8)))
    )


def test_no_cell_of_any_csv_file_is_a_formula(trained: tuple[Project, Any, Path]) -> None:
    project, _, _ = trained
    paths = [path for path in project.folder.rglob("*.csv") if path.stat().st_size]
    names = {path.name for path in paths}
    assert {"quarantine.csv", "confusion.csv", "per_class.csv", "roc.csv", "history.csv"} <= names
    cells = set[str]()
    for path in paths:
        with path.open(encoding="utf-8", newline="") as file:
            cells |= {cell for row in csv.reader(file) for cell in row}
    assert {f"'{FORMULA}", f"'{NEGATIVE}", MARKUP} <= cells
    for cell in cells:
        if cell.startswith(("=", "+", "-", "@", "\t", "\r")):
            float(cell)


def test_the_report_shows_names_as_text(trained: tuple[Project, Any, Path]) -> None:
    html = (trained[2] / "evaluation" / "report.html").read_text(encoding="utf-8")
    assert "<img src=x" not in html and "<script>alert" not in html
    assert "&lt;img src=x onerror=alert(1)&gt;" in html and "&lt;script&gt;alert(2)" in html


def test_what_was_noticed_is_in_the_set_the_report_and_the_run(
    trained: tuple[Project, Any, Path],
) -> None:
    project, run, folder = trained
    (prepared,) = (project.folder / "out" / "sets").glob("*/schema.json")
    quality = json.loads(prepared.read_text())["quality"]
    assert quality["refused"] == sum(quality["refused_reasons"].values()) == 2
    assert "it is no picture of a known format" in quality["refused_reasons"]
    assert quality["remarks"] == {
        "CMYK made RGB": 1,
        "RGBA made RGB": 1,
        "transparency filled": 1,
    }
    assert quality["near_duplicates"] > 10 and quality["class_imbalance"] >= 1
    tags = run.data.tags
    assert tags["runforge.near_duplicates"] == str(quality["near_duplicates"])
    assert tags["runforge.refused"] == "2"
    profile = json.loads(run.inputs.dataset_inputs[0].dataset.profile)
    assert profile["quality"] == quality
    html = (folder / "evaluation" / "report.html").read_text(encoding="utf-8")
    for text in ("near duplicates", "CMYK made RGB", "class imbalance", "refused reasons"):
        assert text in html
