"""A comparison as an MLflow run of its own, so that the UI shows it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from runforge.comparing.files import test_rows
from runforge.comparison import Comparison
from runforge.tracking.run import Run, true_status
from runforge.tracking.search import COMPARISON, KIND
from runforge.tracking.store import Store, for_comparisons

COMPARED = "runforge.compared"
"""The tag with the ids of the runs that were compared, in their order."""
NOTE = "mlflow.note.content"
"""The tag that the UI shows as a run's description; Markdown."""

FOLDER, TABLE = "comparison", "comparison_table.json"


def record(store: Store, comparison: Comparison, folder: Path, command: str) -> str:
    """Records the files in `folder` and the differences as metrics; returns the run's id.

    In an experiment of their own, beside the one of the runs.
    """
    name = " vs ".join(run.name for run in comparison.runs)
    tags = {
        KIND: COMPARISON,
        COMPARED: ",".join(run.run_id for run in comparison.runs),
        "runforge.command": command,
        NOTE: _note(comparison),
    }
    run = Run.start(for_comparisons(store), name, tags)
    with true_status(run):
        run.log_figures(dict(_figures(comparison)))
        run.log_folder(folder, FOLDER)
        run.log_table(TABLE, test_rows(comparison))
    return run.run_id


def _figures(comparison: Comparison) -> Iterator[tuple[str, float | None]]:
    """By metric; of more than two runs by pair and metric.

    Intervals and p-values are in the table and the files: a chart for each says nothing.
    """
    for pair in comparison.pairs:
        first, second = comparison.letters(pair)
        prefix = "" if len(comparison.pairs) == 1 else f"{first}-{second}/"
        for found in pair.differences:
            yield f"difference/{prefix}{found.metric}", found.difference


def _note(comparison: Comparison) -> str:
    """The verdicts, and links to the runs; names are shown as they are, not as Markdown."""
    lines = [*comparison.verdicts, *comparison.samples.notes]
    for run in comparison.runs:
        address = f"#/experiments/{run.experiment_id}/runs/{run.run_id}"
        lines.append(f"* {run.letter}: [{run.run_id}]({address})")
    return "\n\n".join(lines)
