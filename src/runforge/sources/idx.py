"""The files of the MNIST family: `train-images-idx3-ubyte[.gz]` and its fellows.

Format: a big-endian magic number (two zero bytes, 8 for unsigned bytes, the number of axes), the
length of each axis in 4 bytes, then the values (LeCun, http://yann.lecun.com/exdb/mnist/).
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from io import BufferedReader
from pathlib import Path

import numpy as np

from runforge.errors import DataError
from runforge.sample import Sample

PIECE_BYTES = 2**20
PARTS = {"train": "train", "t10k": "test"}


class Idx:
    """IDX files; `classes` names the label codes, null: the codes themselves are the names.

    With both parts there, `t10k` is the test split as given; with one, all of it is split.
    """

    def __init__(self, *, classes: list[str] | None) -> None:
        self.classes = classes

    def samples(self, root: Path) -> Sequence[Sample]:
        """Lists every image; raises `DataError` where a file is damaged or does not fit."""
        parts = [part for part in PARTS if _find(root, f"{part}-images", "idx3")]
        if not parts:
            raise DataError(
                "there is no train-images-idx3-ubyte[.gz] and no t10k-images-idx3-ubyte[.gz]",
                where=str(root),
                mend="put the IDX files there or set data.root",
            )
        given = len(parts) == len(PARTS)
        return [
            s for part in parts for s in self._of_part(root, part, PARTS[part] if given else None)
        ]

    def _of_part(self, root: Path, part: str, split: str | None) -> list[Sample]:
        images_path = _needed(root, f"{part}-images", "idx3")
        labels_path = _needed(root, f"{part}-labels", "idx1")
        images, labels = _read(images_path, axes=3), _read(labels_path, axes=1)
        if len(images) != len(labels):
            raise DataError(
                f"there are {len(images)} images but {len(labels)} labels in {labels_path.name}",
                where=str(images_path),
                mend="take both files from one place",
            )
        names = self._names(labels, labels_path)
        return [
            Sample(f"{images_path.name}#{i + 1}", names[code], split, partial(_one, images, i))
            for i, code in enumerate(labels.tolist())
        ]

    def _names(self, labels: np.ndarray, path: Path) -> Sequence[str]:
        names = self.classes if self.classes is not None else [str(code) for code in range(256)]
        largest = int(labels.max(initial=0))
        if largest >= len(names):
            raise DataError(
                f"the label {largest} has no name among the {len(names)} of data.source.classes",
                where=str(path),
                mend="name every label there, from 0 on",
            )
        return names


def _one(images: np.ndarray, index: int) -> np.ndarray:
    """One image [H, W], a view into all of them."""
    image: np.ndarray = images[index]
    return image


def _find(root: Path, stem: str, kind: str) -> Path | None:
    names = [f"{stem}{dot}{kind}-ubyte{end}" for end in ("", ".gz") for dot in "-."]
    return next((root / name for name in names if (root / name).is_file()), None)


def _needed(root: Path, stem: str, kind: str) -> Path:
    path = _find(root, stem, kind)
    if path is None:
        raise DataError(
            f"there is no {stem}-{kind}-ubyte[.gz]",
            where=str(root),
            mend="images and labels belong together: add the file",
        )
    if not path.resolve().is_relative_to(root.resolve()):
        raise DataError("a link that leaves the data folder", where=str(path), mend="copy the file")
    return path


def _read(path: Path, *, axes: int) -> np.ndarray:
    """All values of a file, uint8 [N] or [N, H, W]; no more is unpacked than its header says."""
    with _errors_of_reading(path), _opened(path) as file:
        head = file.read(4 + 4 * axes)
        if head[:4] != bytes((0, 0, 8, axes)) or len(head) < 4 + 4 * axes:
            raise DataError(
                f"does not begin like an IDX file of {axes} axes of bytes",
                where=str(path),
                mend="download it again",
            )
        shape = [int(n) for n in np.frombuffer(head, dtype=">u4", count=axes, offset=4)]
        wanted = math.prod(shape)
        content = _read_at_most(file, wanted + 1)
    if len(content) != wanted or wanted == 0:
        count = f"more than {wanted}" if len(content) > wanted else f"{len(content)}"
        raise DataError(
            f"holds {count} values where its header says {wanted}",
            where=str(path),
            mend="download it again",
        )
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def _read_at_most(file: gzip.GzipFile | BufferedReader, count: int) -> bytes:
    """In pieces: a header may ask for more than there is memory."""
    pieces = []
    while count and (piece := file.read(min(count, PIECE_BYTES))):
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


def _opened(path: Path) -> gzip.GzipFile | BufferedReader:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


@contextmanager
def _errors_of_reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, OverflowError, zlib.error) as error:
        raise DataError(
            f"can't be read ({error})", where=str(path), mend="download it again"
        ) from error
