"""The files of the MNIST family: `train-images-idx3-ubyte[.gz]` and its fellows.

Format: a big-endian magic number (two zero bytes, 8 for unsigned bytes, the number of axes), the
length of each axis in 4 bytes, then the values (LeCun, http://yann.lecun.com/exdb/mnist/).
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Sequence
from functools import partial
from io import BufferedReader
from pathlib import Path

import numpy as np

from runforge.errors import DataError
from runforge.files import leaves
from runforge.sample import Sample

PARTS = {"train": "train", "t10k": "test"}

HARMLESS_BYTES = 256 * 2**20
MOST_EXPANSION = 100
"""What a compressed file may come to: real pictures shrink to a fifth, a bomb to a thousandth."""


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
    found = next((root / name for name in names if (root / name).is_file()), None)
    if found is not None and leaves(found, root):
        mend = "put the file itself there"
        raise DataError("it is a link that leaves the data folder", where=str(found), mend=mend)
    return found


def _needed(root: Path, stem: str, kind: str) -> Path:
    path = _find(root, stem, kind)
    if path is None:
        raise DataError(
            f"there is no {stem}-{kind}-ubyte[.gz]",
            where=str(root),
            mend="images and labels belong together: add the file",
        )
    return path


def _read(path: Path, *, axes: int) -> np.ndarray:
    """All values of a file, uint8 [N] or [N, H, W]."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return _values(file, axes, path)
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(path, f"can't be read ({error})") from error


def _values(file: BufferedReader | gzip.GzipFile, axes: int, path: Path) -> np.ndarray:
    """As the header says, which is believed only as far as the size of the file allows."""
    begin = file.read(4 + 4 * axes)
    if begin[:4] != bytes((0, 0, 8, axes)) or len(begin) < 4 + 4 * axes:
        raise _damaged(path, f"does not begin like an IDX file of {axes} axes of bytes")
    shape = [int(n) for n in np.frombuffer(begin, dtype=">u4", offset=4)]
    wanted, size_bytes = math.prod(shape), path.stat().st_size
    if wanted == 0:
        raise _damaged(path, "holds no values")
    if wanted > max(HARMLESS_BYTES, MOST_EXPANSION * size_bytes):
        raise _damaged(path, f"has {size_bytes} bytes where its header says {wanted} values")
    content = file.read(wanted + 1)
    if len(content) != wanted:
        found = "more" if len(content) > wanted else str(len(content))
        raise _damaged(path, f"holds {found} values where its header says {wanted}")
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def _damaged(path: Path, what: str) -> DataError:
    return DataError(what, where=str(path), mend="download it again")
