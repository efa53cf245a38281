"""NumPy's `.npy` files, written row by row and read as memory maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.lib import format as npy


class RowWriter:
    """Appends rows of one shape and type to a file; the header gets the true count at the end."""

    def __init__(self, path: Path) -> None:
        self.count = 0
        self.shape: tuple[int, ...] = ()
        self.dtype: np.dtype | None = None
        self._file = path.open("wb")

    def append(self, row: np.ndarray) -> None:
        """Adds one row; a programmer's mistake where it is not like the first."""
        if self.dtype is None:
            self.shape, self.dtype = row.shape, row.dtype
            self._write_header()
        if row.shape != self.shape or row.dtype != self.dtype:
            raise TypeError(f"row {row.dtype}{row.shape} after {self.dtype}{self.shape}")
        self._file.write(np.ascontiguousarray(row).data)
        self.count += 1

    def _write_header(self) -> None:
        assert self.dtype is not None
        fields = {"shape": (self.count, *self.shape), "fortran_order": False}
        descr = npy.dtype_to_descr(self.dtype)
        # NumPy leaves room for the first axis to grow, so the header keeps its length.
        npy.write_array_header_1_0(self._file, {**fields, "descr": descr})

    def __enter__(self) -> RowWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None and self.dtype is not None:
            self._file.seek(0)
            self._write_header()
        self._file.close()


def open_rows(path: Path) -> np.ndarray:
    """The array of a file, memory-mapped and read-only."""
    array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def keep_rows(path: Path, rows: Sequence[int]) -> None:
    """Takes all rows but these out of a file; one is to be left at least."""
    every, shorter = open_rows(path), path.with_suffix(".shorter")
    with RowWriter(shorter) as writer:
        for row in rows:
            writer.append(every[row])
    shorter.replace(path)


@dataclass(frozen=True, slots=True)
class Selected:
    """Some rows of an array, read as they are asked for: never all in memory."""

    source: np.ndarray
    rows: np.ndarray
    """int64 [N]: which, in this order."""

    def __len__(self) -> int:
        """N."""
        return len(self.rows)

    def __getitem__(self, key: Any) -> np.ndarray:
        """`[a:b]`: a slice of the rows; `[:, c]`: one column of all."""
        first, *others = key if isinstance(key, tuple) else (key,)
        found: np.ndarray = self.source[(self.rows[first], *others)]
        return found
