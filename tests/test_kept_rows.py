"""Rows kept from one preparation to the next: only what is new is decoded, with the same result."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pictures

from runforge.kept_rows import INDEX, ROWS
from runforge.modalities.image import Image
from runforge.packing import PackingSettings, pack
from runforge.sources.image_folder import ImageFolder

SETTINGS = PackingSettings(
    target_kind="class",
    target_name="thing",
    split_validation=0.2,
    split_test=0.2,
    split_salt="s",
    max_refused=0.1,
    allow_leakage=False,
)
COUNT = 40


def put(root: Path, name: str, seed: int) -> None:
    """A JPEG of noise in blocks, every third one grey: there is something to remark on."""
    draw = np.random.default_rng(seed)
    blocks = Pictures.fromarray(draw.integers(0, 256, (8, 9, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    large = blocks.resize((90, 80), Pictures.Resampling.NEAREST)
    large.convert("L" if seed % 3 == 0 else "RGB").save(buffer, "JPEG")
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(buffer.getvalue())


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    for number in range(COUNT):
        put(root, f"{'ab'[number % 2]}/{number}.jpg", number)
    (root / "a/broken.jpg").write_bytes(b"no picture")
    return root


def prepared(data: Path, folder: Path, kept: Path | None, side: int = 40) -> list[str]:
    """What it said; the set is in `folder`."""
    keys: dict[str, Any] = {"height": side, "width": side, "mode": "RGB", "max_pixels": 10**6}
    said = list[str]()
    pack(
        ImageFolder(splits={}),
        Image(**keys, background=0),
        modality_node=keys,
        source_node={},
        root=data,
        folder=folder,
        settings=SETTINGS,
        workers=2,
        progress=False,
        kept=kept,
        say=said.append,
    )
    return said


def tree(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_of_data_that_grew_only_the_new_file_is_decoded(data: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    assert prepared(data, tmp_path / "one", kept) == []
    put(data, "a/new.jpg", 1000)
    (data / "b/1.jpg").rename(data / "b/renamed.jpg")
    # The new one and the broken one, of which there is no row.
    assert prepared(data, tmp_path / "two", kept) == [f"{COUNT} samples were decoded before, 2 now"]
    prepared(data, tmp_path / "anew", None)
    assert tree(tmp_path / "two") == tree(tmp_path / "anew")
    assert b"L made RGB" in tree(tmp_path / "two")["schema.json"]


def test_what_was_taken_away_is_kept_no_longer(data: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    prepared(data, tmp_path / "one", kept)
    gone = (data / "a/0.jpg").read_bytes()
    (data / "a/0.jpg").unlink()
    prepared(data, tmp_path / "two", kept)
    (data / "a/0.jpg").write_bytes(gone)
    said = prepared(data, tmp_path / "three", kept)
    assert said == [f"{COUNT - 1} samples were decoded before, 2 now"]
    assert tree(tmp_path / "three") == tree(tmp_path / "one")
    assert sorted(path.name for path in kept.iterdir()) == sorted([INDEX, ROWS])


def test_the_rows_take_no_room_of_their_own(data: Path, tmp_path: Path) -> None:
    prepared(data, tmp_path / "one", tmp_path / "kept")
    assert (tmp_path / "kept" / ROWS).samefile(tmp_path / "one" / "inputs.npy")


def test_another_size_is_decoded_anew(data: Path, tmp_path: Path) -> None:
    prepared(data, tmp_path / "one", tmp_path / "kept")
    assert prepared(data, tmp_path / "two", tmp_path / "kept", side=48) == []


def turned(path: Path, place: int) -> None:
    """One bit of a file."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.unlink()  # Not the prepared set itself, which has the same content.
    path.write_bytes(content)


DAMAGE: dict[str, Callable[[Path], None]] = {
    "a row": lambda kept: turned(kept / ROWS, -1000),
    "the index": lambda kept: turned(kept / INDEX, 500),
    "no rows": lambda kept: (kept / ROWS).unlink(),
    "a cut index": lambda kept: (kept / INDEX).write_bytes((kept / INDEX).read_bytes()[:400]),
    "no text": lambda kept: (kept / INDEX).write_bytes(b"\xff\xfe"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damaged_rows_are_noticed_and_made_again(what: str, data: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    prepared(data, tmp_path / "one", kept)
    DAMAGE[what](kept)
    said = prepared(data, tmp_path / "two", kept)
    assert said == ["the rows kept from before are damaged: all are decoded again"]
    assert tree(tmp_path / "two") == tree(tmp_path / "one")
    assert prepared(data, tmp_path / "three", kept) == [
        f"{COUNT} samples were decoded before, 1 now"
    ]
