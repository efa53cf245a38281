"""A sample as a source finds it: where it lies, its label, and how to read it.

`Raw` is what reading gives: the bytes of an encoded file, an array, or the cells of one row of
a table by column name (`None`: missing).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

Raw = bytes | np.ndarray | Mapping[str, str | None]

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled sample of the raw data."""

    where: str
    """Path relative to the data root, with `#row` for a row of a file (rows count from 1)."""
    label: str
    """The label, taken literally."""
    split: str | None
    """`train`, `validation` or `test` where the data say so; `None`: runforge splits."""
    read: Callable[[], Raw]
    """Reads the sample; raises `Refused` where it can't be read."""


def content_id(raw: Raw) -> str:
    """The sample's identity: 32 hex digits of a hash of its content, never of its label.

    Equal contents have equal ids wherever they lie and whatever they are called.
    """
    digest = hashlib.blake2b(digest_size=16)
    if isinstance(raw, bytes):
        digest.update(raw)
    elif isinstance(raw, np.ndarray):
        digest.update(f"{raw.dtype.str}{raw.shape}".encode())
        digest.update(np.ascontiguousarray(raw).tobytes())
    else:
        digest.update(json.dumps(dict(raw), sort_keys=True, ensure_ascii=False).encode())
    return digest.hexdigest()
