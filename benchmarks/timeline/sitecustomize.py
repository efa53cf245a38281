"""Notes when functions and imports begin and end, in every process that has this on its path.

Python imports a module of this name by itself as it starts. Each interval is one line of JSON in
the file that the variable `TIMELINE` names; the program that is looked at knows nothing of it.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import sys
import time
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

FILE = os.environ.get("TIMELINE", "")
WATCHED: dict[str, list[str]] = json.loads(os.environ.get("TIMELINE_WATCHED", "{}"))
"""Modules whose import is an interval, each with its functions that are (`name`, `Class.name`)."""


def note(name: str, begin: float, end: float) -> None:
    line = {"pid": os.getpid(), "name": name, "begin": begin, "end": end}
    with open(FILE, "a") as file:  # noqa: PTH123 - pathlib's import would be part of what is measured
        file.write(json.dumps(line) + "\n")


def watch(holder: Any, name: str, title: str) -> None:
    first, _, rest = name.partition(".")
    if rest:
        watch(getattr(holder, first), rest, title)
        return
    function = getattr(holder, name)

    @functools.wraps(function)
    def watched(*args: Any, **kwargs: Any) -> Any:
        begin = time.time()
        try:
            return function(*args, **kwargs)
        finally:
            note(title, begin, time.time())

    setattr(holder, name, watched)


class Watching(Loader):
    """The loader of a module, with a clock."""

    def __init__(self, loader: Any, name: str) -> None:
        self._loader, self._name = loader, name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        made: ModuleType | None = self._loader.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        begin = time.time()
        self._loader.exec_module(module)
        note(f"import {self._name}", begin, time.time())
        for name in WATCHED[self._name]:
            watch(module, name, f"{self._name}.{name}")


class Finder(MetaPathFinder):
    """Finds the watched modules first."""

    def find_spec(
        self, name: str, path: Any, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in WATCHED:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = Watching(spec.loader, name)
        return spec


if FILE:
    BEGAN = time.time()
    sys.meta_path.insert(0, Finder())
    title = " ".join(["process", *sys.orig_argv[1:]])
    atexit.register(lambda: note(title, BEGAN, time.time()))
