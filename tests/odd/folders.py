"""Folders as people, tools and operating systems leave them."""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image as Pictures

from runforge.prepared import PreparedSet
from tests.odd.cases import Accepted, Case, Expected, Quarantined, refused
from tests.odd.images import OVERRIDES, encoded, fill


def picture(name: str) -> bytes:
    """A small picture that no other name gives."""
    draw = np.random.default_rng(list(name.encode()))
    return encoded(Pictures.fromarray(draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)))


def lay(root: Path, *names: str) -> None:
    """Files that are pictures, all different."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(picture(name))


def split_folders(root: Path) -> None:
    """Twelve pictures of `a` and of `b` to train on, two of each to test."""
    fill(root / "train")
    lay(root, *(f"test/{label}/{n}.png" for label in "ab" for n in range(2)))


def counted(**counts: int) -> Accepted:
    """The classes, in this order, with so many samples each."""

    def right(prepared: PreparedSet) -> bool:
        found = np.bincount(prepared.targets, minlength=len(prepared.schema.classes)).tolist()
        return dict(zip(prepared.schema.classes, found, strict=True)) == counts and list(
            prepared.schema.classes
        ) == list(counts)

    return Accepted(right)


def with_more(*names: str) -> Callable[[Path], None]:
    """The two classes and further files."""

    def put(root: Path) -> None:
        fill(root)
        lay(root, *names)

    return put


def with_twin(twin: str) -> Callable[[Path], None]:
    """A class `Cat` beside one that looks like it."""
    return with_more("Cat/1.png", f"{twin}/2.png")


def with_link(name: str, target: str) -> Callable[[Path], None]:
    """A link in a class folder; `target` is relative to the data folder."""

    def put(root: Path) -> None:
        fill(root)
        lay(root.parent / "elsewhere", "x.png")
        (root / name).symlink_to(root / target)

    return put


def split_by_link(root: Path) -> None:
    """The test split is a link to a folder outside."""
    split_folders(root)
    (root / "test").rename(root.parent / "elsewhere")
    (root / "test").symlink_to(root.parent / "elsewhere")


def many_links(root: Path) -> None:
    """Thirty folders, each with two links to the next: 2³⁰ ways to one file."""
    fill(root)
    for level in range(30):
        (root / f"b/level{level}").mkdir()
    for level in range(29):
        for side in ("left", "right"):
            (root / f"b/level{level}/{side}").symlink_to(root / f"b/level{level + 1}")
    lay(root, "b/level29/x.png")


def deep(root: Path) -> None:
    """Folders in one another, fewer than Python's own tools can remove again."""
    fill(root)
    (root / "a" / "/".join(["d"] * 600)).mkdir(parents=True)


def in_bytes(name: bytes) -> Callable[[Path], None]:
    """A file whose name is no UTF-8."""

    def put(root: Path) -> None:
        fill(root)
        Path(os.fsdecode(os.fsencode(root) + b"/a/" + name)).write_bytes(picture("odd"))

    return put


def copies(root: Path, *names: str) -> None:
    """One picture under several names."""
    lay(root, names[0])
    for name in names[1:]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / names[0], root / name)


def leaking(root: Path) -> None:
    """One picture in training and test."""
    split_folders(root)
    copies(root, "train/a/same.png", "test/a/same.png")


def conflicting(root: Path) -> None:
    """One picture in two classes."""
    fill(root)
    copies(root, "a/same.png", "b/same.png")


def without_class_in_test(root: Path) -> None:
    """Three classes; the test split lacks the second."""
    split_folders(root)
    lay(root, *(f"train/c/{n}.png" for n in range(12)), "test/c/1.png")
    shutil.rmtree(root / "test" / "b")


def _keeps_indices(prepared: PreparedSet) -> bool:
    tested = [prepared.schema.classes[prepared.targets[row]] for row in prepared.rows("test")]
    absent = prepared.schema.quality["absent_classes"]["test"]
    return sorted(tested) == ["a", "a", "c"] and absent == ["b"]


def _file(root: Path) -> None:
    root.rmdir()
    root.write_bytes(b"")


def _fifo(root: Path) -> None:
    fill(root)
    os.mkfifo(root / "a" / "pipe")


def _empty_class(root: Path) -> None:
    fill(root)
    (root / "c").mkdir()


def _only_empty(root: Path) -> None:
    (root / "a").mkdir()
    (root / "b").mkdir()


JUNK = (".DS_Store", "a/.DS_Store", "a/Thumbs.db", "b/desktop.ini")
LONG = "x" * 246 + ".png"
AS_LAID = counted(a=12, b=12)
ONE_MORE = counted(a=13, b=12)

