"""Pictures and the page: complete, self-contained, safe against hostile names, the same twice."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from runforge.errors import DataError
from runforge.history import History, HistoryRow
from runforge.metrics.classification import classification_figures
from runforge.metrics.figures import Confusion, Figure, Figures
from runforge.metrics.regression import regression_figures
from runforge.metrics.worst import NOT_FINITE, worst_cases
from runforge.predictions import Predictions
from runforge.report.background import Background, data_summary
from runforge.report.contact_sheet import Tile, contact_sheet
from runforge.report.embedding import encoded
from runforge.report.page import page
from runforge.report.pictures import confusion_picture, pictures
from runforge.report.template import number
from runforge.sample import Shown
from runforge.schema import Schema

HOSTILE = ("<script>alert(1)</script>", "日本語 $x^2$ \u202e", "=cmd|' /C'!A0", "long " * 40)
HISTORY = History(
    (
        HistoryRow(0, 10, {"train/loss": 1.0, "learning_rate": 1e-3}),
        HistoryRow(1, 20, {"train/loss": 0.5, "validation/loss": 0.6}),
    )
)


def classified(names: tuple[str, ...] = HOSTILE, count: int = 60) -> Predictions:
    generator = np.random.default_rng(0)
    targets = np.concatenate(
        [np.arange(len(names)), generator.integers(0, len(names), count - len(names))]
    )
    values = generator.dirichlet(np.ones(len(names)), count).astype(np.float32)
    ids = np.array([f"{row:032x}" for row in range(count)])
    return Predictions(ids, "test", targets, values, names)


def valued(*values: float) -> Predictions:
    ids = np.array([f"id{row}" for row in range(len(values))])
    targets = np.arange(len(values), dtype=np.float64)
    return Predictions(ids, "test", targets, np.array(values)[:, None], ())


def background(quarantine: Path | None = None, **changed: Any) -> Background:
    schema = Schema(
        modality={},
        layout={},
        packed_shape=(8, 8, 3),
        packed_dtype="uint8",
        input_shape=(3, 8, 8),
        target_kind="class",
        target_name="<b>target</b>",
        classes=HOSTILE,
        statistics={},
        target_mean=0,
        target_std=1,
        split_counts={"train": dict.fromkeys(HOSTILE, 7), "test": dict.fromkeys(HOSTILE, 3)},
        quality={"refused": 2, "look_alike_classes": [["<i>a", "A"]]},
        fingerprint="f00d",
    )
    lineage = {
        "git": {"commit": "abc123", "dirty": True, "diff": "-<img src=x onerror=alert(1)>\n" * 9},
        "data_dvc_hash": "beef.dir",
        "command": "runforge train '<u>'",
    }
    parts = {
        "run_id": "0123abcd",
        "schema": schema,
        "history": HISTORY,
        "lineage": lineage,
        "configuration": {"data": {"root": "<s>data</s>"}},
        "quarantine": quarantine,
    }
    return Background(**{**parts, **changed})  # type: ignore[arg-type]


def render(predictions: Predictions, figures: Figures, back: Background | None = None) -> str:
    picture = np.zeros((8, 8, 3), np.uint8)
    shown = [Shown(picture, ()), Shown(None, ("<a>: 1", "b: 2"))]
    cases = worst_cases(predictions, 4)
    tiles = tuple(Tile(case, shown[n % 2]) for n, case in enumerate(cases))
    drawn = pictures(figures, HISTORY)
    return page(predictions, figures, back or background(), pictures=drawn, tiles=tiles)


class Tags(HTMLParser):
    """The elements and addresses of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        assert not any(name.startswith("on") for name, _ in attrs)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    quarantine = tmp_path_factory.mktemp("q") / "quarantine.csv"
    quarantine.write_text("where,reason\n<script>x.png,is <b>broken</b>\n", encoding="utf-8")
    predictions = classified()
    figures = classification_figures(predictions, resamples=100, seed=0)
    return render(predictions, figures, background(quarantine))


def test_hostile_names_stay_text(html: str) -> None:
    tags = Tags()
    tags.feed(html)
    assert not tags.names & {"script", "s", "u", "a", "link", "iframe"}
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    for raw in ("<script", "<b>target", "<i>a", "<s>data", "<u>", "<img src=x", "<b>broken", "<a>"):
        assert raw not in html


def test_the_page_loads_nothing(html: str) -> None:
    tags = Tags()
    tags.feed(html)
    assert tags.addresses and all(a.startswith("data:image/") for a in tags.addresses)
    assert "default-src 'none'" in html
    assert not re.search(r"url\(|@import|https?://", html)


