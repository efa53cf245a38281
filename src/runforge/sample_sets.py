"""The sample sets: real data that scikit-learn carries, written as a user would lay them out.

The files are the same, byte for byte, on every machine, so that the committed `data.dvc` holds.
"""

from __future__ import annotations

import csv
import hashlib
import io
import struct
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from runforge.atomic import new_folder
from runforge.errors import DataError
from runforge.files import entries

Files = dict[str, bytes]

FIRST_DIGIT = "0/0000.png"
FIRST_DIGIT_HASH = "db8eb7474a3095a68798c92f311a63da9d1ab77ed9ec2ae7a1c0342bc6fd68b0"


def write_sample_set(name: str, folder: Path) -> int:
    """Writes the sample set to `folder` and returns its number of files.

    `digits`: 1,797 grey pictures 8×8 in ten class folders. `breast_cancer`: 569 patients, target
    `diagnosis`. `diabetes`: 442 patients, target `progression`. Leaves the folder as it is where
    the set is there already; raises `DataError` where anything else is, or for another name.
    """
    if name not in SAMPLE_SETS:
        raise DataError(
            f"there is no sample set {name!r}", mend=f"the sample sets are {', '.join(SAMPLE_SETS)}"
        )
    files = SAMPLE_SETS[name]()
    if folder.is_dir() and any(folder.iterdir()):
        _check_same(name, folder, files)
        return len(files)
    if folder.exists() and not folder.is_dir():
        raise DataError("is no folder", where=str(folder), mend="name another folder")
    with new_folder(folder) as temporary:
        for path, content in files.items():
            (temporary / path).parent.mkdir(exist_ok=True)
            (temporary / path).write_bytes(content)
    return len(files)


def _check_same(name: str, folder: Path, files: Files) -> None:
    there = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if not p.is_dir()}
    same = there.keys() == files.keys() and all(
        there[path].read_bytes() == content for path, content in files.items()
    )
    if not same:
        raise DataError(
            f"there is something in it already that is not the sample set {name}",
            where=str(folder),
            mend="name another folder, or move what is there",
        )


def check_unmixed(folder: Path) -> None:
    """Raises `DataError` where the digits lie among class folders that are not theirs.

    They are told by their first file, so that this costs nothing.
    """
    first = folder / FIRST_DIGIT
    if not first.is_file() or hashlib.sha256(first.read_bytes()).hexdigest() != FIRST_DIGIT_HASH:
        return
    own = {str(digit) for digit in range(10)}
    others = [path.name for path in entries(folder) if path.is_dir() and path.name not in own]
    if others:
        shown = ", ".join(others[:3]) + (", …" if len(others) > 3 else "")
        raise DataError(
            f"the sample set digits and other class folders ({shown}) lie in it together",
            where=str(folder),
            mend=f"take the digits away: rm -r {folder}/[0-9]",
        )


def _digits() -> Files:
    from sklearn.datasets import load_digits

    data = load_digits()
    grey = np.rint(data.images * 255 / 16).astype(np.uint8)
    labels = data.target.tolist()
    return {f"{label}/{i:04d}.png": png(grey[i]) for i, label in enumerate(labels)}


def _breast_cancer() -> Files:
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    labels = [str(data.target_names[code]) for code in data.target]
    return {"data.csv": _table([*map(str, data.feature_names), "diagnosis"], data.data, labels)}


def _diabetes() -> Files:
    from sklearn.datasets import load_diabetes

    data = load_diabetes(scaled=False)
    labels = [repr(float(value)) for value in data.target]
    return {"data.csv": _table([*map(str, data.feature_names), "progression"], data.data, labels)}


SAMPLE_SETS: dict[str, Callable[[], Files]] = {
    "digits": _digits,
    "breast_cancer": _breast_cancer,
    "diabetes": _diabetes,
}


def _table(header: list[str], numbers: np.ndarray, labels: Iterable[str]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for row, label in zip(numbers.tolist(), labels, strict=True):
        writer.writerow([*map(repr, row), label])
    return text.getvalue().encode()


def png(grey: np.ndarray) -> bytes:
    """A picture uint8 [H, W] as PNG whose data are stored, not compressed.

    What a compressor makes of them depends on the zlib that is there; stored blocks do not.
    Format: PNG 1.2 (RFC 2083), zlib (RFC 1950), deflate (RFC 1951, section 3.2.4).
    """
    height, width = grey.shape
    lines = b"".join(b"\0" + row.tobytes() for row in grey)
    if len(lines) > 0xFFFF:
        raise ValueError("one stored block holds 65,535 bytes")
    block = struct.pack("<BHH", 1, len(lines), len(lines) ^ 0xFFFF) + lines
    data = b"\x78\x01" + block + struct.pack(">I", zlib.adler32(lines))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
