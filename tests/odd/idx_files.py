"""Files of the MNIST family, damaged, cut, or saying what is not so."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.odd.cases import Accepted, Case, Expected, refused

OVERRIDES = ("data=fashion_mnist", "data.source.classes=null")
COUNT, SIDE = 40, 6
IMAGES, LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"

PIXELS = np.random.default_rng(0).integers(0, 256, (COUNT, SIDE, SIDE), dtype=np.uint8)
CODES = (np.arange(COUNT) % 2).astype(np.uint8)

Change = Callable[[bytes], bytes]


def idx(values: np.ndarray, *shape: int) -> bytes:
    """A file by its published format; `shape` is what its header says instead of the truth."""
    said = shape or values.shape
    return struct.pack(f">HBB{len(said)}I", 0, 8, len(said), *said) + values.tobytes()


def _same(content: bytes) -> bytes:
    return content


def _files(images: Change = _same, labels: Change = _same, end: str = "") -> Callable[[Path], None]:
    def put(root: Path) -> None:
        (root / f"{IMAGES}{end}").write_bytes(images(idx(PIXELS)))
        (root / f"{LABELS}{end}").write_bytes(labels(idx(CODES)))

    return put


def zipped(change: Change = _same) -> Change:
    """Compressed, then changed."""
    return lambda content: change(gzip.compress(content))


def bomb(content: bytes) -> bytes:
    """Four gigabytes of zeros after a header that promises a hundred million pictures of them."""
    packer = zlib.compressobj(9, wbits=31)
    parts = [packer.compress(struct.pack(">HBB3I", 0, 8, 3, 10**8, SIDE, SIDE))]
    parts += [packer.compress(bytes(2**20)) for _ in range(64)]
    return b"".join([*parts, packer.flush()])


def endless(content: bytes) -> bytes:
    """The pictures, and 64 MB of zeros more, in a few kilobytes."""
    return gzip.compress(content + bytes(64 * 2**20))


def _outside(root: Path) -> None:
    (root.parent / "elsewhere").mkdir()
    _files()(root.parent / "elsewhere")
    for name in (IMAGES, LABELS):
        (root / name).symlink_to(root.parent / "elsewhere" / name)


def _one_file(root: Path) -> None:
    (root / IMAGES).write_bytes(idx(PIXELS))


def _folder(root: Path) -> None:
    (root / IMAGES).mkdir()


def _counted(labels: int) -> Accepted:
    return Accepted(lambda s: len(s.ids) == COUNT and len(s.schema.classes) == labels)


def replaced(content: bytes) -> Change:
    """Another file in its place."""
    return lambda _: content


def shaped(*shape: int) -> Change:
    """The header says another shape."""
    return replaced(idx(PIXELS, *shape))


SAYS = refused(IMAGES, "its header says", "download it again")

KINDS: list[tuple[str, Callable[[Path], None], Expected]] = [
    ("plain", _files(), _counted(2)),
    ("compressed", _files(zipped(), zipped(), ".gz"), _counted(2)),
    ("another magic number", _files(lambda b: b"\0\0\x0d" + b[3:]), refused("does not begin like")),
    ("labels in place of images", _files(replaced(idx(CODES))), refused("3 axes")),
    ("empty", _files(replaced(b"")), refused("does not begin like")),
    ("cut in the header", _files(lambda b: b[:9]), refused("does not begin like")),
    ("cut in the values", _files(lambda b: b[:-1]), refused("holds 1439 values", "says 1440")),
    ("with more behind it", _files(lambda b: b + b"\0"), refused("more values")),
    ("a header of more images", _files(shaped(COUNT + 1, SIDE, SIDE)), SAYS),
    ("a header of fewer images", _files(shaped(COUNT - 1, SIDE, SIDE)), SAYS),
    ("a header of no images", _files(shaped(0, SIDE, SIDE)), refused("holds no values")),
    ("a header of 2⁹⁶ values", _files(shaped(*(3 * [2**32 - 1]))), SAYS),
    ("a label too few", _files(labels=replaced(idx(CODES[:-1]))), refused("39 labels")),
    ("labels of one class", _files(labels=replaced(idx(CODES * 0))), refused("one class only")),
    (
        "labels all different",
        _files(labels=replaced(idx(np.arange(COUNT, dtype=np.uint8)))),
        refused("no training sample of the class"),
    ),
    ("no labels", _one_file, refused("there is no t10k-labels")),
    ("no files", lambda root: None, refused("there is no train-images")),
    ("a folder for a file", _folder, refused("there is no train-images")),
    ("links out of the root", _outside, refused("a link that leaves")),
    ("named .gz and not compressed", _files(_same, _same, ".gz"), refused("Not a gzipped file")),
    ("compressed and not named .gz", _files(zipped()), refused("does not begin like")),
    (
        "compressed and cut",
        _files(zipped(lambda b: b[:-20]), zipped(), ".gz"),
        refused("can't be read"),
    ),
    (
        "compressed, a byte changed",
        _files(zipped(lambda b: b[:200] + b"??" + b[202:]), zipped(), ".gz"),
        refused("t10k-images"),
    ),
    (
        "a gzip bomb",
        _files(bomb, zipped(), ".gz"),
        refused("where its header says 3600000000 values"),
    ),
    ("a bomb behind the images", _files(endless, zipped(), ".gz"), refused("more values")),
]

CASES = [Case(f"IDX: {name}", put, expected, OVERRIDES) for name, put, expected in KINDS]
