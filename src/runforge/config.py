"""The configuration: composed from `conf/` by Hydra, checked, written and read as `params.yaml`.

`composing` speaks to Hydra. DVC composes the same `conf/` by itself for
`dvc exp run -S …`, so nothing here may be needed for composing: the check comes afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from runforge import composing
from runforge.composing import flatten as flatten
from runforge.config_check import CONF, CONFIG, Origin, check
from runforge.errors import ConfigError
from runforge.hints import Mistyped, tried
from runforge.settings import Settings

PARAMS = "params.yaml"


@dataclass(frozen=True, slots=True)
class Composed:
    """A composed and checked configuration."""

    values: dict[str, Any]
    """Plain values, every interpolation resolved."""
    settings: Settings
    """The same, typed."""
    overrides: tuple[str, ...] = ()


def find_project(start: Path | None = None) -> Path:
    """The nearest folder, upwards from `start`, with a `dvc.yaml` and a `conf/`."""
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "dvc.yaml").is_file() and (folder / CONF / f"{CONFIG}.yaml").is_file():
            _check_name(folder)
            return folder
    mend = "change into the folder of your project"
    raise ConfigError(
        "no runforge project (dvc.yaml and conf/) here or above", where=str(start), mend=mend
    )


def _check_name(project: Path) -> None:
    try:
        str(project).encode()
    except UnicodeEncodeError:
        what = "its name holds bytes that are no UTF-8, and MLflow keeps no artifacts there"
        mend = "move the project to a folder of another name"
        raise ConfigError(what, where=str(project), mend=mend) from None


def compose(project: Path, overrides: Sequence[str] = ()) -> Composed:
    """Composes `conf/` with Hydra overrides and checks the result; raises `ConfigError`."""
    try:
        return composed(project, overrides)
    except Mistyped as error:
        raise tried(error, overrides, partial(composed, project)) from error


def composed(project: Path, overrides: Sequence[str]) -> Composed:
    """The same; a mistyped override is not looked into."""
    values, choices = composing.composed(project, overrides)
    origin = Origin(project, overrides, choices)
    return Composed(values, check(values, origin), tuple(overrides))


def read_params(project: Path) -> Composed:
    """Reads and checks `params.yaml`; raises `ConfigError`."""
    path = project / PARAMS
    if not path.is_file():
        raise ConfigError(
            f"there is no {PARAMS}", where=str(project), mend="run `dvc repro compose`"
        )
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mend = "run `dvc repro -f compose`"
        raise ConfigError(f"no valid YAML: {error}", where=PARAMS, mend=mend) from error
    if not isinstance(values, dict):
        raise ConfigError("holds no keys", where=PARAMS, mend="run `dvc repro -f compose`")
    return Composed(values, check(values, Origin(project, file=PARAMS)))


def experiment_name(project: Path) -> str:
    """The MLflow experiment of the project, without composing anything: commands that read runs.

    As `params.yaml` has it. `MLFLOW_EXPERIMENT_NAME`, set in a shell for something else, changes
    neither where runs are recorded nor where they are read.
    """
    return read_params(project).settings.experiment_name


def params_root(project: Path) -> str | None:
    """`data.root` as `params.yaml` has it now; None where it has none."""
    path = project / PARAMS
    values = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None
    data = values.get("data") if isinstance(values, dict) else None
    return str(data["root"]) if isinstance(data, dict) and "root" in data else None


def write_params(project: Path, composed: Composed) -> None:
    """Writes `params.yaml`, as DVC writes it too; an equal file stays as it is."""
    from omegaconf import OmegaConf

    path = project / PARAMS
    text = OmegaConf.to_yaml(OmegaConf.create(composed.values))
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def trials(project: Path, overrides: Sequence[str]) -> list[tuple[str, ...]]:
    """The overrides of each trial of a sweep, as Hydra's own sweeper combines them.

    With those of `hydra.sweeper.params`, which `conf/` may hold. Raises `ConfigError`.
    """
    try:
        return composing.trials(project, overrides)
    except Mistyped as error:

        def first(given: Sequence[str]) -> Composed:
            return composed(project, composing.trials(project, given)[0])

        raise tried(error, overrides, first) from error


def multirun(
    project: Path,
    overrides: Sequence[str],
    trials: Sequence[tuple[str, ...]],
    task: Callable[[tuple[str, ...]], None],
) -> None:
    """Runs `task` with the overrides of each trial, by the launcher that `overrides` choose.

    The trials are given: read again, what is shuffled would be others.
    """
    composing.launch(project, overrides, trials, task)
