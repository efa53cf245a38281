"""What a run is chosen by: the validation figure of its weights, and the samples it is of."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, r2_score

from runforge import evaluating, preparation, selection
from runforge.config import compose
from runforge.history import HISTORY, History, HistoryRow
from runforge.job import Job
from runforge.prepared import PreparedSet
from tests.conftest import REPOSITORY
from tests.jobs import make_job
from tests.made_bundles import Made, make_bundle, said


def evaluated(made: Made, *overrides: str) -> tuple[dict[str, str], dict[str, float]]:
    """The tags, and the figure that may choose, of an evaluation of the bundle."""
    History((HistoryRow(0, 1, {"train/loss": 1.0}),)).write(made.bundle / HISTORY)
    job: Job = make_job(made.bundle.parent, "evaluation.resamples=100", *overrides)
    folder = made.bundle.parent / "evaluation"
    tags = evaluating.run(replace(job, model=str(made.bundle), evaluation=str(folder)))
    return tags, json.loads((folder / selection.FILE).read_text())


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_bundle(tmp_path_factory.mktemp("digits"), "digits", each=30)


def of_validation(made: Made) -> tuple[np.ndarray, np.ndarray]:
    """Truth and predictions of the validation split, by torch alone."""
    prepared, outputs = said(made)
    rows = np.array(prepared.splits) == "validation"
    assert 10 < rows.sum() < len(rows) / 2
    return np.asarray(prepared.targets)[rows], outputs.numpy()[rows]


@pytest.mark.parametrize("split", ["test", "validation"])
def test_the_headline_of_the_whole_validation_split(digits: Made, split: str) -> None:
    tags, value = evaluated(digits, "experiment=digits", f"evaluation.split={split}")
    truth, outputs = of_validation(digits)
    assert value == {"accuracy": pytest.approx(accuracy_score(truth, outputs.argmax(1)), abs=1e-12)}
    assert tags[selection.METRIC] == "validation/accuracy:max"
    assert tags["runforge.primary_metric"] == f"{split}/accuracy:max"


def test_of_a_regression(tmp_path: Path) -> None:
    made = make_bundle(tmp_path, "diabetes")
    tags, value = evaluated(made, "experiment=diabetes", "data.root=data")
    truth, outputs = of_validation(made)
    assert value == {"r2": pytest.approx(r2_score(truth, outputs[:, 0]), abs=1e-6)}
    assert tags[selection.METRIC] == "validation/r2:max"


def test_a_metric_without_a_value_chooses_nothing(tmp_path: Path) -> None:
    """R² of a single sample."""
    splits = ["train"] * 6 + ["validation"] + ["test"] * 5
    rows = [f"{row},{row % 5},{split},{row / 7}" for row, split in enumerate(splits)]
    (tmp_path / "data").mkdir()
    text = "\n".join(["a,b,part,progression", *rows])
    (tmp_path / "data" / "data.csv").write_text(text, encoding="utf-8")
    made = make_bundle(tmp_path, "diabetes", "data.source.split_column=part")
    tags, value = evaluated(made, "experiment=diabetes", "data.root=data")
    assert value == {} and selection.METRIC not in tags and selection.HELD_OUT in tags


def prepared_again(made: Made, folder: Path, *overrides: str) -> str:
    """The tag of the samples where the same files are prepared otherwise."""
    settings = compose(REPOSITORY, ["experiment=digits", f"data.root={made.data}", *overrides])
    preparation.prepare(folder, settings.settings, folder / "prepared", quiet=True)
    return evaluating.held_out(PreparedSet.open(folder / "prepared"))


def test_the_samples_are_the_same_however_they_are_read(digits: Made, tmp_path: Path) -> None:
    was = evaluating.held_out(PreparedSet.open(digits.prepared))
    assert prepared_again(digits, tmp_path / "a", "data.modality.mode=RGB") == was
    assert prepared_again(digits, tmp_path / "b", "data.split.salt=other") != was
    assert prepared_again(digits, tmp_path / "c", "data.target.name=other") != was


def test_training_samples_and_the_order_do_not_matter() -> None:
    samples = [("a", "test", "cat"), ("b", "validation", "dog"), ("c", "train", "dog")]
    was = selection.held_out("class animal", samples)
    assert len(was) == 16 and int(was, 16)
    more = [("d", "train", "cat"), *samples[::-1]]
    assert selection.held_out("class animal", more) == was
    for other in (
        [("a", "test", "dog"), *samples[1:]],  # relabelled
        [("a", "validation", "cat"), *samples[1:]],  # in another split
        samples[1:],
    ):
        assert selection.held_out("class animal", other) != was
    assert selection.held_out("value animal", samples) != was
