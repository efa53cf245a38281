"""Holding a composed configuration against its schema: the first mistake, as one line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from runforge import meanings
from runforge.config_guard import check_secrets
from runforge.errors import ConfigError
from runforge.hints import WrongValue, candidates
from runforge.meanings import key_of
from runforge.settings import Settings
from runforge.signature import class_constant, node_problem
from runforge.targets import TARGET, nodes

CONF, CONFIG = "conf", "config"
LEARNS = "learns"
"""The constant of a task's class that says which kind of target it learns."""
MOST_SHOWN = 120
"""Characters of a value in a message."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the keys of a configuration come from, for messages."""

    project: Path
    overrides: Sequence[str] = ()
    choices: Mapping[str, str] = field(default_factory=dict)
    file: str | None = None
    """Set where the configuration was read from one file."""

    def of(self, key: str) -> str:
        """The override or the file that a key is set in; of several the nearest to the key."""
        found = [override for override in self.overrides if self._sets(override, key)]
        nearest = max(found, key=lambda override: len(key_of(override)), default=None)
        return f"override {nearest}" if nearest else self.file or self._file(key.split("."))

    @staticmethod
    def _sets(override: str, key: str) -> bool:
        name = key_of(override)
        added = override.startswith("+") and name.startswith(f"{key}.")
        return key == name or key.startswith(f"{name}.") or added

    def _file(self, path: list[str]) -> str:
        group = path[0]
        experiment = f"{CONF}/experiment/{self.choices.get('experiment')}.yaml"
        own = f"{CONF}/{group}/{self.choices.get(group)}.yaml"
        for name, inside in ((experiment, path), (own, path[1:])):
            if _has(self.project / name, inside):
                return name
        return own if (self.project / own).is_file() else f"{CONF}/{CONFIG}.yaml"


def check(values: Mapping[str, Any], origin: Origin) -> Settings:
    """Holds a configuration against its schema; raises `ConfigError` for the first mistake."""
    check_secrets(values, origin.of)
    try:
        settings = Settings.model_validate(dict(values))
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False)
        raise _mistake(problems, (), values, origin) from None
    for path, node in nodes(values):
        _check_node(path, node, values, origin)
    _check_task(settings, origin)
    _check_machine(settings, origin)
    return settings


def _check_task(settings: Settings, origin: Origin) -> None:
    """A task learns one kind of target; a class without `learns` checks that by itself."""
    learns, kind = class_constant(settings.task.target, LEARNS), settings.data.target.kind
    if learns in (None, kind):
        return
    tasks = [path.stem for path in sorted((origin.project / CONF / "task").glob("*.yaml"))]
    fitting = [f"`task={name}`" for name in tasks if _learns(origin.project, name) == kind]
    mend = f"take {' or '.join(fitting)}"
    places = [f"{origin.of('task._target_')}: task"]
    places.append(f"{origin.of('data.target.kind')}: data.target.kind")
    where = next((place for place in places if place.startswith("override ")), places[0])
    typed = [key_of(override) for override in origin.overrides]
    name = settings.data.name
    whole = (origin.project / CONF / "experiment" / f"{name}.yaml").is_file()
    if whole and "data" in typed and "task" not in typed:
        mend = f"take `experiment={name}`, which brings its task, or {mend.removeprefix('take ')}"
    what = f"{settings.task.target.rpartition('.')[2]} learns a {learns}"
    raise ConfigError(f"{what}, and data.target.kind is {kind}", where=where, mend=mend)


def _learns(project: Path, task: str) -> object:
    """What a choice of the group `task` learns; None where its file can't be read."""
    try:
        node = yaml.safe_load((project / CONF / "task" / f"{task}.yaml").read_text("utf-8"))
        return class_constant(str(node[TARGET]), LEARNS)
    except (yaml.YAMLError, ValueError, TypeError, KeyError, ConfigError):
        return None


