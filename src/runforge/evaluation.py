"""`out/evaluation/`: everything that an evaluation hands on, whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from runforge import selection
from runforge.atomic import new_folder
from runforge.history import History
from runforge.manifest import read_places
from runforge.metrics.figures import MAIN_METRICS, METRICS, NOTES, Curve, Figures, Scatter
from runforge.metrics.worst import worst_cases, wrong_count
from runforge.predictions import Predictions
from runforge.report.background import Background
from runforge.report.contact_sheet import Tile, contact_sheet
from runforge.report.page import page
from runforge.report.pictures import pictures
from runforge.sample import Shown
from runforge.schema import Schema
from runforge.spreadsheet import write_csv

PREDICTIONS, REPORT = "predictions.parquet", "report.html"
CONFUSION, RESIDUALS, PER_CLASS = "confusion.csv", "residuals.csv", "per_class.csv"
PICTURES = "pictures"

DIGITS = 6
"""Significant digits of a point of a curve."""


def write_evaluation(  # noqa: PLR0913 - what was found and where from, each named by the caller
    folder: Path,
    *,
    predictions: Predictions,
    figures: Figures,
    chosen_by: Mapping[str, float],
    schema: Schema,
    history: History,
    shown: Callable[[int], Shown],
    worst: int,
    lineage: Mapping[str, Any],
    configuration: Mapping[str, Any],
    run_id: str,
    quarantine: Path | None,
    manifest: Path | None,
) -> None:
    """Writes the folder in place of what is there; a failure leaves that as it was.

    `chosen_by`: the validation figure by which the run may be chosen, where it has one. `shown`
    gives the sample of a row of `predictions` as a person sees it; it is asked for the `worst`
    samples only. `quarantine` and `manifest` are the prepared set's; None: what was refused, or
    where a sample comes from, is not known.
    """
    background = Background(run_id, schema, history, lineage, configuration, quarantine)
    cases = worst_cases(predictions, worst)
    places = read_places(manifest, {case.sample_id for case in cases}) if manifest else {}
    tiles = tuple(Tile(c, shown(c.row), places.get(c.sample_id, "")) for c in cases)
    drawn = pictures(figures, history)
    with new_folder(folder) as temporary:
        predictions.write(temporary / PREDICTIONS)
        _write_metrics(temporary / METRICS, figures.numbers())
        _write_metrics(temporary / MAIN_METRICS, figures.main_numbers())
        _write_metrics(temporary / selection.FILE, chosen_by)
        _write_tables(temporary, predictions, figures)
        notes = "".join(f"{line}\n" for line in figures.told())
        (temporary / NOTES).write_text(notes, encoding="utf-8")
        _write_pictures(temporary / PICTURES, drawn, tiles, wrong_count(predictions))
        html = page(predictions, figures, background, pictures=drawn, tiles=tiles)
        (temporary / REPORT).write_text(html, encoding="utf-8")


def _write_metrics(path: Path, numbers: Mapping[str, float]) -> None:
    """Flat name → number; what is undefined is left out, and the report says why."""
    text = json.dumps(dict(numbers), indent=2, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def _write_tables(folder: Path, predictions: Predictions, figures: Figures) -> None:
    if figures.confusion is not None:
        write_csv(folder / CONFUSION, ("actual", "predicted"), _pairs(predictions))
    if figures.per_class:
        write_csv(
            folder / PER_CLASS,
            ("class", "precision", "recall", "f1", "support"),
            ((r.name, r.precision, r.recall, r.f1, r.support) for r in figures.per_class),
        )
    if figures.scatter is not None:
        columns = ("id", "actual", "predicted", "residual")
        write_csv(folder / RESIDUALS, columns, _residuals(figures.scatter))
    for curve in figures.curves:
        names = ("class", curve.x_name, curve.y_name)
        write_csv(folder / f"{curve.name}.csv", names, _points(curve))


def _pairs(predictions: Predictions) -> Iterable[Sequence[str]]:
    """One row for each sample with a prediction, so that the cells sum to the matrix.

    Class names as every CSV file shows them; as they are, they stand in `predictions.parquet`.
    """
    finite = predictions.only_finite()
    if finite is not None:
        for target, guess in zip(finite.targets, finite.predicted, strict=True):
            yield predictions.classes[target], predictions.classes[guess]


def _residuals(scatter: Scatter) -> Iterable[Sequence[object]]:
    columns = (scatter.ids, scatter.actual, scatter.predicted, scatter.residuals)
    return zip(*(column.tolist() for column in columns), strict=True)


def _points(curve: Curve) -> Iterable[Sequence[object]]:
    for series in curve.series:
        for x, y in zip(series.x.tolist(), series.y.tolist(), strict=True):
            yield series.name, f"{x:.{DIGITS}g}", f"{y:.{DIGITS}g}"


def _write_pictures(
    folder: Path, drawn: Mapping[str, bytes], tiles: tuple[Tile, ...], wrong: int | None
) -> None:
    folder.mkdir()
    for name, content in drawn.items():
        (folder / f"{name}.png").write_bytes(content)
    if tiles:
        (folder / "worst.png").write_bytes(contact_sheet(tiles, wrong))