KINDS: list[tuple[str, Callable[[Path], None], Expected]] = [
    ("a class missing in the test split", without_class_in_test, Accepted(_keeps_indices)),
    (
        "a class in the test split only",
        lambda root: (split_folders(root), lay(root, "test/fox/1.png"))[0],
        refused("the test split has the class 'fox'"),
    ),
    ("an empty class", _empty_class, refused("c: the class folder is empty")),
    ("nothing but empty classes", _only_empty, refused("the class folder is empty")),
    ("no folders", lambda root: None, refused("there are no class folders")),
    ("one class", lambda root: lay(root, "a/1.png"), refused("one class only (a)")),
    ("a file for a root", _file, refused("data.root=data")),
    ("no root", lambda root: root.rmdir(), refused("no such folder", "data.root=data")),
    (
        "what Jupyter leaves",
        with_more(".ipynb_checkpoints/1.png", "a/.ipynb_checkpoints/1.png"),
        AS_LAID,
    ),
    ("what operating systems leave", with_more(*JUNK), AS_LAID),
    ("what an archive of macOS leaves", with_more("__MACOSX/a/._1.png", "a/._1.png"), AS_LAID),
    (
        "classes 1, 2 and 10",
        lambda root: lay(root, *(f"{c}/{n}.png" for c in (1, 10, 2) for n in range(12))),
        counted(**{"1": 12, "2": 12, "10": 12}),
    ),
    ("classes that differ in case", with_twin("cat"), refused("look the same", "'cat'")),
    ("classes that differ in a blank", with_twin("Cat "), refused("look the same", "'Cat '")),
    ("classes that differ in a sign not seen", with_twin("C\u200bat"), refused("look the same")),
    ("classes that differ in a hard blank", with_twin("Cat\u00a0"), refused("look the same")),
    (
        "classes in two Unicode forms",
        with_more(*(f"{unicodedata.normalize(f, 'chaîne')}/{f}.png" for f in ("NFC", "NFD"))),
        refused("look the same"),
    ),
    ("a link to its own folder", with_link("a/loop", "a"), Quarantined("a/loop", "leads back")),
    ("a link to the root", with_link("a/loop", "."), Quarantined("a/loop", "leads back")),
    ("a link to itself", with_link("a/loop.png", "a/loop.png"), Quarantined("a/loop.png", "link")),
    ("a link out of the root", with_link("a/out", "../elsewhere"), Quarantined("a/out", "leaves")),
    (
        "a link to a file outside",
        with_link("a/l", "../elsewhere/x.png"),
        Quarantined("a/l", "leaves"),
    ),
    ("a link to nothing", with_link("a/none", "a/nothing"), Quarantined("a/none", "to nothing")),
    ("a split that is a link out", split_by_link, refused("test: it is a link that leaves")),
    ("2³⁰ ways through links", many_links, Quarantined("b/level0/left/left", "behind a link")),
    ("600 folders in one another", deep, Quarantined("a" + "/d" * 99, "more than 100 folders")),
    ("a named pipe", _fifo, Quarantined("a/pipe", "no regular file")),
    ("a picture in two splits", leaking, refused("1 content is in more than one split")),
    (
        "a picture in two classes",
        conflicting,
        Accepted(lambda s: s.schema.quality["conflicting"] == 1),
    ),
    ("a stray file", with_more("notes.txt"), Quarantined("notes.txt", "no class folder")),
    (
        "a folder beside the splits",
        lambda root: (split_folders(root), lay(root, "val/a/1.png"))[0],
        refused("val/ lies beside train/"),
    ),
    ("a name that is no UTF-8", in_bytes(b"caf\xe9.png"), ONE_MORE),
    ("a name with a line break", with_more("a/two\nlines.png"), ONE_MORE),
    ("a name with a tab", with_more("a/a\tb.png"), ONE_MORE),
    ("a name of 250 letters", with_more(f"a/{LONG}"), ONE_MORE),
    ("a name like an option", with_more("a/-rf --no-preserve-root"), ONE_MORE),
    ("a name with quotes", with_more('a/\'; "$(touch x)" `y`.png'), ONE_MORE),
    ("a name in Chinese with an emoji", with_more("a/猫🐈.png"), ONE_MORE),
    ("a name of a bracket pattern", with_more("a/[0-9]*.png"), ONE_MORE),
    (
        "a class named like a formula",
        with_more(*(f"=1+1/{n}.png" for n in range(12))),
        counted(**{"=1+1": 12, "a": 12, "b": 12}),
    ),
]

CASES = [Case(f"folder: {name}", put, expected, OVERRIDES) for name, put, expected in KINDS]
