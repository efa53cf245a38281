"""Listing class folders: what is a class, what a sample, what is refused."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from runforge.errors import ConfigError, DataError, Refused
from runforge.notices import collected
from runforge.sources.image_folder import ImageFolder

SPLITS = {"train": "train", "validation": "validation", "test": "test"}


def lay(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def listed(root: Path, splits: dict[str, str] = SPLITS) -> list[tuple[str, str, str | None]]:
    return [(s.where, s.label, s.split) for s in ImageFolder(splits=splits).samples(root)]


def refusal(root: Path, splits: dict[str, str] = SPLITS) -> str:
    with pytest.raises(DataError) as caught:
        ImageFolder(splits=splits).samples(root)
    message = str(caught.value)
    assert "\n" not in message and str(root) in message
    return message


def test_classes_and_files_are_in_natural_order(tmp_path: Path) -> None:
    lay(tmp_path, "10/a.png", "2/b10.png", "2/b9.png", "1/c.png")
    assert listed(tmp_path) == [
        ("1/c.png", "1", None),
        ("2/b9.png", "2", None),
        ("2/b10.png", "2", None),
        ("10/a.png", "10", None),
    ]


def test_a_sample_reads_the_bytes_of_its_file(tmp_path: Path) -> None:
    lay(tmp_path, "a/x.png", "b/y.png")
    assert [s.read() for s in ImageFolder(splits=SPLITS).samples(tmp_path)] == [
        b"a/x.png",
        b"b/y.png",
    ]


def test_given_splits_are_taken_and_may_have_other_names(tmp_path: Path) -> None:
    lay(tmp_path, "training_set/a/1.png", "training_set/b/2.png", "test_set/a/3.png")
    lay(tmp_path, "test_set/b/4.png")
    found = listed(tmp_path, {"train": "training_set", "test": "test_set"})
    assert [split for _, _, split in found] == ["train", "train", "test", "test"]
    assert [label for _, label, _ in found] == ["a", "b", "a", "b"]


def test_nested_folders_belong_to_their_class_and_junk_to_none(tmp_path: Path) -> None:
    lay(tmp_path, "a/deep/er/x.png", "a/.DS_Store", "a/Thumbs.db", "a/deep/desktop.ini", "b/y.png")
    lay(tmp_path, ".ipynb_checkpoints/z.png", "__MACOSX/a/z.png", ".DS_Store", "b/.hidden/z.png")
    assert listed(tmp_path) == [("a/deep/er/x.png", "a", None), ("b/y.png", "b", None)]


def test_pictures_beside_the_class_folders_are_listed_to_be_refused(tmp_path: Path) -> None:
    lay(tmp_path, "a/x.png", "b/y.png", "z.png")
    stray = ImageFolder(splits=SPLITS).samples(tmp_path)[-1]
    assert (stray.where, stray.label) == ("z.png", "")
    with pytest.raises(Refused, match="no class folder"):
        stray.read()


def test_what_is_no_picture_is_no_sample_and_is_told(tmp_path: Path) -> None:
    lay(tmp_path, "a/x.PNG", "b/y.jpeg", "b/notes.txt", "a/README", "LICENSE", "labels.csv")
    (tmp_path / "b" / "no ending").write_bytes(b"\x89PNG\r\n\x1a\n")
    with collected() as told:
        assert [where for where, _, _ in listed(tmp_path)] == ["a/x.PNG", "b/no ending", "b/y.jpeg"]
    assert len(told) == 2
    assert "2 files left out, as no picture" in told[0] and "a/README, b/notes.txt" in told[0]
    assert told[1] == "2 files in no class folder, so no sample: labels.csv, LICENSE"


@pytest.mark.parametrize("names", [("train", "val"), ("Training", "valid"), ("train", "dev")])
def test_the_usual_names_of_splits_are_known(tmp_path: Path, names: tuple[str, str]) -> None:
    lay(tmp_path, *(f"{folder}/{label}/{folder}.png" for folder in names for label in "ab"))
    with collected() as told:
        found = ImageFolder().samples(tmp_path)
    assert [s.split for s in found] == ["train", "train", "validation", "validation"]
    assert [s.label for s in found] == ["a", "b", "a", "b"]
    assert any(f"{names[1]}/ is taken as the validation split" in line for line in told)


def test_a_class_may_be_called_like_a_split(tmp_path: Path) -> None:
    lay(tmp_path, "train/1.png", "plane/2.png", "test/3.png")
    found = ImageFolder().samples(tmp_path)
    assert [(s.label, s.split) for s in found] == [(n, None) for n in ("plane", "test", "train")]


def test_two_folders_of_one_split(tmp_path: Path) -> None:
    lay(tmp_path, *(f"{f}/{label}/1.png" for f in ("train", "val", "valid") for label in "ab"))
    with pytest.raises(DataError, match="val/ and valid/ both mean the validation split"):
        ImageFolder().samples(tmp_path)


def test_test_pictures_without_classes_are_told_how_to_go_on(tmp_path: Path) -> None:
    lay(tmp_path, "train/a/1.png", "train/b/2.png", "test/3.png")
    with pytest.raises(DataError, match=r"test: there are no class folders.*move it out"):
        ImageFolder().samples(tmp_path)


def test_classes_one_folder_further_down(tmp_path: Path) -> None:
    lay(tmp_path, "PetImages/Cat/1.png", "PetImages/Dog/2.png")
    with pytest.raises(DataError) as caught:
        ImageFolder().samples(tmp_path)
    root = str(caught.value).rpartition("data.root=")[2]
    assert [s.label for s in ImageFolder().samples(Path(root))] == ["Cat", "Dog"]


def test_patterns_say_what_is_a_sample(tmp_path: Path) -> None:
    lay(tmp_path, "a/1.png", "a/1_flip.png", "a/x.raw2", "b/2.png", "b/deep/3.png")
    chosen = ImageFolder(include=["*.raw2", "b/*"], exclude=["b/deep/*"]).samples(tmp_path)
    assert [s.where for s in chosen] == ["a/x.raw2", "b/2.png"]
    with pytest.raises(DataError, match=r"a: no picture of it is left; see data\.source\.include"):
        ImageFolder(exclude=["a/*"]).samples(tmp_path)


def test_names_of_any_script_and_bytes_that_are_no_text(tmp_path: Path) -> None:
    lay(tmp_path, "猫/a b\tc.png", "é/x.png")
    raw = os.fsencode(tmp_path) + b"/\xe9t\xe9"
    Path(os.fsdecode(raw)).mkdir()
    (Path(os.fsdecode(raw)) / "y.png").write_bytes(b"y")
    found = listed(tmp_path)
    assert {label for _, label, _ in found} == {"猫", "é", "\\xe9t\\xe9"}
    assert all(where.encode() for where, _, _ in found)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda root, outside: (root / "a" / "l.png").symlink_to(outside / "s.png"), "leaves"),
        (lambda root, outside: (root / "a" / "l").symlink_to(outside), "leaves"),
        (lambda root, outside: (root / "a" / "l").symlink_to(root / "a"), "leads back"),
        (lambda root, outside: (root / "a" / "l").symlink_to(root), "leads back"),
        (lambda root, outside: (root / "a" / "l").symlink_to(root / "none"), "to nothing"),
        (lambda root, outside: os.mkfifo(root / "a" / "l"), "no regular file"),
    ],
)
def test_links_out_of_the_root_and_loops_are_refused(tmp_path: Path, make, reason) -> None:
    root = lay(tmp_path / "data", "a/x.png", "b/y.png")
    outside = lay(tmp_path / "outside", "s.png")
    make(root, outside)
    samples = ImageFolder(splits=SPLITS).samples(root)
    assert len(samples) == 3
    link = next(s for s in samples if s.where.startswith("a/l"))
    with pytest.raises(Refused, match=reason):
        link.read()


def test_links_inside_the_root_are_followed_and_cross_loops_end(tmp_path: Path) -> None:
    root = lay(tmp_path, "a/x.png", "b/y.png")
    (root / "a" / "to_b").symlink_to(root / "b")
    (root / "b" / "to_a").symlink_to(root / "a")
    samples = ImageFolder(splits=SPLITS).samples(root)
    where = [s.where for s in samples]
    assert where == [
        "a/to_b/to_a",
        "a/to_b/y.png",
        "a/x.png",
        "b/to_a/to_b",
        "b/to_a/x.png",
        "b/y.png",
    ]


def test_the_root_itself_may_be_a_link(tmp_path: Path) -> None:
    lay(tmp_path / "real", "a/x.png", "b/y.png")
    (tmp_path / "data").symlink_to(tmp_path / "real")
    assert len(listed(tmp_path / "data")) == 2


def test_no_root_empty_root_and_a_file_for_a_root(tmp_path: Path) -> None:
    assert "no such folder" in refusal(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    assert "no class folders" in refusal(tmp_path / "empty")
    (tmp_path / "file").write_text("")
    assert "no folder" in refusal(tmp_path / "file")


def test_an_empty_class_folder_is_named(tmp_path: Path) -> None:
    lay(tmp_path, "a/x.png", "b/.DS_Store")
    assert "b: the class folder is empty" in refusal(tmp_path)


def test_one_class_is_not_enough(tmp_path: Path) -> None:
    assert "one class only (a)" in refusal(lay(tmp_path, "a/x.png"))


def test_a_class_that_training_lacks_is_named(tmp_path: Path) -> None:
    lay(tmp_path, "train/a/1.png", "train/b/2.png", "test/a/3.png", "test/fox/4.png")
    assert "the test split has the class 'fox'" in refusal(tmp_path)


def test_a_split_may_lack_a_class(tmp_path: Path) -> None:
    lay(tmp_path, *(f"train/{c}/1.png" for c in "abc"), "test/a/4.png", "test/c/5.png")
    assert len(listed(tmp_path)) == 5


@pytest.mark.parametrize("twin", ["cat", "Cat ", "CAT", "c\u200bat"])
def test_class_names_that_look_the_same(tmp_path: Path, twin: str) -> None:
    message = refusal(lay(tmp_path, "Cat/1", f"{twin}/2"))
    assert "look the same" in message and repr(twin) in message


def test_class_names_in_two_unicode_forms(tmp_path: Path) -> None:
    name = "chaîne"
    lay(tmp_path, *(f"{unicodedata.normalize(form, name)}/1" for form in ("NFC", "NFD")))
    assert "look the same" in refusal(tmp_path)


def test_a_folder_beside_the_splits_is_not_passed_over(tmp_path: Path) -> None:
    lay(tmp_path, "train/a/1", "train/b/2", "val/a/3", "val/b/4")
    assert "val/ lies beside train/" in refusal(tmp_path)


def test_a_test_folder_without_a_training_folder(tmp_path: Path) -> None:
    assert "no folder to train on" in refusal(lay(tmp_path, "test/a/1", "test/b/2"))


def test_an_unknown_split_in_the_configuration() -> None:
    with pytest.raises(ConfigError, match="no split 'valid'"):
        ImageFolder(splits={"valid": "val"})
