"""Near-duplicates across splits: all that were put in are found, and nothing else."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pictures
from PIL import ImageEnhance
from sklearn.datasets import load_sample_image

from runforge.modalities.image import Image
from runforge.near_duplicates import hash_of, near_pairs
from runforge.packing import PackingSettings, pack
from runforge.sample_sets import write_sample_set
from runforge.schema import Schema
from runforge.sources.image_folder import ImageFolder

SETTINGS = PackingSettings(
    target_kind="class",
    target_name="thing",
    split_validation=0.1,
    split_test=0.1,
    split_salt="s",
    max_refused=0,
    allow_leakage=False,
)
SIDE = 70


def photographs() -> list[Pictures.Image]:
    """Parts of two real photographs that do not overlap, the plain sky left out."""
    parts = []
    for name in ("china.jpg", "flower.jpg"):
        whole = load_sample_image(name)
        for top in range(0, whole.shape[0] - SIDE + 1, SIDE):
            for left in range(0, whole.shape[1] - SIDE + 1, SIDE):
                part = whole[top : top + SIDE, left : left + SIDE]
                if part.std() > 30:
                    parts.append(Pictures.fromarray(part))
    return parts


def again(picture: Pictures.Image, way: int) -> Pictures.Image:
    """The picture encoded again, made smaller or larger, or brighter."""
    if way == 0:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=75)
        return Pictures.open(buffer)
    if way == 1:
        return picture.resize((52, 52))
    if way == 2:
        return picture.resize((100, 90))
    return ImageEnhance.Brightness(picture).enhance(1.2)


def prepared(root: Path, folder: Path, side: int) -> Schema:
    return pack(
        ImageFolder(splits={"train": "train", "test": "test"}),
        Image(height=side, width=side, mode="RGB", max_pixels=10**6, background=255),
        modality_node={},
        source_node={},
        root=root,
        folder=folder,
        settings=SETTINGS,
        workers=2,
        progress=False,
    )


def lay(root: Path) -> None:
    """Every photograph in one split, the first twenty in another way in the test split too."""
    for number, picture in enumerate(photographs()):
        split = "train" if number < 20 or number % 3 else "test"
        path = root / split / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
        if number < 20:
            twin = root / "test" / "ab"[number % 2] / f"{number}-again.png"
            twin.parent.mkdir(parents=True, exist_ok=True)
            again(picture, number % 4).save(twin)


def test_twenty_pairs_are_found_and_none_besides(tmp_path: Path) -> None:
    lay(tmp_path / "data")
    quality = prepared(tmp_path / "data", tmp_path / "out", 64).quality
    assert quality["samples"] >= 80
    assert quality["near_duplicates"] == 20
    for one, other in quality["near_duplicate_samples"]:
        assert Path(other).stem == f"{Path(one).stem}-again"
    assert quality["leaking"] == 0


def test_small_pictures_are_not_told_by_a_hash(tmp_path: Path) -> None:
    lay(tmp_path / "data")
    assert prepared(tmp_path / "data", tmp_path / "out", 31).quality["near_duplicates"] is None


def test_digits_are_no_near_duplicates_at_any_size(tmp_path: Path) -> None:
    write_sample_set("digits", tmp_path / "data")
    schema = prepared(tmp_path / "data", tmp_path / "out", 8)
    assert schema.quality["samples"] == 1797
    assert schema.quality["near_duplicates"] is None


def test_a_plain_and_an_evenly_shaded_picture_have_no_hash() -> None:
    shaded = np.repeat(np.arange(64, dtype=np.uint8)[None, :, None], 64, 0).repeat(3, 2)
    assert hash_of(shaded) is None
    assert hash_of(shaded * 0) is None
    assert hash_of(np.asarray(photographs()[0])) is not None


@pytest.mark.parametrize("count", [0, 1, 600, 9000])
def test_pairs_are_those_that_counting_bits_gives(count: int) -> None:
    draw = np.random.default_rng(count)
    hashes: list[int | None] = [int(v) for v in draw.integers(0, 2**63, count)]
    splits = [("train", "validation", "test")[v] for v in draw.integers(0, 3, count)]
    contents = [str(v) for v in range(count)]
    injected = list(range(0, count - 1, 60))
    for row in injected:
        bits = draw.choice(63, row // 60 % 7, replace=False)
        hashes[row + 1] = int(hashes[row] or 0) ^ sum(1 << int(bit) for bit in bits)
        splits[row], splits[row + 1] = "train", "test"
    if count > 120:
        contents[121] = contents[120]
        hashes[61] = None
    near = [
        (row, row + 1)
        for row in injected
        if (one := hashes[row]) is not None
        and (other := hashes[row + 1]) is not None
        and (one ^ other).bit_count() <= 4
        and contents[row] != contents[row + 1]
    ]
    assert near_pairs(hashes, splits, contents) == near
