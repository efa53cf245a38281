"""Pictures that a CSV file lists: columns found, cells resolved, splits and strays told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runforge.errors import DataError, Refused
from runforge.notices import collected
from runforge.sources.image_folder import ImageFolder
from runforge.sources.image_list import ImageList

PNG = b"\x89PNG\r\n\x1a\n"


def lay(root: Path, text: str, *names: str, file: str = "labels.csv") -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(PNG + name.encode())
    (root / file).write_text(text, encoding="utf-8")
    return root


def listed(root: Path, **keys: Any) -> list[tuple[str, str, str | None]]:
    return [(s.where, s.label, s.split) for s in ImageList(**keys).samples(root)]


FOUR = tuple(f"images/{n}.png" for n in range(4))


@pytest.mark.parametrize(
    "cell",
    ["{n}.png", "{n}", "images/{n}.png", "./images/{n}.png", "images\\{n}.png", "/set/{n}.png"],
)
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_cell_names_a_picture_in_several_ways(tmp_path: Path, cell: str, separator: str) -> None:
    lines = [separator.join((cell.format(n=n), "ab"[n % 2])) for n in range(4)]
    lay(tmp_path, "\n".join([f"file{separator}what", *lines]), *FOUR)
    expected = [(f"images/{n}.png", "ab"[n % 2], None) for n in range(4)]
    assert listed(tmp_path) == expected
    with collected() as told:
        by_folder = ImageFolder().samples(tmp_path)
    assert [(s.where, s.label, s.split) for s in by_folder] == expected
    assert "path 'file', label 'what'" in told[0] and "data=image_list" in told[0]
    assert [s.read() for s in by_folder] == [PNG + name.encode() for name in FOUR]


def test_columns_are_found_among_others_or_named(tmp_path: Path) -> None:
    head = "id,age,path,Label,other\n"
    rows = "".join(f"{n},{n * 7},images/{n}.png,{'ab'[n % 2]},x\n" for n in range(4))
    lay(tmp_path, head + rows, *FOUR)
    assert [label for _, label, _ in listed(tmp_path)] == ["a", "b", "a", "b"]
    assert [label for _, label, _ in listed(tmp_path, label="age")] == ["0", "7", "14", "21"]
    with pytest.raises(DataError, match=r"no column 'kind'.*data\.source\.label"):
        listed(tmp_path, label="kind")


def test_no_certain_label(tmp_path: Path) -> None:
    lay(tmp_path, "f,one,two\n" + "".join(f"{n}.png,a,b\n" for n in range(4)), *FOUR)
    with pytest.raises(DataError, match=r"no column certainly is a label.*data\.source\.label="):
        listed(tmp_path)
    with pytest.raises(DataError, match=r"data\.source\.label="):
        ImageFolder().samples(tmp_path)
    assert {label for _, label, _ in listed(tmp_path, label="two")} == {"b"}


def test_splits_are_taken_where_every_row_has_one(tmp_path: Path) -> None:
    splits = ("train", "Valid", "test", "train")
    rows = "".join(f"{n}.png,a,{split}\n" for n, split in enumerate(splits))
    lay(tmp_path, "f,label,split\n" + rows, *FOUR)
    assert [s for _, _, s in listed(tmp_path)] == ["train", "validation", "test", "train"]
    lay(tmp_path, "f,label,group\n" + rows.replace("Valid", "nobody"), *FOUR)
    assert {s for _, _, s in listed(tmp_path)} == {None}
    with pytest.raises(DataError, match="'nobody' in column 'group' is no split"):
        listed(tmp_path, split_column="group")


def test_rows_without_a_picture_are_refused_and_pictures_without_a_row_told(tmp_path: Path) -> None:
    rows = "0.png,a\nimages/gone.png,b\n1.png,\nagain.png,b\n2.png,b\n"
    lay(tmp_path, "f,label\n" + rows, *FOUR, "one/again.png", "two/again.png")
    with collected() as told:
        samples = ImageList(path="f").samples(tmp_path)
    reasons = dict[str, str]()
    for sample in samples:
        try:
            sample.read()
        except Refused as refused:
            reasons[sample.where] = str(refused)
    assert list(reasons) == ["labels.csv#2", "labels.csv#4"]
    assert "'images/gone.png' names no picture" in reasons["labels.csv#2"]
    assert "names 2 pictures" in reasons["labels.csv#4"]
    assert any(
        "3 files left out, as not listed" in line and "images/3.png" in line for line in told
    )


def test_class_folders_go_before_a_list(tmp_path: Path) -> None:
    lay(tmp_path, "f,label\na/1.png,x\nb/2.png,y\n", "a/1.png", "b/2.png")
    assert [s.label for s in ImageFolder().samples(tmp_path)] == ["a", "b"]


def test_one_folder_of_a_split_goes_before_a_list_where_it_holds_classes(tmp_path: Path) -> None:
    text = "f,label\n1.png,x\n2.png,y\n"
    lay(tmp_path / "one", text, "train/a/1.png", "train/b/2.png")
    assert [s.label for s in ImageFolder().samples(tmp_path / "one")] == ["a", "b"]
    lay(tmp_path / "two", text, "train/1.png", "train/2.png")
    assert [s.label for s in ImageFolder().samples(tmp_path / "two")] == ["x", "y"]


def test_two_lists(tmp_path: Path) -> None:
    text = "f,label\n" + "".join(f"{n}.png,a\n" for n in range(4))
    lay(lay(tmp_path, text, *FOUR), text, file="more.csv")
    with pytest.raises(DataError, match=r"both list pictures.*data\.source\.file=labels\.csv"):
        ImageFolder().samples(tmp_path)
    assert len(listed(tmp_path, file="more.csv")) == 4


def test_a_file_that_lists_no_pictures(tmp_path: Path) -> None:
    lay(tmp_path, "n,label\n1,a\n2,b\n", "images/cat.png")
    with pytest.raises(DataError, match="one class only"):
        ImageFolder().samples(tmp_path)
    with pytest.raises(DataError, match=r"no CSV file that lists pictures"):
        listed(tmp_path)
    with pytest.raises(DataError, match="no column certainly names pictures"):
        listed(tmp_path, file="labels.csv")


def test_cells_do_not_lead_out_of_the_root(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(PNG)
    root = lay(tmp_path / "data", "f,label\n../secret.png,a\n0.png,b\n", *FOUR)
    samples = ImageList(file="labels.csv", path="f").samples(root)
    with pytest.raises(Refused, match="names no picture"):
        samples[0].read()
