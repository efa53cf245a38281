"""What `dvc metrics` and `dvc plots` show of the pipeline's evaluation. See decision 0027."""

from __future__ import annotations

import shutil
from pathlib import Path

from runforge import places
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

    DVC calls a plot whose file is missing an error, and draws none of a file without rows: so
    what a task has nothing of, as a regression of a confusion matrix, is a line of column names.
    """
    evaluation = places.evaluation(project)
    for name, columns in PLOTS.items():
        path = evaluation / f"{name}.csv"
        if not path.exists():
            write_csv(path, columns, ())
    shutil.copyfile(evaluation / MAIN_METRICS, project / places.METRICS)
