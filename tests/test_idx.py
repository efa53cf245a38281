"""The MNIST family's files, and what is wrong with damaged ones."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from runforge.errors import DataError
from runforge.sources.idx import Idx


def idx(values: np.ndarray) -> bytes:
    """An IDX file, made by its published format."""
    header = struct.pack(">HBB", 0, 8, values.ndim)
    return header + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def put(root: Path, part: str, images: np.ndarray, labels: np.ndarray, *, gz: bool = True) -> None:
    root.mkdir(exist_ok=True)
    for stem, values in ((f"{part}-images-idx3", images), (f"{part}-labels-idx1", labels)):
        content = idx(values)
        path = root / f"{stem}-ubyte{'.gz' if gz else ''}"
        path.write_bytes(gzip.compress(content) if gz else content)


@pytest.fixture
def images() -> np.ndarray:
    return np.arange(5 * 3 * 4, dtype=np.uint8).reshape(5, 3, 4)


LABELS = np.array([0, 1, 1, 0, 2], dtype=np.uint8)


@pytest.mark.parametrize("gz", [True, False])
def test_images_and_labels_are_read(tmp_path: Path, images: np.ndarray, gz: bool) -> None:
    put(tmp_path, "t10k", images, LABELS, gz=gz)
    samples = Idx(classes=None).samples(tmp_path)
    assert [s.label for s in samples] == ["0", "1", "1", "0", "2"]
    assert {s.split for s in samples} == {None}
    assert samples[2].where.endswith("#3")
    for i, sample in enumerate(samples):
        np.testing.assert_array_equal(sample.read(), images[i])


def test_reading_copies_nothing(tmp_path: Path, images: np.ndarray) -> None:
    put(tmp_path, "t10k", images, LABELS)
    first, second = (s.read() for s in Idx(classes=None).samples(tmp_path)[:2])
    assert isinstance(first, np.ndarray) and isinstance(second, np.ndarray)
    assert second.__array_interface__["data"][0] - first.__array_interface__["data"][0] == 12


def test_both_parts_give_train_and_test(tmp_path: Path, images: np.ndarray) -> None:
    put(tmp_path, "train", images, LABELS)
    put(tmp_path, "t10k", images[:2], LABELS[:2])
    samples = Idx(classes=["coat", "bag", "boot"]).samples(tmp_path)
    assert [s.split for s in samples] == ["train"] * 5 + ["test"] * 2
    assert [s.label for s in samples[:3]] == ["coat", "bag", "bag"]


def refusal(root: Path, classes: list[str] | None = None) -> str:
    with pytest.raises(DataError) as caught:
        Idx(classes=classes).samples(root)
    return str(caught.value)


def test_no_files_and_half_of_the_files(tmp_path: Path, images: np.ndarray) -> None:
    assert "there is no train-images" in refusal(tmp_path)
    put(tmp_path, "train", images, LABELS)
    (tmp_path / "train-labels-idx1-ubyte.gz").unlink()
    assert "there is no train-labels-idx1-ubyte" in refusal(tmp_path)


def test_more_images_than_labels(tmp_path: Path, images: np.ndarray) -> None:
    put(tmp_path, "t10k", images, LABELS[:4])
    assert "5 images but 4 labels" in refusal(tmp_path)


def test_a_label_without_a_name(tmp_path: Path, images: np.ndarray) -> None:
    put(tmp_path, "t10k", images, LABELS)
    assert "the label 2 has no name" in refusal(tmp_path, ["a", "b"])


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (lambda b: b"\x00\x00\x08\x01" + b[4:], "does not begin"),
        (lambda b: b[:10], "does not begin"),
        (lambda b: b"", "does not begin"),
        (lambda b: b[:-1], "holds 59 values where its header says 60"),
        (lambda b: b + b"x", "holds more values where its header says 60"),
        (lambda b: b[:4] + b"\xff" * 12, "its header says"),
    ],
)
def test_damaged_files(tmp_path: Path, images: np.ndarray, damage, what: str) -> None:
    put(tmp_path, "t10k", images, LABELS, gz=False)
    path = tmp_path / "t10k-images-idx3-ubyte"
    path.write_bytes(damage(path.read_bytes()))
    assert what in refusal(tmp_path)


@pytest.mark.parametrize("cut", [3, 30])
def test_a_cut_gzip_file(tmp_path: Path, images: np.ndarray, cut: int) -> None:
    put(tmp_path, "t10k", images, LABELS)
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:cut])
    assert "can't be read" in refusal(tmp_path)


@pytest.mark.parametrize("claimed", [(1, 1, 1), (2**32 - 1, 2**32 - 1, 2**32 - 1), (9, 2**20, 1)])
def test_no_more_is_unpacked_than_the_header_says(tmp_path: Path, claimed) -> None:
    put(tmp_path, "train", np.zeros((5, 2, 2), np.uint8), LABELS)
    header = struct.pack(">HBB3I", 0, 8, 3, *claimed)
    bomb = gzip.compress(header + b"\0" * 5_000_000)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(bomb)
    with pytest.raises(DataError, match=r"(holds|has) .* where its header says"):
        Idx(classes=None).samples(tmp_path)


def test_a_link_out_of_the_folder(tmp_path: Path, images: np.ndarray) -> None:
    put(tmp_path / "data", "train", images, LABELS, gz=False)
    path = tmp_path / "data" / "train-labels-idx1-ubyte"
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="a link that leaves the data folder"):
        Idx(classes=None).samples(tmp_path / "data")
