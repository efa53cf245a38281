"""What a configuration may do besides holding values: nothing.

It reads no environment and no other resolver, steers none of Hydra's classes but launchers and
sweepers, and holds no secret: it is committed, recorded and shown.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from runforge.errors import ConfigError
from runforge.redaction import redact, secret_in
from runforge.targets import TARGET, nodes

GUARD_LIFTED = "HYDRA_INSTANTIATE_ALLOWLIST_OVERRIDE"
PLUGINS = ("hydra._internal.core_plugins.", "hydra_plugins.")
LOGGING = "logging."
"""Where the classes of Hydra's logging may come from."""

_RESOLVER = re.compile(r"\$\{\s*[\w.]+\s*:")


def check_environment() -> None:
    """Raises `ConfigError` where the environment lifts Hydra's own guard against foreign code."""
    if GUARD_LIFTED in os.environ:
        raise ConfigError(
            "it lets a configuration run any code", where=GUARD_LIFTED, mend="unset it"
        )


def check_hydra(values: Mapping[str, Any]) -> None:
    """Holds Hydra's own node against what it may name; raises `ConfigError`."""
    for path, node in nodes(values):
        if not str(node[TARGET]).startswith(PLUGINS):
            raise _refused(("hydra", *path, TARGET), node[TARGET])
    for path, value in _leaves(values):
        in_logging = path[0].endswith("_logging")
        names_code = path[-1] == "()" or (path[-1] == "class" and not value.startswith(LOGGING))
        if (in_logging and names_code) or "env_set" in path:
            raise _refused(("hydra", *path), value)


def check_resolvers(values: Mapping[str, Any], origin: Callable[[str], str]) -> None:
    """Raises `ConfigError` where a value is to be computed, as from the environment.

    `origin` tells where a key comes from.
    """
    for path, value in _leaves(values):
        if _RESOLVER.search(value):
            key, mend = ".".join(path), "write the value, or a key's name: ${key}"
            raise ConfigError(f"{value} is not accepted", where=f"{origin(key)}: {key}", mend=mend)


def check_secrets(values: Mapping[str, Any], origin: Callable[[str], str]) -> None:
    """Raises `ConfigError` for the first key whose value holds a credential.

    `origin` tells where a key comes from, which may hold it too.
    """
    for path, value in _leaves(values):
        if secret := secret_in(value):
            key = ".".join(path)
            where, mend = f"{redact(origin(key))}: {key}", "give it to the tool that needs it"
            raise ConfigError(f"it holds {secret}", where=where, mend=f"{mend} by its own variable")


def _leaves(values: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every text in nested values, with the keys that lead to it."""
    if isinstance(values, Mapping):
        for key, value in values.items():
            yield from _leaves(value, (*path, str(key)))
    elif isinstance(values, list):
        for value in values:
            yield from _leaves(value, path)
    elif isinstance(values, str):
        yield path, values


def _refused(path: Sequence[str], value: object) -> ConfigError:
    what = f"{value!r:.80} may not be named here"
    return ConfigError(what, where=f"conf: {'.'.join(path)}", mend="remove it")
