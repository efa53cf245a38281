"""The files of a comparison, as they are recorded: JSON, CSV, a picture for each run, a page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from runforge.comparing.shown import MISSING, samples_shown
from runforge.comparison import Comparison, Moves
from runforge.report.change_picture import change_picture
from runforge.report.comparison_page import comparison_page
from runforge.spreadsheet import write_csv

JSON_FILE, PAGE = "comparison.json", "comparison.html"
CONFUSION, FLIPS, METRICS = "confusion_change.csv", "flips.csv", "metrics.csv"

CELL_COLUMNS = ("first", "second", "actual", "predicted", "first_count", "second_count", "change")
FLIP_COLUMNS = ("first", "second", "change", "id", "target", "first_predicted", "second_predicted")


def write_comparison(
    folder: Path, comparison: Comparison, project: Path, fingerprints: Sequence[str]
) -> None:
    """Writes every file; `fingerprints`: of the prepared sets that show the samples."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(comparison.to_dict(), indent=1, ensure_ascii=False, allow_nan=False)
    (folder / JSON_FILE).write_text(text + "\n", encoding="utf-8")
    rows = test_rows(comparison)
    if rows:
        write_csv(folder / METRICS, tuple(rows[0]), (tuple(row.values()) for row in rows))
    moves = comparison.moves
    if moves:
        write_csv(folder / FLIPS, FLIP_COLUMNS, _flips(comparison))
    if any(move.classes for move in moves):
        write_csv(folder / CONFUSION, CELL_COLUMNS, _cells(comparison))
    pictures = {move.second: _picture(comparison, move) for move in moves if move.classes}
    for number, content in pictures.items():
        name = f"confusion_change_{comparison.runs[number].letter}.png"
        (folder / name).write_bytes(content)
    flipped = {flip.sample_id for move in moves for flip in (*move.lost, *move.won)}
    shown = samples_shown(project, fingerprints, flipped) if flipped else None
    html = comparison_page(
        comparison,
        pictures=pictures,
        shown=shown or (lambda _: None),
        note=MISSING if flipped and shown is None else "",
    )
    (folder / PAGE).write_text(html, encoding="utf-8")


def test_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """One row for each pair and metric, as the UI shows it as a table."""
    rows = []
    for pair in comparison.pairs:
        first, second = comparison.letters(pair)
        for found in pair.differences:
            better = {"first": first, "second": second, None: ""}[found.winner]
            rows.append(
                {
                    "first": first,
                    "second": second,
                    "metric": found.metric,
                    "first_value": found.first,
                    "second_value": found.second,
                    "difference": found.difference,
                    "low": found.low,
                    "high": found.high,
                    "p_value": found.p_value,
                    "test": found.test,
                    "better_by_more_than_chance": better,
                }
            )
    return rows


def _picture(comparison: Comparison, move: Moves) -> bytes:
    first, second = comparison.runs[0].letter, comparison.runs[move.second].letter
    title = f"Confusion matrix, {second} less {first}"
    return change_picture(move.change, move.classes, title)


def _cells(comparison: Comparison) -> Iterator[Sequence[object]]:
    """The cells that some sample is in, of either run."""
    for move in comparison.moves:
        letters = comparison.runs[0].letter, comparison.runs[move.second].letter
        for row, actual in enumerate(move.classes):
            for column, predicted in enumerate(move.classes):
                was, now = int(move.first_counts[row, column]), int(move.second_counts[row, column])
                if was or now:
                    yield (*letters, actual, predicted, was, now, now - was)


def _flips(comparison: Comparison) -> Iterator[Sequence[object]]:
    for move in comparison.moves:
        letters = comparison.runs[0].letter, comparison.runs[move.second].letter
        for change, flips in (("lost", move.lost), ("won", move.won)):
            for flip in flips:
                yield (*letters, change, flip.sample_id, flip.target, flip.first, flip.second)
