"""The card of a model: what it tells, and that names from outside are no markup in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from runforge.gates import Gate
from runforge.predictions import Predictions
from runforge.report.card import Subject, card
from runforge.schema import Schema

HOSTILE = "<b>|*a*"


@dataclass(frozen=True)
class Decision:
    promoted: bool
    model: str = "digits"
    version: str = "3"
    champion: str | None = None
    gates: tuple[Gate, ...] = (Gate("lineage is complete", True, "it | is", {}),)


def schema(classes: tuple[str, ...]) -> Schema:
    return Schema(
        modality={"_target_": "runforge.modalities.image.Image"},
        layout={},
        packed_shape=(8, 8, 1),
        packed_dtype="uint8",
        input_shape=(1, 8, 8),
        target_kind="class" if classes else "value",
        target_name="digit",
        classes=classes,
        statistics={},
        target_mean=0.0,
        target_std=1.0,
        split_counts={"train": dict.fromkeys(classes or ("",), 4), "test": {}},
        quality={"refused": 2, "duplicated": 0},
        fingerprint="abc",
    )


def subject(classes: tuple[str, ...]) -> Subject:
    """Ten samples of the first class, of which three are taken for the second."""
    ids = np.array([f"s{row}" for row in range(10)])
    if classes:
        values = np.tile(np.array([0.9, 0.1], np.float32), (10, 1))
        values[:3] = [0.2, 0.8]
        predictions = Predictions(ids, "test", np.zeros(10, np.int64), values, classes)
    else:
        values = np.ones((10, 1), np.float32)
        predictions = Predictions(ids, "test", np.zeros(10), values, ())
    numbers = {"accuracy": 0.7, "accuracy_low": 0.4, "accuracy_high": 0.9}
    tags = {"runforge.git_commit": "c0ffee"}
    return Subject("f" * 32, "run", tags, numbers, predictions, schema(classes))


def test_what_it_tells() -> None:
    text = card(subject(("cat", "dog")), Decision(True))
    assert text.startswith("# digits, version 3\n\nChampion. Made by run `ffff")
    for told in (
        "| accuracy | 0.7000 | 0.4000 – 0.9000 |",
        "| train | 8 |",
        "2 refused, 0 duplicated",
        "| **cat** | 7 | 3 |",
        "* 3 of 10 of cat are taken for dog",
        "| git\\_commit | c0ffee |",
        "`runforge reproduce ffff",
        "There was no champion",
    ):
        assert told in text, f"{told}\n\n{text}"
    assert card(subject(("cat", "dog")), Decision(False)).startswith(
        "# digits, version 3\n\nRefused as champion."
    )


def test_names_are_no_markup() -> None:
    text = card(subject((HOSTILE, "dog")), Decision(True))
    assert HOSTILE not in text and "<b>" not in text
    assert "&lt;b\\>\\|\\*a\\*" in text
    assert "it \\| is" in text


def test_a_value() -> None:
    text = card(subject(()), Decision(True))
    assert "Says the value of `digit`" in text
    assert "Rows are the true classes" not in text
