"""Holding a composed configuration against its schema: the first mistake, as one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from runforge.config_guard import check_secrets
from runforge.errors import ConfigError
from runforge.settings import Settings
from runforge.signature import node_problem
from runforge.targets import TARGET, nodes

CONF, CONFIG = "conf", "config"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the keys of a configuration come from, for messages."""

    project: Path
    overrides: Sequence[str] = ()
    choices: Mapping[str, str] = field(default_factory=dict)
    file: str | None = None
    """Set where the configuration was read from one file."""

    def of(self, key: str) -> str:
        """The override or the file that a key is set in."""
        for override in self.overrides:
            name = override.split("=")[0].lstrip("+~")
            added = override.startswith("+") and name.startswith(f"{key}.")
            if key == name or key.startswith(f"{name}.") or added:
                return f"override {override}"
        return self.file or self._file(key.split("."))

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
    _check_machine(settings, origin)
    return settings


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
        return ConfigError("this key is missing", where=where, mend="add it")
    if problem["type"] == "extra_forbidden":
        return ConfigError("there is no such key", where=where, mend="remove it or mend its name")
    messages = [p["msg"] for p in problems if _existing(path, p, values) == key]
    reasons = ", or ".join(message[0].lower() + message[1:] for message in messages)
    return ConfigError(
        f"{problem['input']!r} is not accepted: {reasons}", where=where, mend="mend the value"
    )


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
