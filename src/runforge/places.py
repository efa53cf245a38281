"""Where things lie in a project."""

from __future__ import annotations

from pathlib import Path


def prepared(project: Path) -> Path:
    """The prepared set of the DVC pipeline."""
    return project / "out" / "prepared"


def model(project: Path) -> Path:
    """The bundle of the DVC pipeline."""
    return project / "out" / "model"


def evaluation(project: Path) -> Path:
    """The evaluation of the DVC pipeline."""
    return project / "out" / "evaluation"


def runs(project: Path) -> Path:
    """The folders of all runs."""
    return project / "out" / "runs"


def run_folder(project: Path, run_id: str) -> Path:
    """What belongs to one run and must outlive the stages' outputs, which DVC deletes."""
    return runs(project) / run_id


def models(project: Path) -> Path:
    """Bundles of runs that were fetched to be used."""
    return project / "out" / "models"


def sets(project: Path) -> Path:
    """Prepared sets of `runforge train`, shared by all runs of the same data."""
    return project / "out" / "sets"
