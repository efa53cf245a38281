"""What `dvc metrics` and `dvc plots` show of the pipeline's evaluation. See decision 0027."""

from __future__ import annotations

import json
from pathlib import Path

from runforge import places, selection
from runforge.metrics.figures import MAIN_METRICS
from runforge.spreadsheet import write_csv

PLOTS = {
    "confusion": ("actual", "predicted"),
    "roc": ("class", "false_positive_rate", "true_positive_rate"),
    "precision_recall": ("class", "recall", "precision"),
    "reliability": ("class", "confidence", "share_right"),
    "residuals": ("id", "actual", "predicted", "residual"),
}
"""The columns of each file that `dvc.yaml` draws a plot from."""


def hand_over(project: Path) -> None:
    """Completes `out/evaluation/` and writes `metrics.json`, which git keeps.

    In it: the main figures, and what experiments may be chosen by as `validation.accuracy`.
    DVC calls a plot whose file is missing an error, and draws none of a file without rows: so
    what a task has nothing of, as a regression of a confusion matrix, is a line of column names.
    """
    evaluation = places.evaluation(project)
    for name, columns in PLOTS.items():
        path = evaluation / f"{name}.csv"
        if not path.exists():
            write_csv(path, columns, ())
    main, chosen_by = (
        json.loads((evaluation / name).read_text(encoding="utf-8"))
        for name in (MAIN_METRICS, selection.FILE)
    )
    text = json.dumps({**main, **({selection.SPLIT: chosen_by} if chosen_by else {})}, indent=2)
    (project / places.METRICS).write_text(text + "\n", encoding="utf-8")