def _check_machine(settings: Settings, origin: Origin) -> None:
    machine, batch_size = settings.machine, settings.data.batch_size
    if machine.nodes > 1 and machine.rendezvous is None:
        where = f"{origin.of('machine.rendezvous')}: machine.rendezvous"
        mend = "set it to HOST:PORT of the node with NODE_RANK=0"
        raise ConfigError(f"{machine.nodes} nodes have nowhere to meet", where=where, mend=mend)
    if machine.nodes > 1 and settings.trainer.auto:
        where = f"{origin.of('trainer.auto')}: trainer.auto"
        mend = "let machine.nodes=1 choose, and give what it says"
        raise ConfigError("choices are measured on one machine alone", where=where, mend=mend)
    devices = 1 if machine.devices == "auto" else machine.devices
    where = f"{origin.of('data.batch_size')}: data.batch_size"
    check_share(batch_size, devices * machine.nodes, where)


def check_share(batch_size: int, devices: int, where: str = "data.batch_size") -> None:
    """Raises `ConfigError` where a global batch has not a sample for each device."""
    if batch_size < devices:
        what, mend = f"{batch_size} samples can't be shared by {devices} devices", "enlarge it"
        raise ConfigError(what, where=where, mend=f"{mend}, or take fewer devices")


def _check_node(
    path: tuple[str, ...], node: Mapping[str, Any], values: Mapping[str, Any], origin: Origin
) -> None:
    key = ".".join((*path, TARGET))
    problem = node_problem(node, path[-1], f"{origin.of(key)}: {key}")
    if problem is not None:
        raise _mistake([problem], path, values, origin)


def _mistake(
    problems: Sequence[Any], path: tuple[str, ...], values: Mapping[str, Any], origin: Origin
) -> ConfigError:
    """The first of them; each thing that its key might be has one of its own."""
    problem, *_ = problems
    key = _existing(path, problem, values)
    where = f"{origin.of(key)}: {key}"
    if problem["type"] == "missing":
        taken = any(o.startswith("~") and key_of(o) == key for o in origin.overrides)
        mend = "leave that override out" if taken else "add it"
        return ConfigError("this key is missing", where=where, mend=mend)
    if problem["type"] == "extra_forbidden":
        return ConfigError("there is no such key", where=where, mend="remove it or mend its name")
    same = [p for p in problems if _existing(path, p, values) == key]
    reasons = ", or ".join(p["msg"][0].lower() + p["msg"][1:] for p in same)
    what = f"{_short(problem['input'])} is not accepted: {reasons}"
    typed = next((o for o in origin.overrides if key_of(o) == key and "=" in o), None)
    if typed is None:
        return ConfigError(what, where=where, mend="mend the value")
    name, _, raw = typed.partition("=")
    options = re.findall("'([^']+)'", reasons)
    meant = meanings.values(raw.strip(), [p["type"] for p in same], options)
    given = candidates(typed, *(f"{name}={value}" for value in meant))
    return WrongValue(what, where=where, typed=typed, candidates=given)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < MOST_SHOWN else f"{text[: MOST_SHOWN - 1]}…"


def _existing(path: tuple[str, ...], problem: Any, values: Mapping[str, Any]) -> str:
    """The dotted key; pydantic adds the names of a union's members, which are no keys."""
    location = [part for part in (*path, *problem["loc"]) if isinstance(part, str)]
    kind, key = problem["type"], list[str]()
    here: Any = values
    for part in location:
        if not isinstance(here, Mapping) or (part not in here and kind != "missing"):
            break
        key.append(part)
        here = here.get(part)
    return ".".join(key)


def _has(file: Path, path: list[str]) -> bool:
    if not file.is_file():
        return False
    here = yaml.safe_load(file.read_text(encoding="utf-8"))
    for part in path:
        if not isinstance(here, Mapping) or part not in here:
            return False
        here = here[part]
    return True
