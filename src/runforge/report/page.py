"""`report.html`: the whole evaluation as one page that needs nothing but itself.

Names of classes, files and settings come from outside: the template escapes all of them, and the
page's own policy lets it load and run nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import yaml

from runforge.metrics.at_bound import share
from runforge.metrics.figures import ClassRow, Figure, Figures
from runforge.metrics.paired import p_text
from runforge.metrics.worst import sections, wrong_count
from runforge.predictions import Predictions
from runforge.report.background import LONG, Background, data_summary, flattened
from runforge.report.contact_sheet import Tile
from runforge.report.embedding import address, encoded
from runforge.report.template import number, template

MOST_REFUSED = 50
"""Refused samples that the page lists; the rest is counted."""

MOST_LINES = 60
"""Lines of a sample that are shown at once; the rest is folded away."""

CAPTIONS = {
    "confusion": "Rows are the true classes, columns the predicted ones; shares of a row sum to 1.",
    "roc": "Each class against the rest; the dashed line is chance.",
    "precision_recall": "Each class against the rest.",
    "reliability": "Samples of like confidence: the share of them that is right, with its 95%"
    " interval and their number. On the dashed line a model that says 0.8 is right in 8 of 10"
    " cases.",
    "residuals": "On the dashed lines the prediction is the truth.",
    "learning_curves": "By optimizer step.",
}
"""What a picture shows, by its name; a picture without one needs no words."""

WIDE = ("confusion", "residuals", "learning_curves")
"""Pictures that take the page's whole width."""


@dataclass(frozen=True, slots=True)
class Strip:
    """An interval of 0..1 as a bar, in per cent of its width."""

    left: float
    width: float
    at: float


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One metric as text."""

    name: str
    figure: Figure
    value: str
    interval: str
    strip: Strip | None


@dataclass(frozen=True, slots=True)
class EmbeddedPicture:
    """A picture as the page holds it."""

    name: str
    title: str
    caption: str
    address: str
    """`data:` address with the content."""
    wide: bool


@dataclass(frozen=True, slots=True)
class ClassShares:
    """One class as text."""

    row: ClassRow
    precision: str
    """95% interval; empty where undefined."""
    recall: str


@dataclass(frozen=True, slots=True)
class Section:
    """Samples under a heading."""

    title: str
    tiles: list[EmbeddedTile]
    of_text: bool
    """Some are shown as lines, which take more room than a picture."""


@dataclass(frozen=True, slots=True)
class EmbeddedTile:
    """One of the worst-predicted samples."""

    tile: Tile
    address: str
    """Empty where the sample is shown as lines of text."""
    exact: bool


def page(
    predictions: Predictions,
    figures: Figures,
    background: Background,
    *,
    pictures: Mapping[str, bytes],
    tiles: tuple[Tile, ...],
) -> str:
    """The page's HTML; the same parts give the same text."""
    summary = data_summary(background)
    lineage = flattened(background.lineage)
    main = [_metric_row(name, figures.metrics[name]) for name in figures.main]
    rest = [_metric_row(n, f) for n, f in figures.metrics.items() if n not in figures.main]
    return template("report.html.j2").render(
        background=background,
        figures=figures,
        samples=len(predictions.ids),
        split=predictions.split,
        headline=main[0],
        main=main,
        rest=rest,
        pictures=[_embedded(name, content) for name, content in pictures.items()],
        sections=[
            _section(title, tiles[part])
            for title, part in sections([tile.case for tile in tiles], wrong_count(predictions))
            if tiles
        ],
        classes=list(_class_shares(figures)),
        most_lines=MOST_LINES,
        p_text=p_text,
        summary=summary,
        refused=summary.refused[:MOST_REFUSED],
        short_lineage=[row for row in lineage if len(row[1]) <= LONG],
        long_lineage=[row for row in lineage if len(row[1]) > LONG],
        configuration=_as_yaml(background.configuration),
        number=number,
    )


def _class_shares(figures: Figures) -> Iterator[ClassShares]:
    """Precision and recall with Clopper and Pearson's interval, of every class."""
    if figures.confusion is None:
        return
    counts = figures.confusion.counts
    predicted = counts.sum(axis=0)
    for code, row in enumerate(figures.per_class):
        hits = int(counts[code, code])
        yield ClassShares(row, _ends(hits, int(predicted[code])), _ends(hits, row.support))


def _ends(hits: int, count: int) -> str:
    if not count:
        return ""
    ends = share(hits, count)
    return f"{number(ends.low)} – {number(ends.high)}"


def _section(title: str, tiles: tuple[Tile, ...]) -> Section:
    of_text = any(tile.shown.lines for tile in tiles)
    return Section(title, [_tile(tile) for tile in tiles], of_text)


def _metric_row(name: str, figure: Figure) -> MetricRow:
    interval, strip = "", None
    if figure.value is not None and figure.low is not None and figure.high is not None:
        interval = f"{number(figure.low)} – {number(figure.high)}"
        if figure.low >= 0 and figure.high <= 1:
            width = max(1.0, 100 * (figure.high - figure.low))
            strip = Strip(min(99.0, 100 * figure.low), width, 100 * figure.value)
    return MetricRow(name, figure, number(figure.value), interval, strip)


def _embedded(name: str, content: bytes) -> EmbeddedPicture:
    title = name.replace("_", " ").capitalize()
    caption = CAPTIONS.get(name, "")
    return EmbeddedPicture(name, title, caption, address("image/png", content), name in WIDE)


def _tile(tile: Tile) -> EmbeddedTile:
    if tile.shown.picture is None:
        return EmbeddedTile(tile, "", False)
    picture = encoded(tile.shown.picture)
    return EmbeddedTile(tile, address(picture.media_type, picture.content), picture.exact)


def _as_yaml(values: Mapping[str, object]) -> str:
    text: str = yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True)
    return text
