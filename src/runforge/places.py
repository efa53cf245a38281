"""Where things lie in a project."""

from __future__ import annotations

from pathlib import Path

METRICS = "metrics.json"
"""The main figures of the pipeline's evaluation, beside `dvc.yaml`, for git to keep."""

PIPELINE_FILES = ("dvc.lock", "params.yaml", METRICS)
"""What the pipeline rewrites beside `dvc.yaml`: their change makes no work tree dirty."""

NOT_THE_PIPELINES = ("--", ":/", *(f":(exclude,literal){name}" for name in PIPELINE_FILES))
"""Everything but these, as git's pathspecs where it is started in the project's folder."""

_TEMPORARY_COPIES = (".dvc", "tmp", "exps")


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


def choices(project: Path) -> Path:
    """What `trainer.auto` has chosen, a file for each configuration and machine."""
    return project / "out" / "auto"


def kept_rows(project: Path) -> Path:
    """Decoded rows of the last prepared set, for the next one."""
    return project / "out" / ".kept-rows"


def outermost_project(path: Path) -> Path:
    """The project that a folder belongs to, absolute.

    A folder under `<root>/.dvc/tmp/exps/` is in a throw-away copy of the git repository, made by
    `dvc exp run --temp` or `--queue`: it belongs to `<root>`, or to the folder in it that lies
    where it lies in the copy. Any other folder is its own project.
    """
    whole = path.resolve()
    parts, length = whole.parts, len(_TEMPORARY_COPIES)
    for start in range(1, len(parts) - length + 1):
        if parts[start : start + length] == _TEMPORARY_COPIES:
            return _copied(Path(*parts[:start]), parts[start + length :])
    return whole


def _copied(root: Path, below: tuple[str, ...]) -> Path:
    """The project under a DVC repository; `below` leads from its copies to the project's copy."""
    for start in range(1, len(below)):
        original = root.joinpath(*below[start:])
        if (original / "dvc.yaml").is_file():
            return original
    return root
