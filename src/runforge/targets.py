"""What a configuration may name with `_target_`, and how it becomes an object.

A configuration is code: a node `{_target_: a.b.C, key: value}` calls `C(key=value)`. Only classes
that are *defined in* runforge's leaf packages, or in the few modules of torch listed here, can be
named; a class that such a module merely imports can't be reached through it.
"""

from __future__ import annotations

import importlib
import keyword
from collections.abc import Mapping
from typing import Any

from runforge.errors import ConfigError

TARGET = "_target_"

ALLOWED_PACKAGES = (
    "runforge.sources.",
    "runforge.modalities.",
    "runforge.networks.",
    "runforge.augmentations.",
    "runforge.tasks.",
    "torch.optim.",
)
ALLOWED_MODULES = ("runforge.schedules", "torch.nn.modules.loss")


def split_target(target: object, where: str = TARGET) -> tuple[str, str]:
    """Module and class name of a dotted path; raises `ConfigError` where it is not allowed."""
    parts = target.split(".") if isinstance(target, str) else []
    if len(parts) < 2 or not all(p.isidentifier() and not keyword.iskeyword(p) for p in parts):
        what, mend = f"{target!r} is no dotted path of a class", "write module.Class"
        raise ConfigError(what, where=where, mend=mend)
    module, name = ".".join(parts[:-1]), parts[-1]
    if not (module.startswith(ALLOWED_PACKAGES) or module in ALLOWED_MODULES):
        allowed = ", ".join(f"{p}*" for p in ALLOWED_PACKAGES) + ", " + ", ".join(ALLOWED_MODULES)
        mend = f"allowed: {allowed}"
        raise ConfigError(f"{target} may not be named here", where=where, mend=mend)
    return module, name


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
