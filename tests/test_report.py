"""Pictures and the page: complete, self-contained, safe against hostile names, the same twice."""

from __future__ import annotations

import io
import re
import warnings
from dataclasses import replace
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image
from scipy.stats import binomtest

from runforge.errors import DataError
from runforge.history import History, HistoryRow
from runforge.metrics.classification import classification_figures
from runforge.metrics.figures import Confusion, Curve, Figure, Figures, Series
from runforge.metrics.regression import regression_figures
from runforge.metrics.worst import NOT_FINITE, sections, worst_cases, wrong_count
from runforge.predictions import Predictions
from runforge.report.background import Background, data_summary
from runforge.report.canvas import DOTS_PER_INCH, drawn
from runforge.report.contact_sheet import Tile, contact_sheet
from runforge.report.embedding import encoded
from runforge.report.page import page
from runforge.report.pictures import (
    _draw_confusion,
    _draw_curve,
    confusion_picture,
    pictures,
)
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
    tiles = tuple(Tile(case, shown[n % 2], f"<i>/{n}.png") for n, case in enumerate(cases))
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
        "Wrong answers: 4 of",
        "&lt;i&gt;/0.png",
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
    assert (width > 1.5 * height) == (count <= 20) and len(content) < 400_000
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
    width, height = Image.open(io.BytesIO(contact_sheet(tiles, 40))).size
    assert width > 1000 and height > 1200  # forty lines of each are there to be read


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


def test_wrong_answers_come_first_and_right_ones_are_not_called_so() -> None:
    values = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.55, 0.45], [0.7, 0.3]])
    targets = np.zeros(5, dtype=np.int64)
    predictions = Predictions(np.array(list("abcde")), "test", targets, values, ("x", "y"))
    wrong, cases = wrong_count(predictions), worst_cases(predictions, 4)
    assert wrong == 2
    told = [(title, [c.sample_id for c in cases[part]]) for title, part in sections(cases, wrong)]
    assert told == [("Wrong answers: 2", ["c", "b"]), ("Right, but least sure", ["d", "e"])]
    assert sections(cases[:1], wrong) == (("Wrong answers: 1 of 2", slice(1)),)
    assert [title for title, _ in sections(cases[2:], 0)] == ["Right, but least sure"]
    assert wrong_count(valued(1.0)) is None
    assert sections(worst_cases(valued(1.0, 3.0), 2), None)[0][0] == "Largest errors"


def extents(draw: Any, width: float, height: float) -> list[tuple[str, Any]]:
    """Every text of a picture that is not empty, with its place in pixels."""
    found: list[tuple[str, Any]] = []

    def drawing(picture: Any) -> None:
        draw(picture)
        picture.draw_without_rendering()
        renderer = picture.canvas.get_renderer()
        outside = {
            label
            for axes in picture.axes
            for axis in (axes.xaxis, axes.yaxis)
            for label, at in zip(axis.get_ticklabels(), axis.get_ticklocs(), strict=True)
            if not min(axis.get_view_interval()) <= at <= max(axis.get_view_interval())
        }
        for text in picture.findobj(Text):
            if text.get_text().strip() and text.get_visible() and text not in outside:
                found.append((text.get_text(), text.get_window_extent(renderer)))
        found.append(("", picture.bbox))

    drawn(width, height, drawing)
    return found


@pytest.mark.parametrize(
    "names",
    [
        ("no", "yes"),
        ("benign", "malignant"),
        ("a", "b", "c"),
        HOSTILE,
        tuple(f"class_{n:02}" for n in range(12)),
        tuple(f"class_{n:02}" for n in range(30)),
    ],
)
def test_no_text_of_a_picture_is_clipped(names: tuple[str, ...]) -> None:
    """The title of the right-hand matrix was, of two classes."""
    predictions = classified(names, 90)
    figures = classification_figures(predictions, resamples=20, seed=0)
    assert figures.confusion is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        size = Image.open(io.BytesIO(confusion_picture(figures.confusion))).size
        inches = (size[0] / DOTS_PER_INCH, size[1] / DOTS_PER_INCH)
        parts = [(partial(_draw_confusion, figures.confusion), *inches)]
        parts += [(partial(_draw_curve, curve), 3.7, 3.9) for curve in figures.curves]
        for part in parts:
            *texts, (_, page_box) = extents(*part)
            assert texts
            for text, box in texts:
                assert box.x0 >= 0 and box.y0 >= 0, text
                assert box.x1 <= page_box.x1 and box.y1 <= page_box.y1, text


def test_bins_of_few_samples_are_not_drawn_nor_joined() -> None:
    counts = np.array([2, 5, 60])
    series = Series("x", np.array([0.2, 0.5, 0.9]), np.array([0.5, 0.4, 0.95]), counts)
    curve = Curve("reliability", "Reliability", "confidence", "share_right", (series,), True)
    lines: list[tuple[list[float], list[float]]] = []
    texts: list[str] = []

    def drawing(picture: Any) -> None:
        _draw_curve(curve, picture)
        (axes,) = picture.axes
        lines.extend((list(one.get_xdata()), list(one.get_ydata())) for one in axes.lines)
        texts.extend(one.get_text() for one in axes.texts)

    drawn(3.7, 3.9, drawing)
    diagonal, *intervals = lines
    assert diagonal == ([0, 1], [0, 1])
    assert [x for x, _ in intervals] == [[0.5, 0.5], [0.9, 0.9]]
    for (_, ends), (hits, count) in zip(intervals, ((2, 5), (57, 60)), strict=True):
        assert ends == pytest.approx(list(binomtest(hits, count).proportion_ci()))
    assert texts == ["5", "60", "2 in bins of fewer than 5: not drawn"]


def test_every_line_of_a_sample_is_on_the_page() -> None:
    predictions = classified()
    figures = classification_figures(predictions, resamples=20, seed=0)
    (case,) = worst_cases(predictions, 1)
    lines = tuple(f"column {n}: {n}" for n in range(70))
    tiles = (Tile(case, Shown(None, lines)),)
    html = page(predictions, figures, background(), pictures={}, tiles=tiles)
    assert all(f"column {n}: {n}" in html for n in range(70))
    assert "<summary>10 more</summary>" in html
    assert "max-height: 230px" not in html


def test_the_baseline_and_the_classes_intervals_are_on_the_page() -> None:
    predictions = classified(("no", "yes"), 60)
    figures = classification_figures(predictions, resamples=20, seed=0, usual=0)
    html = render(predictions, figures)
    assert "Against always saying &#39;no&#39;" in html and "The model is" in html
    hits = int(figures.confusion.counts[0, 0])
    ends = binomtest(hits, int(figures.confusion.counts[0].sum())).proportion_ci()
    assert f"{ends.low:.4f} – {ends.high:.4f}" in html
