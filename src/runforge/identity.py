"""What makes two trainings the same one: configuration, data, code and initial weights.

A training that was stopped goes on only as what it was; and the nodes of one run must agree.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "pytorch-lightning", "torchmetrics", "kornia", "numpy")

NEITHER = ("machine", "fresh", "promotion")
"""What a training does not depend on."""
DECIDING = ("strategy",)
"""Keys of the machine that decide what a checkpoint looks like; the rest may change."""


def identity(values: Mapping[str, Any], **more: str | None) -> str:
    """One text for a configuration, this code, and what else must be equal: 32 hex digits."""
    kept = {key: value for key, value in values.items() if key not in NEITHER}
    machine = {key: values["machine"][key] for key in DECIDING}
    return joint([kept, machine, code_hashes(), more])


def joint(parts: Any) -> str:
    """One text for JSON values, whatever the order of keys: 32 hex digits."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def code_hashes() -> dict[str, str]:
    """A text for each source file of runforge, and for each package that computes."""
    root = Path(__file__).parent
    files = sorted(root.rglob("*.py"))
    sources = {str(f.relative_to(root)): hashlib.blake2b(f.read_bytes()).hexdigest() for f in files}
    return {**sources, **{name: version(name) for name in PACKAGES}}