def test_the_page_holds_every_part(html: str) -> None:
    for part in (
        "95% interval",
        "calibration_error",
        "Each class",
        "Worst predictions",
        "Quarantined: 1",
        "abc123",
        "beef.dir",
        "f00d",
        "0123abcd",
        "git · dirty",
    ):
        assert part in html, part
    assert html.count("<figure") == 5 + 4  # confusion, three curves, learning; four tiles


def test_the_same_parts_are_the_same_page(html: str) -> None:
    predictions = classified()
    figures = classification_figures(predictions, resamples=100, seed=0)
    assert render(predictions, figures) == render(predictions, figures)


def test_values_have_residuals_in_place_of_classes() -> None:
    predictions = valued(0.5, 1.0, 7.0, 2.0, np.nan)
    figures = regression_figures(predictions, resamples=100, seed=0)
    html = render(predictions, figures)
    assert "Each class" not in html and 'alt="Residuals"' in html and 'alt="Confusion"' not in html
    assert "1 of 5 samples" in html and NOT_FINITE in html


def test_what_is_undefined_says_why() -> None:
    figures = Figures({"x": Figure(None, reason="nothing <there>")}, ("x",))
    html = render(valued(1.0), figures)
    assert "undefined: nothing &lt;there&gt;" in html


@pytest.mark.parametrize("count", [2, 10, 100])
def test_a_confusion_picture_of_any_size(count: int) -> None:
    names = tuple(f"{HOSTILE[n % 4]}{n}" for n in range(count))
    counts = np.arange(count * count, dtype=np.int64).reshape(count, count)
    content = confusion_picture(Confusion(names, counts))
    width, height = Image.open(io.BytesIO(content)).size
    assert width > 1.5 * height and len(content) < 400_000
    if count == 2:
        assert confusion_picture(Confusion(names, counts)) == content


def test_an_empty_history_and_an_empty_matrix_are_drawn() -> None:
    figures = Figures({}, (), confusion=Confusion(("a", "b"), np.zeros((2, 2), np.int64)))
    assert set(pictures(figures, History(()))) == {"confusion"}


def test_a_small_picture_is_kept_exactly_and_a_large_one_made_small() -> None:
    generator = np.random.default_rng(0)
    small = generator.integers(0, 255, (8, 6, 3), dtype=np.uint8)
    kept = encoded(small)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(kept.content))), small)
    large = encoded(np.zeros((400, 200, 3), np.uint8))
    assert kept.exact and not large.exact
    assert Image.open(io.BytesIO(large.content)).size == (80, 160)


def test_the_contact_sheet_is_a_picture() -> None:
    cases = worst_cases(classified(), 7)
    tiles = tuple(Tile(case, Shown(None, ("x" * 99,) * 40)) for case in cases)
    assert Image.open(io.BytesIO(contact_sheet(tiles))).size[0] > 1000


def test_worst_are_wrong_ones_by_their_true_class() -> None:
    values = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.55, 0.45], [np.nan, 0.1]])
    targets = np.array([0, 0, 0, 0, 0])
    predictions = Predictions(np.array(list("abcde")), "test", targets, values, ("x", "y"))
    cases = worst_cases(predictions, 9)
    assert [case.sample_id for case in cases] == ["e", "c", "b", "d", "a"]
    assert [case.right for case in cases] == [False, False, False, True, True]
    assert [fact.text for fact in cases[1].facts] == ["x", "y", "0.200", "0.800"]
    assert worst_cases(predictions, 0) == ()


def test_worst_values_miss_most() -> None:
    cases = worst_cases(valued(0.5, 9.0, 2.1, np.inf), 3)
    assert [case.sample_id for case in cases] == ["id3", "id1", "id0"]
    assert cases[1].facts[2].text == "-8"


def test_data_are_counted_in_the_order_of_splits_and_classes() -> None:
    schema = replace(
        background().schema,
        classes=("2", "10"),
        split_counts={"test": {"10": 1, "2": 3}, "train": {"10": 4, "2": 0}},
    )
    summary = data_summary(background(schema=schema))
    assert summary.splits == ("train", "test")
    assert [(row.name, row.counts) for row in summary.rows] == [("2", (0, 3)), ("10", (4, 1))]
    assert summary.totals == (4, 4)


def test_a_damaged_quarantine_is_told(tmp_path: Path) -> None:
    path = tmp_path / "quarantine.csv"
    path.write_text("a,b\n1,2\n")
    figures = Figures({"x": Figure(1.0)}, ("x",))
    with pytest.raises(DataError, match="no whole quarantine"):
        render(valued(1.0), figures, background(path))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0"),
        (1.0, "1.0000"),
        (0.98765, "0.9877"),
        (0.00012, "1.20e-04"),
        (2987.31, "2987"),
        (3.0, "3"),
        (57.914, "57.91"),
        (-123456.7, "-1.2346e+05"),
    ],
)
def test_numbers_are_read_by_people(value: float | None, text: str) -> None:
    assert number(value) == text
