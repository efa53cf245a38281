"""A sample as a source finds it, and what sources and modalities promise.

`Raw` is what reading gives: the bytes of an encoded file, an array, or the cells of one row of
a table by column name (`None`: missing).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

Raw = bytes | np.ndarray | Mapping[str, str | None]

SPLITS = ("train", "validation", "test")


_GREATEST = float(np.finfo(np.float32).max)


def parse_number(text: str) -> float | None:
    """The finite float32 that a cell or a label reads as; None where it is none."""
    try:
        value = float(text)
    except ValueError:
        return None
    # Python's own grouping, `1_000`, is no number in a table.
    fits = abs(value) <= _GREATEST and "_" not in text
    return value if fits else None


def parse_numbers(texts: Sequence[str]) -> np.ndarray | None:
    """Many at once, float64 [n]; None where one of them is no finite float32."""
    try:
        values = np.array(list(map(float, texts)), dtype=np.float64)
    except ValueError:
        return None
    # A nan is not within it either.
    fits = bool((np.abs(values) <= _GREATEST).all()) and "_" not in "\n".join(texts)
    return values if fits else None


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled sample of the raw data."""

    where: str
    """Path relative to the data root, with `#row` for a row of a file (rows count from 1)."""
    label: str
    """The label, taken literally; empty: it has none, and preparing refuses it."""
    split: str | None
    """`train`, `validation` or `test` where the data say so; `None`: runforge splits."""
    read: Callable[[], Raw]
    """Reads the sample; raises `Refused` where it can't be read."""
    whole: Callable[[], Raw] | None = None
    """The sample as it lies there, where `read` gives less or other than that; its id is of this,
    whatever columns are chosen."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One sample as a person sees it: a picture, lines of text, or both."""

    picture: np.ndarray | None
    """RGB, uint8 [H, W, 3]."""
    lines: tuple[str, ...]


class Source(Protocol):
    """How raw data lies on disk; one of tables also reads more of them, see `TableReader`.

    A source may have the method `check(root)`: it raises `DataError` for what can be told without
    reading the data, and is called before anything heavy starts.
    """

    def samples(self, root: Path) -> Sequence[Sample]:
        """Every sample, in a fixed order; `DataError` where the whole can't be used."""
        ...


class TableReader(Protocol):
    """What a source of tables promises beside: other files are read as its own was."""

    def unlabelled(self, path: Path, columns: Sequence[str], others: Collection[str] = ()) -> Rows:
        """The rows of a file, of the given columns alone; `DataError` where one is not there.

        `others` are columns that training knew and did not learn from: parts of a row's identity.
        """
        ...


@dataclass(frozen=True, slots=True)
class Rows:
    """Samples that are listed as they are needed."""

    samples: Iterable[Sample]
    count: int | None
    """None: not known before they are listed."""


class PackedRows(Protocol):
    """Packed rows [N, ...]: an array, or what is read of one as it is asked for."""

    def __len__(self) -> int:
        """N."""
        ...

    def __getitem__(self, key: Any) -> np.ndarray:
        """A slice of the rows, or of all of them one column: `[a:b]`, `[:, c]`."""
        ...


class Raws(Protocol):
    """The raw samples that can be read, from disk at each look."""

    def __iter__(self) -> Iterator[Raw]:
        """All of them."""
        ...

    def spread(self, most: int) -> Iterator[Raw]:
        """At most so many, spread evenly over their listing."""
        ...

    def training(self) -> Iterator[Raw]:
        """Those of the training split."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Examined:
    """All samples of a prepared set, N of them, for a modality to look at."""

    rows: PackedRows
    """Packed, [N, ...]."""
    targets: np.ndarray
    """[N]: int64 indices of classes, or float32 values."""
    target_name: str
    classes: Sequence[str]
    """Empty where the target is a value."""
    splits: np.ndarray
    """[N]: `train`, `validation` or `test`."""
    whole: Callable[[], Iterator[Raw]]
    """Each sample as it lies there, chosen or not; reads it again."""


class Modality(Protocol):
    """How a sample is decoded, packed, normalised and shown.

    A modality may have two methods more, which are called where it has them:
    `examine(examined, layout)` tells by `notices.notice` what a person should know of the whole,
    and `strange(raw, row, layout, statistics)` gives what is unlike training in one sample that is
    predicted, a line each.

    B samples; a packed row and an input have the shapes that a schema states.
    """

    def layout(self, raws: Raws) -> dict[str, Any]:
        """What `decode` must know of the whole data, as plain JSON values; reads what it must."""
        ...

    def decode(
        self, raw: Raw, layout: Mapping[str, Any], remarks: list[str] | None = None
    ) -> np.ndarray:
        """One packed row, always of the same shape and type; raises `Refused`.

        What a person should know of it is added to `remarks`: cells missing, a mode changed. One
        that says behind `; ` what changes it is told on the console too, with its count.
        """
        ...

    def statistics(self, rows: PackedRows, layout: Mapping[str, Any]) -> dict[str, list[float]]:
        """What `normalise` needs, from the training split's packed rows [N, ...]."""
        ...

    def input_shape(self, layout: Mapping[str, Any]) -> tuple[int, ...]:
        """Shape of one input of the network, as `normalise` gives it."""
        ...

    def to_float(self, packed: Tensor, statistics: Mapping[str, Tensor]) -> Tensor:
        """A batch of packed rows [B, ...] as float32, ready for augmentation."""
        ...

    def normalise(self, inputs: Tensor, statistics: Mapping[str, Tensor]) -> Tensor:
        """What `to_float` gave → inputs of the network [B, *input_shape], perhaps in its place."""
        ...

    def columns(self, layout: Mapping[str, Any]) -> tuple[str, ...] | None:
        """The columns that a row of a table must have; None where a raw sample is a file."""
        ...

    def show(self, row: np.ndarray, layout: Mapping[str, Any]) -> Shown:
        """One packed row as a person sees it."""
        ...


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
