"""Hydra: what it composes of `conf/` and overrides, and how it runs the trials of a sweep."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from runforge.config_check import CONF, CONFIG, Origin
from runforge.config_guard import check_environment, check_hydra, check_resolvers
from runforge.config_mistakes import check_sweep, composition_mistake, value_mistake
from runforge.errors import ConfigError
from runforge.meanings import key_of
from runforge.override_mistakes import Composition, check_words
from runforge.overrides import is_hydras
from runforge.targets import TARGET


def composed(project: Path, overrides: Sequence[str]) -> tuple[dict[str, Any], Mapping[str, str]]:
    """Plain values, every interpolation resolved, and the choice of each group."""
    from hydra import compose as hydra_compose
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    check_words(overrides, _groups(project))
    with _one_line(project, overrides), _hydra(project):
        made = hydra_compose(CONFIG, list(overrides), return_hydra_config=True)
    check_hydra(_container(made.hydra))
    choices = {str(k): str(v) for k, v in made.hydra.runtime.choices.items()}
    origin = Origin(project, overrides, choices)
    try:
        # Hydra's own node holds interpolations that only its launchers can resolve.
        own = OmegaConf.masked_copy(made, [str(key) for key in made if key != "hydra"])
        check_resolvers(_container(own), origin.of)
        values = OmegaConf.to_container(own, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise value_mistake(error, origin) from error
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}, choices


def trials(project: Path, overrides: Sequence[str]) -> list[tuple[str, ...]]:
    """The overrides of each trial of a sweep, as Hydra's own sweeper combines them.

    With those of `hydra.sweeper.params`, which `conf/` may hold.
    """
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser

    check_words(overrides, _groups(project))
    with _one_line(project, overrides), _hydra(project) as loader:
        sweeper = _container(_sweep_configuration(project, loader, overrides).hydra.sweeper)
        listed = [f"{key}={value}" for key, value in (sweeper.get("params") or {}).items()]
        own = [override for override in overrides if not is_hydras(override)]
        parsed = OverridesParser.create(config_loader=loader).parse_overrides([*listed, *own])
        check_sweep(str(sweeper[TARGET]), parsed)
        [jobs] = BasicSweeper.split_arguments(parsed, None) or [[]]
    return [tuple(job) for job in jobs]


def _sweep_configuration(project: Path, loader: Any, overrides: Sequence[str]) -> Any:
    """What Hydra's own node says of a sweep: launcher, and values that `conf/` varies.

    Without the values that are given: a key may be there in the swept choices alone.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.types import RunMode

    parsed = OverridesParser.create().parse_overrides(list(overrides))
    fixed = [override for override in parsed if not override.is_sweep_override()]
    groups = _groups(project)
    wanted = [o for o in fixed if o.key_or_group in groups or o.is_hydra_override()]
    given = [str(override.input_line) for override in wanted]
    made = loader.load_configuration(CONFIG, given, run_mode=RunMode.MULTIRUN)
    check_hydra(_container(made.hydra))
    return made


def launch(
    project: Path,
    overrides: Sequence[str],
    trials: Sequence[tuple[str, ...]],
    task: Callable[[tuple[str, ...]], None],
) -> None:
    """Runs `task` with the overrides of each trial, by the launcher that `overrides` choose."""
    from hydra._internal.callbacks import Callbacks
    from hydra.core.plugins import Plugins
    from hydra.types import HydraContext

    def job(_: Any) -> None:
        from hydra.core.hydra_config import HydraConfig

        task(tuple(HydraConfig.get().overrides.task))

    with _hydra(project) as loader:
        with _one_line(project, overrides):
            made = _sweep_configuration(project, loader, overrides)
            context = HydraContext(config_loader=loader, callbacks=Callbacks(made))
            launcher = Plugins.instance().instantiate_launcher(
                hydra_context=context, task_function=job, config=made
            )
        most = made.hydra.sweeper.max_batch_size or len(trials)
        for start in range(0, len(trials), most or 1):
            batch = [list(trial) for trial in trials[start : start + most]]
            for done in launcher.launch(batch, initial_job_idx=start):
                _ = done.return_value  # raises what the job raised


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


@contextmanager
def _hydra(project: Path) -> Iterator[Any]:
    """Hydra with `conf/`: its reader of configurations."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    check_environment()
    with initialize_config_dir(str(project / CONF), job_name="runforge", version_base="1.3"):
        yield GlobalHydra.instance().config_loader()


@contextmanager
def _one_line(project: Path, overrides: Sequence[str]) -> Iterator[None]:
    """What Hydra says of a mistake becomes a `ConfigError`."""
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:
        raise _mistake(error, project, overrides) from error


def _mistake(error: Exception, project: Path, overrides: Sequence[str]) -> ConfigError:
    from omegaconf import OmegaConf

    def chosen() -> tuple[Sequence[str], Mapping[str, str]]:
        choosing = [o for o in overrides if key_of(o) in _groups(project)]
        for given in (choosing, []):
            with suppress(ConfigError):
                values, choices = composed(project, given)
                return list(flatten(values)), choices
        return [], {}

    return composition_mistake(error, Composition(project, overrides, OmegaConf.load, chosen))


def _groups(project: Path) -> list[str]:
    return [path.name for path in (project / CONF).iterdir() if path.is_dir()]


def _container(node: Any) -> dict[str, Any]:
    """As it is written, nothing resolved."""
    from omegaconf import OmegaConf

    values = OmegaConf.to_container(node, resolve=False)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}
