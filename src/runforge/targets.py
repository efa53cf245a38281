"""What a configuration may name with `_target_`, and how it becomes an object.

A configuration is code: a node `{_target_: a.b.C, key: value}` calls `C(key=value)`. Only classes
that are *defined in* runforge's leaf packages, or in the few modules of torch listed here, can be
named; a class that such a module merely imports can't be reached through it. A node whose key says
what it is for, such as `network`, can name that kind of class only.
"""

from __future__ import annotations

import importlib
import keyword
import re
from collections.abc import Iterator, Mapping
from typing import Any

from runforge.errors import ConfigError

TARGET = "_target_"

ROLES = {
    "source": "runforge.sources.",
    "modality": "runforge.modalities.",
    "network": "runforge.networks.",
    "augmentation": "runforge.augmentations.",
    "task": "runforge.tasks.",
    "optimizer": "torch.optim.",
    "schedule": "runforge.schedules.",
    "loss": "torch.nn.modules.loss.",
}
"""By the key of a node, what the dotted path of its class begins with."""
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
"""ASCII, as letters of other alphabets look the same, and not private."""


def split_target(target: object, where: str = TARGET, role: str = "") -> tuple[str, str]:
    """Module and class name of a dotted path; raises `ConfigError` where it is not allowed."""
    parts = target.split(".") if isinstance(target, str) else []
    if len(parts) < 2 or not all(_NAME.fullmatch(p) and not keyword.iskeyword(p) for p in parts):
        what, mend = f"{target!a} is no dotted path of a class", "write module.Class"
        raise ConfigError(what, where=where, mend=mend)
    allowed = (ROLES[role],) if role in ROLES else tuple(ROLES.values())
    if not ".".join(parts).startswith(allowed):
        mend = f"allowed: {', '.join(f'{one}*' for one in allowed)}"
        raise ConfigError(f"{target} may not be named here", where=where, mend=mend)
    return ".".join(parts[:-1]), parts[-1]


def nodes(
    values: object, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    """Every node in nested values, however deep and in lists too, with the keys that lead to it."""
    if isinstance(values, Mapping):
        if TARGET in values:
            yield path, values
        for key, value in values.items():
            yield from nodes(value, (*path, str(key)))
    elif isinstance(values, list):
        for index, value in enumerate(values):
            yield from nodes(value, (*path, str(index)))


def resolve(target: object, where: str = TARGET) -> type[Any]:
    """The class that a dotted path names."""
    module_name, name = split_target(target, where)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ConfigError(f"there is no module {error.name}", where=where) from error
    found = getattr(module, name, None)
    if not isinstance(found, type) or found.__module__ != module_name:
        raise ConfigError(f"{module_name} defines no class {name}", where=where)
    return found


def build(node: Mapping[str, Any], **known: Any) -> Any:
    """The object of a node: its class, called with the node's keys and what only the run knows."""
    keywords = {key: value for key, value in node.items() if key != TARGET}
    return resolve(node.get(TARGET))(**keywords, **known)
