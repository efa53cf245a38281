"""Packing: from folders, IDX files and tables to a prepared set, and every reason to stop."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pictures
from PIL.PngImagePlugin import PngInfo
from sklearn.datasets import load_sample_image

from runforge.atomic import clear_what_was_left
from runforge.errors import ConfigError, DataError
from runforge.manifest import Entry, read_manifest, write_quarantine
from runforge.modalities.image import Image
from runforge.modalities.table import Table as TableModality
from runforge.packing import PackingSettings, pack
from runforge.prepared import PreparedSet
from runforge.sample import Modality, Source, content_id
from runforge.schema import Schema
from runforge.sources.image_folder import ImageFolder
from runforge.sources.table import Table

SETTINGS = PackingSettings(
    target_kind="class",
    target_name="thing",
    split_validation=0.2,
    split_test=0.2,
    split_salt="s",
    max_refused=0.1,
    allow_leakage=False,
)
NODE = {"_target_": "runforge.modalities.image.Image", "height": 4}
GIVEN = {"train": "train", "validation": "validation", "test": "test"}


def picture(seed: int, size: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size), dtype=np.uint8)


def png(seed: int, size: int = 4) -> bytes:
    buffer = io.BytesIO()
    Pictures.fromarray(picture(seed, size)).save(buffer, "PNG")
    return buffer.getvalue()


def put(root: Path, name: str, content: bytes) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(content)


def photograph(name: str) -> bytes:
    """A real one of 640×427 pixels."""
    buffer = io.BytesIO()
    Pictures.fromarray(load_sample_image(f"{name}.jpg")).save(buffer, "JPEG")
    return buffer.getvalue()


def folders(root: Path, count: int = 40) -> Path:
    """Two classes of `count` pictures each."""
    for i in range(count):
        put(root, f"cat/{i}.png", png(i))
        put(root, f"dog/{i}.png", png(1000 + i))
    return root


def given(root: Path) -> Path:
    """The same with splits as folders: 20 of each class to train on, 5 to test."""
    for i in range(25):
        split = "train" if i < 20 else "test"
        put(root, f"{split}/cat/{i}.png", png(i))
        put(root, f"{split}/dog/{i}.png", png(1000 + i))
    return root


def image() -> Image:
    return Image(height=4, width=4, mode="L", max_pixels=10**4, background=255)


def packed(
    root: Path,
    folder: Path,
    *,
    settings: PackingSettings = SETTINGS,
    source: Source | None = None,
    modality: Modality | None = None,
    workers: int = 2,
) -> Schema:
    return pack(
        source or ImageFolder(splits=GIVEN),
        modality or image(),
        modality_node=NODE,
        source_node={},
        root=root,
        folder=folder,
        settings=settings,
        workers=workers,
        progress=False,
    )


def refusal(root: Path, **keys: Any) -> str:
    """The message, and that nothing is left behind."""
    out = root.parent / "out"
    with pytest.raises(DataError) as caught:
        packed(root, out / "prepared", **keys)
    assert not out.exists() or names(out) == []
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_prepared_set_holds_the_data(tmp_path: Path) -> None:
    root = folders(tmp_path / "data")
    schema = packed(root, tmp_path / "out")
    opened = PreparedSet.open(tmp_path / "out")
    assert opened.schema == schema
    assert (schema.classes, schema.packed_shape, schema.packed_dtype) == (
        ("cat", "dog"),
        (4, 4, 1),
        "uint8",
    )
    assert (schema.input_shape, schema.target_kind, schema.modality) == ((1, 4, 4), "class", NODE)
    for row, where in enumerate(opened.where):
        name, number = where.removesuffix(".png").split("/")
        seed = int(number) + (1000 if name == "dog" else 0)
        np.testing.assert_array_equal(opened.inputs[row, :, :, 0], picture(seed))
        assert schema.classes[opened.targets[row]] == name
        assert opened.ids[row] == content_id((root / where).read_bytes())
    assert opened.targets.dtype == np.int64
    training = opened.inputs[opened.rows("train")] / 255
    assert schema.statistics["mean"] == pytest.approx([training.mean()])
    assert schema.statistics["std"] == pytest.approx([training.std()])
    counted = {s: dict.fromkeys(schema.classes, 0) for s in GIVEN}
    for split in GIVEN:
        for row in opened.rows(split):
            counted[split][schema.classes[opened.targets[row]]] += 1
    assert schema.split_counts == counted
    assert names(tmp_path) == ["data", "out"]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def tree(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


def test_the_same_data_give_the_same_bytes_anywhere_with_any_number_of_threads(
    tmp_path: Path,
) -> None:
    fingerprints = set()
    trees = []
    for workers in (1, 2, 7):
        root = folders(tmp_path / f"data{workers}")
        put(root, "cat/broken.png", b"no")
        for name in ("china", "flower"):  # decoded at reduced scale
            put(root, f"cat/{name}.jpg", photograph(name))
        fingerprints.add(packed(root, tmp_path / f"out{workers}", workers=workers).fingerprint)
        trees.append(tree(tmp_path / f"out{workers}"))
    assert trees[0] == trees[1] == trees[2] and len(fingerprints) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda root: put(root, "cat/0.png", png(99)),
        lambda root: (root / "cat/0.png").rename(root / "dog/x0.png"),
        lambda root: (root / "cat/0.png").unlink(),
    ],
)
def test_other_data_have_another_fingerprint(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    root = folders(tmp_path / "data")
    before = packed(root, tmp_path / "out").fingerprint
    change(root)
    assert packed(root, tmp_path / "out").fingerprint != before


def test_adding_files_moves_none(tmp_path: Path) -> None:
    packed(folders(tmp_path / "data", 30), tmp_path / "out")
    before = PreparedSet.open(tmp_path / "out")
    packed(folders(tmp_path / "data", 60), tmp_path / "out")
    after = PreparedSet.open(tmp_path / "out")
    splits = dict(zip(after.ids, after.splits, strict=True))
    assert {i: splits[i] for i in before.ids} == dict(zip(before.ids, before.splits, strict=True))


def test_duplicates_fall_in_one_split_and_conflicting_labels_are_named(tmp_path: Path) -> None:
    root = folders(tmp_path / "data")
    for i in range(20):
        put(root, f"cat/again{i}.png", png(i))
    put(root, "dog/cat3.png", png(3))
    schema = packed(root, tmp_path / "out")
    opened = PreparedSet.open(tmp_path / "out")
    by_content: dict[str, set[str]] = {}
    for identity, split in zip(opened.ids, opened.splits, strict=True):
        by_content.setdefault(identity.split("-")[0], set()).add(split)
    assert len(set(opened.ids)) == len(opened.ids) and len(by_content) == 80
    assert all(len(splits) == 1 for splits in by_content.values())
    assert schema.quality["duplicated"] == 21
    assert schema.quality["conflicting"] == 1
    assert schema.quality["conflicting_samples"] == [["cat/3.png", "dog/cat3.png"]]
    assert sum(i.endswith("-3") for i in opened.ids) == 1


def in_other_bytes(seed: int) -> bytes:
    """The same picture in another file: a note is added, the pixels stay."""
    buffer = io.BytesIO()
    note = PngInfo()
    note.add_text("Comment", "sent by mail")
    Pictures.fromarray(picture(seed)).save(buffer, "PNG", pnginfo=note)
    assert buffer.getvalue() != png(seed)
    return buffer.getvalue()


def contradicting(root: Path) -> Path:
    """Forty pictures a class; two cats of other files are dogs too, one cat is there twice."""
    folders(root)
    for seed in (3, 4):
        put(root, f"dog/cat{seed}.png", in_other_bytes(seed))
    put(root, "cat/again5.png", in_other_bytes(5))
    return root


def test_what_is_packed_alike_is_told_where_the_files_differ(tmp_path: Path) -> None:
    schema = packed(contradicting(tmp_path / "data"), tmp_path / "out")
    opened = PreparedSet.open(tmp_path / "out")
    assert len(opened.inputs) == 83
    assert schema.quality["duplicated"] == 0 and schema.quality["packed_alike"] == 3
    assert ["cat/5.png", "cat/again5.png"] in schema.quality["packed_alike_samples"]
    assert schema.quality["conflicting"] == 2
    alike, *others = [line for line in schema.notices if "packed the same" in line]
    splits = dict(zip(opened.where, opened.splits, strict=True))
    pairs = [("cat/3.png", "dog/cat3.png"), ("cat/4.png", "dog/cat4.png")]
    pairs.append(("cat/5.png", "cat/again5.png"))
    apart = sum(splits[one] != splits[other] for one, other in pairs)
    assert apart and f"{apart} in more than one split" in alike and not others
    told = next(line for line in schema.notices if "another target" in line)
    assert told.startswith("4 samples") and "data.conflicting=drop" in told


def test_contradicting_samples_are_dropped_or_refused_as_asked(tmp_path: Path) -> None:
    root = contradicting(tmp_path / "data")
    message = refusal(root, settings=replace(SETTINGS, conflicting="refuse"))
    assert "4 samples" in message and "cat/3.png = dog/cat3.png" in message
    schema = packed(root, tmp_path / "out", settings=replace(SETTINGS, conflicting="drop"))
    opened = PreparedSet.open(tmp_path / "out")
    gone = {"cat/3.png", "cat/4.png", "dog/cat3.png", "dog/cat4.png"}
    assert len(opened.inputs) == 79 and not gone & set(opened.where)
    for row, where in enumerate(opened.where):
        seed = int("".join(filter(str.isdigit, where))) + (1000 if where.startswith("dog") else 0)
        np.testing.assert_array_equal(opened.inputs[row, :, :, 0], picture(seed))
    quality = schema.quality
    assert (quality["refused"], quality["conflicting"], quality["conflicting_dropped"]) == (0, 0, 4)
    with (tmp_path / "out" / "quarantine.csv").open(newline="") as file:
        assert {row[0] for row in list(csv.reader(file))[1:]} == gone
    kept = packed(root, tmp_path / "out", settings=replace(SETTINGS, conflicting="keep"))
    assert kept.fingerprint != schema.fingerprint and kept.quality["conflicting"] == 2


def test_contradicting_rows_of_a_table_are_dropped_too(tmp_path: Path) -> None:
    rows = [f"{i},{'ab'[i % 2]},{'pq'[i % 2]}" for i in range(60)] + ["7,b,p", "8,a,p"]
    put(tmp_path / "data", "t.csv", ("n,c,y\n" + "\n".join(rows) + "\n").encode())
    schema = table_set(tmp_path / "data", tmp_path / "out", SETTINGS)
    assert schema.quality["conflicting"] == 1 and any("2 samples" in n for n in schema.notices)
    settings = replace(SETTINGS, conflicting="drop")
    dropped = table_set(tmp_path / "data", tmp_path / "out2", settings)
    opened = PreparedSet.open(tmp_path / "out2")
    assert dropped.quality["conflicting_dropped"] == 2
    assert [w for w in ("t.csv#8", "t.csv#61", "t.csv#9", "t.csv#62") if w in opened.where] == [
        "t.csv#9",
        "t.csv#62",
    ]


def test_given_splits_are_kept_and_validation_is_carved_out_of_training(tmp_path: Path) -> None:
    schema = packed(given(tmp_path / "data"), tmp_path / "out")
    assert (schema.count("test"), schema.count("train") + schema.count("validation")) == (10, 40)
    opened = PreparedSet.open(tmp_path / "out")
    assert all(opened.where[row].startswith("test/") for row in opened.rows("test"))


def test_leakage_is_named_and_stops_unless_allowed(tmp_path: Path) -> None:
    root = given(tmp_path / "data")
    put(root, "test/cat/leak.png", png(1))
    message = refusal(root)
    assert "train/cat/1.png = test/cat/leak.png" in message
    assert "data.allow_leakage=true" in message
    schema = packed(root, tmp_path / "out", settings=replace(SETTINGS, allow_leakage=True))
    assert schema.quality["leaking"] == 1
    assert schema.quality["leaking_samples"] == [["train/cat/1.png", "test/cat/leak.png"]]


def test_refused_samples_are_in_quarantine_and_in_the_manifest(tmp_path: Path) -> None:
    root = folders(tmp_path / "data")
    put(root, "cat/cut.png", png(5)[:60])
    put(root, "dog/notes.png", b"buy milk")
    put(root, "=1+1.png", b"stray")
    schema = packed(root, tmp_path / "out")
    assert schema.quality["refused"] == 3 and schema.quality["samples"] == 83
    with (tmp_path / "out" / "quarantine.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["where", "reason"]
    assert [row[0] for row in rows[1:]] == ["cat/cut.png", "dog/notes.png", "'=1+1.png"]
    assert "truncated" in rows[1][1] and "no picture of a known format" in rows[2][1]
    entries = {e.where: e for e in read_manifest(tmp_path / "out" / "manifest.parquet")}
    assert entries["cat/cut.png"].row is None and entries["cat/cut.png"].split is None
    assert entries["dog/notes.png"].id == content_id(b"buy milk")
    assert entries["=1+1.png"].id is None
    assert sorted(e.row for e in entries.values() if e.row is not None) == list(range(80))


@pytest.mark.parametrize("beginning", ["=", "+", "-", "@"])
def test_quarantine_runs_nothing_in_a_spreadsheet(tmp_path: Path, beginning: str) -> None:
    cell = f"{beginning}cmd|' /C calc'!A0"
    write_quarantine([Entry(None, cell, "", None, None, cell)], tmp_path / "q.csv")
    with (tmp_path / "q.csv").open(newline="") as file:
        assert list(csv.reader(file))[1] == [f"'{cell}"] * 2


@pytest.mark.parametrize("control", ["\t", "\r", "\n", "\x00", "\u2028"])
def test_quarantine_has_one_line_for_each_sample(tmp_path: Path, control: str) -> None:
    write_quarantine([Entry(None, f"{control}=1", "", None, None, "r")], tmp_path / "q.csv")
    lines = (tmp_path / "q.csv").read_text().splitlines()
    assert len(lines) == 2 and lines[1].startswith("\\") and lines[1].endswith("=1,r")


def test_too_many_refused(tmp_path: Path) -> None:
    root = folders(tmp_path / "data")
    for i in range(10):
        put(root, f"cat/broken{i}.png", b"no")
    message = refusal(root)
    assert "10 of 90 samples are refused" in message and "cat/broken0.png" in message


def test_all_unreadable(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for i in range(10):
        put(root, f"cat/{i}.png", b"no")
        put(root, f"dog/{i}.png", b"no")
    settings = replace(SETTINGS, max_refused=1.0)
    assert "none of the 20 samples can be used" in refusal(root, settings=settings)


def test_a_class_without_training_samples(tmp_path: Path) -> None:
    root = folders(tmp_path / "data")
    put(root, "fox/broken.png", b"no")
    assert "no training sample of the class 'fox'" in refusal(root)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"split_validation": 0.0}, "the validation split is empty: data.split.validation=0"),
        ({"split_test": 0.0}, "the test split is empty: data.split.test=0"),
        ({"split_test": 1e-9}, "the test split is empty: no one of 80 samples fell into it"),
        ({"split_test": 0.999999, "split_validation": 0.0000005}, "the train split is empty"),
    ],
)
def test_an_empty_split(tmp_path: Path, changes: dict[str, float], what: str) -> None:
    settings = replace(SETTINGS, **changes)  # type: ignore[arg-type]
    assert what in refusal(folders(tmp_path / "data"), settings=settings)


def test_shares_that_leave_nothing_to_train_on() -> None:
    with pytest.raises(ConfigError, match=r"data\.split"):
        replace(SETTINGS, split_test=0.8)


def test_a_failed_packing_leaves_the_old_set_alone(tmp_path: Path) -> None:
    root = folders(tmp_path / "data")
    packed(root, tmp_path / "out")
    before = tree(tmp_path / "out")
    put(root, "fox/broken.png", b"no")
    with pytest.raises(DataError):
        packed(root, tmp_path / "out")
    assert tree(tmp_path / "out") == before
    assert names(tmp_path) == ["data", "out"]


def test_what_a_killed_packing_left_is_removed(tmp_path: Path) -> None:
    for name in (".set-0123abcd", ".set-0123abcd-old", ".other-0123abcd"):
        (tmp_path / name).mkdir()
    clear_what_was_left(tmp_path / "set")
    assert [path.name for path in tmp_path.iterdir()] == [".other-0123abcd"]


def test_a_fault_in_a_thread_comes_out_and_leaves_nothing(tmp_path: Path) -> None:
    class Faulty(Image):
        def decode(self, raw: Any, layout: Any, remarks: Any = None) -> np.ndarray:
            raise RuntimeError("a fault")

    modality = Faulty(height=4, width=4, mode="L", max_pixels=100, background=0)
    with pytest.raises(RuntimeError, match="a fault"):
        packed(folders(tmp_path / "data"), tmp_path / "out", modality=modality)
    assert names(tmp_path) == ["data"]


def test_progress_is_told_on_stderr_only_and_only_when_asked(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = folders(tmp_path / "data")
    packed(root, tmp_path / "out")
    assert capfd.readouterr() == ("", "")
    source = ImageFolder(splits=GIVEN)
    keys: dict[str, Any] = {
        "modality_node": NODE,
        "source_node": {},
        "root": root,
        "folder": tmp_path / "out",
    }
    pack(source, image(), **keys, settings=SETTINGS, workers=1)
    out, err = capfd.readouterr()
    assert out == "" and "80/80" in err and "samples/s" in err


def table(target: str) -> Table:
    return Table(
        file="t.csv",
        target=target,
        split_column=None,
        missing_values=[""],
        ignore=[],
        columns=None,
        separator=",",
        quote='"',
    )


def write_table(root: Path, labels: list[str]) -> Path:
    lines = [f"{i},{'ab'[i % 2]},{label}" for i, label in enumerate(labels)]
    put(root, "t.csv", ("n,c,y\n" + "\n".join(lines) + "\n").encode())
    return root


def table_set(root: Path, folder: Path, settings: PackingSettings) -> Schema:
    modality = TableModality(numbers=None, categories=None)
    return packed(root, folder, settings=settings, source=table("y"), modality=modality)


def test_a_table_of_values(tmp_path: Path) -> None:
    labels = [repr(i * 0.37 - 5) for i in range(100)]
    labels[7:10] = ["", "nan", "1_0"]
    settings = replace(SETTINGS, target_kind="value")
    schema = table_set(write_table(tmp_path / "data", labels), tmp_path / "out", settings)
    opened = PreparedSet.open(tmp_path / "out")
    assert opened.targets.dtype == np.float32 and schema.classes == ()
    expected = [float(v) for i, v in enumerate(labels) if i not in (7, 8, 9)]
    np.testing.assert_array_equal(opened.targets, np.array(expected, np.float32))
    training = opened.targets[opened.rows("train")].astype(np.float64)
    assert schema.target_mean == pytest.approx(training.mean())
    assert schema.target_std == pytest.approx(training.std())
    assert schema.split_counts["train"] == {"": len(training)}
    assert schema.quality["refused"] == 3
    reasons = (tmp_path / "out" / "quarantine.csv").read_text()
    assert "t.csv#8,it has no label" in reasons and "'nan' is no finite number" in reasons
    numbers = [i for i in range(100) if i not in (7, 8, 9)]
    np.testing.assert_array_equal(opened.inputs[:, 0], np.array(numbers, np.float32))


def test_a_table_of_classes_takes_labels_literally(tmp_path: Path) -> None:
    labels = [["NA", "None", "01", "1"][i % 4] for i in range(200)]
    schema = table_set(write_table(tmp_path / "data", labels), tmp_path / "out", SETTINGS)
    assert schema.classes == ("01", "1", "NA", "None")
    opened = PreparedSet.open(tmp_path / "out")
    assert [schema.classes[code] for code in opened.targets] == labels


def test_a_table_of_one_class(tmp_path: Path) -> None:
    root = write_table(tmp_path / "data", ["p"] * 50)
    with pytest.raises(DataError, match="one class only"):
        table_set(root, tmp_path / "out", SETTINGS)


def test_look_alike_labels_of_a_table_are_told(tmp_path: Path) -> None:
    labels = [["cat", "Cat ", "dog"][i % 3] for i in range(200)]
    schema = table_set(write_table(tmp_path / "data", labels), tmp_path / "out", SETTINGS)
    assert schema.quality["look_alike_classes"] == [["cat", "Cat "]]
