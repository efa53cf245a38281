"""What is a picture and what goes with one, by names and first bytes alone."""

from __future__ import annotations

import io
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pictures

from runforge import config
from runforge.files import Found
from runforge.notices import collected
from runforge.picture_files import Chooser, Listed, companions, is_picture
from runforge.picture_survey import FORMATS
from runforge.settings import plain
from tests.conftest import REPOSITORY


def items(*names: str) -> list[Listed]:
    return [Listed(Found(Path("/nowhere", name)), name, "a", None) for name in names]


@pytest.mark.parametrize("kind", FORMATS)
def test_files_of_every_format_are_told_by_their_first_bytes(tmp_path: Path, kind: str) -> None:
    for mode in ("L", "RGB"):
        buffer = io.BytesIO()
        Pictures.fromarray(np.zeros((5, 4), np.uint8)).convert(mode).save(buffer, kind)
        (tmp_path / mode).write_bytes(buffer.getvalue())
        assert is_picture(tmp_path / mode)


@pytest.mark.parametrize("content", [b"", b"Copyright", b"file,label\n", b"{}", b"\0" * 40, b"P7"])
def test_other_files_are_no_pictures(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "LICENSE").write_bytes(content)
    assert not is_picture(tmp_path / "LICENSE")


def test_what_can_not_be_read_but_is_meant_as_a_picture_is_one() -> None:
    """So that it is refused and counted."""
    assert is_picture(Path("/nowhere/IMG_1.HEIC")) and is_picture(Path("/nowhere/x.dcm"))


MASKS = {
    "a/benign (1).png": {"a/benign (1)_mask.png", "a/benign (1)_mask_2.png"},
    "a/ISIC_7.jpg": {"a/ISIC_7_segmentation.png", "a/ISIC_7 Mask.png"},
    "a/images/x.png": {"a/masks/x.png"},
    "a/images/y.jpg": {"a/GT/y_mask.png"},
}
ALONE = {
    *("a/mask.png", "a/z_mask.png", "a/unmask.png", "b/benign (1)_mask.png", "a/masks/w.png"),
    *("a/benign (1)mask.png", "b/x.png", "masks/x.png"),
    *("mask/1.png", "no_mask/1.png", "train/mask/1.png", "train/no_mask/1.png"),
}


def test_masks_are_those_that_are_named_after_a_picture() -> None:
    every = [*MASKS, *(name for names in MASKS.values() for name in names), *ALONE]
    assert companions(every) == set().union(*MASKS.values())


def test_masks_are_left_out_and_told_unless_asked_for() -> None:
    listed = items("a/x.png", "a/x_mask.png", "a/y.png")
    with collected() as told:
        assert [i.where for i in Chooser().chosen(listed)] == ["a/x.png", "a/y.png"]
    assert len(told) == 1 and "1 file left out" in told[0] and "a/x_mask.png" in told[0]
    with collected() as told:
        assert len(Chooser(exclude=[]).chosen(listed)) == 3
    assert told == []
    with collected() as told:
        chosen = Chooser(include=["*_mask.png"], exclude=[]).chosen(listed)
        assert [i.where for i in chosen] == ["a/x_mask.png"]
    assert told == ["2 files left out by data.source.include: a/x.png, a/y.png"]


def test_other_views_of_one_thing_are_told_and_kept() -> None:
    names = [f"a/{n}{end}.jpg" for n in range(6) for end in ("", "_flip")]
    with collected() as told:
        assert len(Chooser().chosen(items(*names))) == 12
    assert len(told) == 1 and "6 files" in told[0] and '"*_flip.*"' in told[0]
    with collected() as told:
        assert len(Chooser(exclude=["*_flip.*"]).chosen(items(*names))) == 6
    assert told == [
        "6 files left out by data.source.exclude: a/0_flip.jpg, a/1_flip.jpg, a/2_flip.jpg, …"
    ]


def test_numbered_names_are_no_views() -> None:
    names = [f"a/cat{end}.jpg" for end in ("", "_1", "_2", " (1)", "-10", ".3")]
    with collected() as told:
        assert len(Chooser().chosen(items(*names, "a/cat_small.jpg"))) == 7
    assert told == []


def test_what_a_notice_says_to_write_can_be_written(tmp_path: Path) -> None:
    names = [f"a/{n}{end}" for n in range(6) for end in (".jpg", " flip.jpg", "_mask.png")]
    (tmp_path / "notes.txt").write_text("buy milk")
    notes = Listed(Found(tmp_path / "notes.txt"), "a/notes.txt", "a", None)
    with collected() as told:
        Chooser().chosen([*items(*names), notes])
    hints = [shlex.split(line.rpartition("; ")[2])[0] for line in told]
    assert hints == [
        'data.source.include=["*"]',
        "data.source.exclude=[]",
        'data.source.exclude=["* flip.*"]',
    ]
    written = [config.compose(REPOSITORY, [hint]).settings.data.source for hint in hints]
    assert [(plain(s)["include"], plain(s)["exclude"]) for s in written] == [
        (["*"], None),
        (None, []),
        (None, ["* flip.*"]),
    ]
