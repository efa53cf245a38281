"""The configuration: composed from `conf/` by Hydra, checked, written and read as `params.yaml`.

The only module that speaks to Hydra and OmegaConf. DVC composes the same `conf/` by itself for
`dvc exp run -S …`, so nothing here may be needed for composing: the check comes afterwards.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from runforge.config_check import CONF, CONFIG, Origin, check
from runforge.config_guard import check_environment, check_hydra, check_resolvers
from runforge.config_mistakes import Composition, composition_mistake, value_mistake
from runforge.errors import ConfigError
from runforge.overrides import is_hydras, refuse_repeated
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
    values, choices = _hydra_compose(project, overrides)
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


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys joined by dots; a list is one value."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{name}."))
        else:
            flat[name] = value
    return flat


def _hydra_compose(
    project: Path, overrides: Sequence[str]
) -> tuple[dict[str, Any], Mapping[str, str]]:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    check_environment()
    refuse_repeated(overrides)
    try:
        with initialize_config_dir(str(project / CONF), version_base="1.3"):
            composed = hydra_compose(CONFIG, list(overrides), return_hydra_config=True)
    except Exception as error:
        raise _mistake(error, project, overrides) from error
    check_hydra(_container(composed.hydra))
    choices = {str(k): str(v) for k, v in composed.hydra.runtime.choices.items()}
    origin = Origin(project, overrides, choices)
    try:
        # Hydra's own node holds interpolations that only its launchers can resolve.
        own = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
        check_resolvers(_container(own), origin.of)
        values = OmegaConf.to_container(own, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise value_mistake(error, origin) from error
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}, choices


def _mistake(error: Exception, project: Path, overrides: Sequence[str]) -> ConfigError:
    from omegaconf import OmegaConf

    def known_keys() -> Sequence[str]:
        return list(flatten(_hydra_compose(project, [])[0]))

    return composition_mistake(error, Composition(project, overrides, OmegaConf.load, known_keys))


def _container(node: Any) -> dict[str, Any]:
    """As it is written, nothing resolved."""
    from omegaconf import OmegaConf

    values = OmegaConf.to_container(node, resolve=False)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def trials(project: Path, overrides: Sequence[str]) -> list[tuple[str, ...]]:
    """The overrides of each trial of a sweep, as Hydra's own sweeper combines them."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
        batches = BasicSweeper.split_arguments(parsed, None)
    except HydraException as error:
        raise _mistake(error, project, overrides) from error
    jobs = [tuple(job) for batch in batches for job in batch]
    return [tuple(o for o in job if not is_hydras(o)) for job in jobs]


def multirun(
    project: Path, overrides: Sequence[str], task: Callable[[tuple[str, ...]], None]
) -> None:
    """Runs `task` with the overrides of each trial, by the launcher that the overrides choose."""
    import hydra

    def job(_: Any) -> None:
        from hydra.core.hydra_config import HydraConfig

        task(tuple(HydraConfig.get().overrides.task))

    # Hydra builds launcher and sweeper from its own node.
    _hydra_compose(project, [override for override in overrides if is_hydras(override)])
    before = sys.argv
    sys.argv = ["runforge", "--multirun", *overrides]
    try:
        hydra.main(str(project / CONF), CONFIG, version_base="1.3")(job)()
    finally:
        sys.argv = before
