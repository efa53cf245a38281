"""Opening a prepared set, whole or damaged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from runforge.arrays import RowWriter, Selected, open_rows
from runforge.errors import DataError
from runforge.manifest import Entry, read_manifest, write_manifest
from runforge.modalities.table import Table as TableModality
from runforge.packing import PackingSettings, pack
from runforge.prepared import PreparedSet
from runforge.sample import SPLITS
from runforge.sources.table import Table


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = "".join(f"{i},{'pq'[i % 2]}\n" for i in range(60))
    (tmp_path / "t.csv").write_text("n,y\n" + rows)
    pack(
        Table(
            file="t.csv",
            target="y",
            split_column=None,
            missing_values=[],
            ignore=[],
            columns=None,
            separator=",",
            quote='"',
        ),
        TableModality(numbers=None, categories=None),
        modality_node={"_target_": "x"},
        source_node={},
        root=tmp_path,
        folder=tmp_path / "prepared",
        settings=PackingSettings("class", "y", 0.2, 0.2, "s", 0.0, False),
        workers=1,
        progress=False,
    )
    return tmp_path / "prepared"


def test_rows_of_the_splits_are_a_partition(folder: Path) -> None:
    opened = PreparedSet.open(folder)
    rows = [opened.rows(split) for split in SPLITS]
    assert all(r.dtype == np.int64 and (np.diff(r) > 0).all() for r in rows)
    assert sorted(np.concatenate(rows).tolist()) == list(range(60))
    assert [len(r) for r in rows] == [opened.schema.count(split) for split in SPLITS]
    with pytest.raises(ValueError, match="valid"):
        opened.rows("valid")


def test_inputs_are_memory_mapped_and_read_only(folder: Path) -> None:
    opened = PreparedSet.open(folder)
    assert isinstance(opened.inputs, np.memmap) and not opened.inputs.flags.writeable
    assert opened.where[4] == "t.csv#5" and len(opened.ids) == 60


@pytest.mark.parametrize("name", ["schema.json", "manifest.parquet", "inputs.npy", "targets.npy"])
def test_an_incomplete_set(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(DataError, match=f"there is no {name}; run `dvc repro prepare`"):
        PreparedSet.open(folder)


@pytest.mark.parametrize("name", ["schema.json", "manifest.parquet", "inputs.npy", "targets.npy"])
@pytest.mark.parametrize("kept", [0, 0.5])
def test_a_cut_file(folder: Path, name: str, kept: float) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(DataError, match="no whole prepared set"):
        PreparedSet.open(folder)


def test_arrays_of_another_set_and_another_format(folder: Path) -> None:
    schema = json.loads((folder / "schema.json").read_text())
    (folder / "schema.json").write_text(json.dumps({**schema, "format": 99}))
    with pytest.raises(DataError, match="its format is 99"):
        PreparedSet.open(folder)
    (folder / "schema.json").write_text(json.dumps(schema))
    np.save(folder / "targets.npy", np.zeros(3, np.int64))
    with pytest.raises(DataError, match="60 inputs, 3 targets"):
        PreparedSet.open(folder)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="dvc repro prepare"):
        PreparedSet.open(tmp_path / "none")


def test_the_manifest_comes_back_as_it_was(tmp_path: Path) -> None:
    entries = [
        Entry("a", "x/1\n.png", "NA", "train", 0, None),
        Entry(None, "猫.png", "", None, None, "it is empty"),
    ]
    write_manifest(entries, tmp_path / "m.parquet")
    assert read_manifest(tmp_path / "m.parquet") == entries


@pytest.mark.parametrize("count", [1, 9, 10, 1000])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_rows_are_written_as_numpy_writes_them(tmp_path: Path, count: int, dtype: str) -> None:
    rows = np.arange(count * 6).reshape(count, 2, 3).astype(dtype)
    with RowWriter(tmp_path / "a.npy") as writer:
        for row in rows:
            writer.append(row)
    np.save(tmp_path / "b.npy", rows)
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
    np.testing.assert_array_equal(open_rows(tmp_path / "a.npy"), rows)


def test_a_row_unlike_the_first_is_a_fault_of_ours(tmp_path: Path) -> None:
    with RowWriter(tmp_path / "a.npy") as writer, pytest.raises(TypeError, match="after"):
        writer.append(np.zeros(3, np.uint8))
        writer.append(np.zeros(4, np.uint8))


def test_selected_rows_are_those_of_the_array() -> None:
    source = np.random.default_rng(0).normal(size=(50, 3))
    selected, wanted = Selected(source, np.arange(0, 50, 3)), source[::3]
    assert len(selected) == len(wanted)
    np.testing.assert_array_equal(selected[5:12], wanted[5:12])
    np.testing.assert_array_equal(selected[:, 1], wanted[:, 1])
