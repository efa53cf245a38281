"""What preparing tells of a table: columns by kind, what gives the target away, rows that belong
together; and that it says nothing of tables where nothing is odd."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runforge import column_kinds, giveaways
from runforge.column_kinds import kind_of
from runforge.manifest import read_manifest
from runforge.modalities.table import Table as Modality
from runforge.packing import PackingSettings, pack
from runforge.sample import parse_numbers
from runforge.sample_sets import write_sample_set
from runforge.schema import Schema
from runforge.sources.table import Table

SETTINGS = PackingSettings(
    target_kind="class",
    target_name="y",
    split_validation=0.2,
    split_test=0.2,
    split_salt="s",
    max_refused=0.1,
    allow_leakage=False,
)
VALUES = replace(SETTINGS, target_kind="value")
DRAW = np.random.default_rng(3)
ROWS = 300
NOISE = DRAW.normal(size=(ROWS, 4))
LABELS = (NOISE[:, 0] + DRAW.normal(size=ROWS) > 0).astype(int)

Columns = dict[str, Callable[[int], object]]


def prepared(
    folder: Path,
    columns: Columns,
    settings: PackingSettings = SETTINGS,
    *,
    numbers: list[str] | None = None,
    categories: list[str] | None = None,
    **keys: Any,
) -> Schema:
    """A table of 300 rows, prepared."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    with (folder / "data" / "t.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows([of(i) for of in columns.values()] for i in range(ROWS))
    return packed(folder, settings, numbers=numbers, categories=categories, **keys)


def packed(
    folder: Path,
    settings: PackingSettings = SETTINGS,
    *,
    numbers: Sequence[str] | None = None,
    categories: Sequence[str] | None = None,
    **keys: Any,
) -> Schema:
    keywords: dict[str, Any] = {
        **{"file": "t.csv", "target": "y", "split_column": None, "missing_values": [""]},
        **{"ignore": [], "columns": None, "separator": None, "quote": None, "decimal": None},
    }
    modality = Modality(
        numbers=list(numbers) if numbers else None, categories=list(categories or ())
    )
    return pack(
        Table(**{**keywords, **keys}),
        modality,
        modality_node={"_target_": "runforge.modalities.table.Table"},
        source_node={},
        root=folder / "data",
        folder=folder / "out",
        settings=settings,
        workers=2,
        progress=False,
    )


def plain(**more: Callable[[int], object]) -> Columns:
    return {
        "x": lambda i: round(NOISE[i, 0], 6),
        **more,
        "y": lambda i: LABELS[i],
    }


def told(schema: Schema, *parts: str) -> str:
    """The one notice that holds all of the parts."""
    found = [n for n in schema.notices if all(part in n for part in parts)]
    assert len(found) == 1, schema.notices
    return found[0]


def test_nothing_is_told_of_what_is_as_it_should_be(tmp_path: Path) -> None:
    schema = prepared(tmp_path, plain(c=lambda i: "uvw"[i % 3], n=lambda i: int(NOISE[i, 1] * 9)))
    assert schema.notices == () and schema.layout["left_out"] == {}


@pytest.mark.parametrize("name", ["breast_cancer", "diabetes"])
def test_nothing_is_told_of_the_sample_sets(tmp_path: Path, name: str) -> None:
    write_sample_set(name, tmp_path / "data")
    target = {"breast_cancer": "diagnosis", "diabetes": "progression"}[name]
    settings = VALUES if name == "diabetes" else SETTINGS
    schema = packed(tmp_path, settings, file="data.csv", target=target)
    assert [n for n in schema.notices if "packed the same" not in n] == []


JUNK: Columns = {
    "id": lambda i: 1000 + i,
    "uuid": lambda i: f"{i * 7919:08x}-4a",
    "empty": lambda i: "",
    "constant": lambda i: "k",
    "day": lambda i: f"2024-{i % 12 + 1:02d}-{i % 28 + 1:02d}",
    "name": lambda i: f"person {i // 2 if i > 200 else i}",
    "sentinel": lambda i: -999 if i % 9 == 0 else i % 7 + 1,
}


def test_junk_is_named_with_its_kind_and_what_is_done_with_it(tmp_path: Path) -> None:
    schema = prepared(tmp_path, plain(**JUNK))
    assert schema.layout["left_out"] == {
        **{"id": "id", "uuid": "id", "empty": "empty", "constant": "constant"},
        **{"day": "date", "name": "text"},
    }
    assert schema.input_shape == (2,)
    told(schema, "left out: 'id', 'uuid' (id:", "'data.modality.numbers=[id]'")
    told(schema, "left out: 'empty' (empty:")
    told(schema, "left out: 'constant' (constant:")
    told(schema, "left out: 'day' (date:", "'data.modality.categories=[day]'")
    told(schema, "left out: 'name' (text:")
    line = told(schema, "'sentinel' is -999 in 34 rows and lies between 1 and 7 elsewhere")
    assert '\'data.source.missing_values=["","-999"]\'' in line


def test_what_is_named_is_learned_from(tmp_path: Path) -> None:
    schema = prepared(tmp_path, plain(**JUNK), numbers=["id"], categories=["day", "constant"])
    assert sorted(schema.layout["left_out"]) == ["empty", "name", "uuid"]
    assert schema.layout["numbers"] == ["x", "id", "sentinel"]
    assert [c["name"] for c in schema.layout["categories"]] == ["constant", "day"]
    missing = prepared(tmp_path / "b", plain(**JUNK), missing_values=["", "-999"])
    assert missing.layout["indicators"] == ["sentinel"]
    assert not any("sentinel" in notice for notice in missing.notices)


@pytest.mark.parametrize(
    ("name", "cells", "kind"),
    [
        ("id", [str(i) for i in range(40)], "id"),
        ("PassengerId", [str(9 * i + 13) for i in range(40)], "id"),
        ("Unnamed: 0", [str(i) for i in range(40)], "id"),
        ("x", [str(i) for i in range(40)], None),  # Told, not left out: it may be a measurement.
        ("paid", [str(i) for i in range(40)], None),
        ("id", [str(i % 8) for i in range(40)], None),
        ("id", [f"{i}.5" for i in range(40)], None),
        ("id", [str(i) for i in range(10)], None),  # Too few rows to say.
        ("a", ["1"] * 40, "constant"),
        ("a", ["1"] * 39 + [None], None),
        ("a", [None] * 40, "empty"),
        ("a", [f"{i % 28 + 1}.{i % 12 + 1}.2020 10:{i % 60:02d}" for i in range(40)], "date"),
        ("a", ["1998 Q1", "1998 Q2", "1998 Q3", "1998 Q4"] * 10, "date"),
        ("a", [f"{i % 12 + 1}/{i % 28 + 1}/99" for i in range(40)], "date"),
        ("a", [f"{i}-{i + 9}" for i in range(1, 7)] * 8, None),  # Ages in bands.
        ("a", [f"some words {i}" for i in range(40)], "text"),
        ("a", [f"town {i % 15}" for i in range(40)], None),
    ],
)
def test_kinds(name: str, cells: list[str | None], kind: str | None) -> None:
    counts = {cell: cells.count(cell) for cell in cells}
    numbers = parse_numbers([cell for cell in counts if cell is not None])
    assert kind_of(name, counts, numbers) == kind


def test_values_that_stand_apart_and_those_that_do_not() -> None:
    def found(values: list[float]) -> list[float]:
        return column_kinds._apart(np.unique(np.array(values, np.float64)))

    assert found([-999, 1, 2, 3.5]) == [-999]
    assert found([999, 1, 2, 3]) == [999] and found([9, 1, 2, 3]) == []
    assert found([-1000, 1, 2, 3]) == [] and found([-999, -998, 1, 2, 3]) == []
    pressures = [float(v) for v in range(40, 120, 2)]
    assert found([0, *pressures]) == [0]
    assert found([0, *range(1, 60)]) == [] and found([0, *range(5, 400, 5)]) == []


def test_a_column_that_is_the_target_by_another_name(tmp_path: Path) -> None:
    leaks: Columns = {
        "copy": lambda i: ["no", "yes"][LABELS[i]],
        "score": lambda i: round(LABELS[i] * 5 + NOISE[i, 1], 2),
    }
    schema = prepared(tmp_path, plain(**leaks))
    line = told(schema, "the column 'copy' alone predicts 'y': right in 100.0%")
    assert "'data.source.ignore=[copy]'" in line
    manifest = read_manifest(tmp_path / "out" / "manifest.parquet")
    labels = [entry.label for entry in manifest if entry.split == "validation"]
    training = [entry.label for entry in manifest if entry.split == "train"]
    usual = max(set(training), key=training.count)
    assert f"the most frequent class is right in {labels.count(usual) / len(labels):.1%}" in line
    told(schema, "the column 'score' alone predicts 'y'")
    assert not any("'x' alone" in notice for notice in schema.notices)
    without = prepared(tmp_path / "b", plain(**leaks), ignore=["copy", "score"])
    assert without.notices == ()


def test_a_value_that_is_computed_from_inputs(tmp_path: Path) -> None:
    columns: Columns = {
        "a": lambda i: round(NOISE[i, 0] * 10, 2),
        "b": lambda i: round(NOISE[i, 1] * 3 + 50, 2),
        "x": lambda i: round(NOISE[i, 2], 2),
    }
    columns["y"] = lambda i: round(2 * float(str(columns["a"](i))) - float(str(columns["b"](i))), 2)
    line = told(prepared(tmp_path, columns, VALUES), "linear", "2 × 'a' - 1 × 'b' (R² 1")
    assert "'x'" not in line and "'data.source.ignore=[a,b]'" in line
    noisy = {**columns, "y": lambda i: round(NOISE[i, 0] + NOISE[i, 3] / 3, 3)}
    assert prepared(tmp_path / "b", noisy, VALUES).notices == ()
    steep = {**columns, "y": lambda i: round(float(np.exp(NOISE[i, 0])), 5)}
    told(prepared(tmp_path / "c", steep, VALUES), "the column 'a' alone predicts 'y'")


def test_a_strong_column_is_no_leak() -> None:
    """Petal width of scikit-learn's irises, three classes: right in 96%."""
    from sklearn.datasets import load_iris

    data = load_iris()
    part = np.arange(150) % 4 == 0
    rows = [giveaways.Rows(data.data[p], data.target[p]) for p in (~part, part)]
    table = giveaways.Table(*rows, list("abcd"), 4, "kind", tuple(data.target_names))
    said = giveaways._alone(table)
    assert 0.85 < max(said.values()) < giveaways.NEARLY_ALL


PATIENTS: Columns = {
    "patient": lambda i: i // 6,
    "sex": lambda i: "fm"[i // 6 % 2],
    "dose": lambda i: round(NOISE[i, 0], 3),
    "y": lambda i: LABELS[i // 6],
}


def apart(folder: Path, column: Callable[[int], object]) -> int:
    """Values of a column whose rows lie in several splits, counted again from the manifest."""
    splits: dict[object, set[str | None]] = {}
    for number, entry in enumerate(read_manifest(folder / "out" / "manifest.parquet")):
        splits.setdefault(column(number), set()).add(entry.split)
    return sum(len(of) > 1 for of in splits.values())


@pytest.mark.parametrize("name", ["patient", "p"])
def test_rows_of_one_patient_in_several_splits(tmp_path: Path, name: str) -> None:
    columns: Columns = {name: PATIENTS["patient"], **{n: PATIENTS[n] for n in ("sex", "dose", "y")}}
    for number, keys in enumerate(({}, {"ignore": [name]})):
        folder = tmp_path / str(number)
        schema = prepared(folder, columns, **keys)
        count = apart(folder, PATIENTS["patient"])
        assert count > 20
        line = told(schema, f"the 50 values of '{name}' have 6 rows each, {count} of them in more")
        assert "data.source.split_column" in line and ("it is an input too" in line) == (
            number == 0
        )


def test_groups_that_are_kept_together_or_are_none(tmp_path: Path) -> None:
    """Given splits that keep them together; equal rows; and ages, which only repeat."""
    split: Columns = {"s": lambda i: ("train", "train", "validation", "test")[i // 6 % 4]}
    together = prepared(tmp_path / "a", {**split, **PATIENTS}, split_column="s")
    assert together.notices == ()
    equal = prepared(tmp_path / "b", {n: PATIENTS[n] for n in ("patient", "sex", "y")})
    told(equal, "the 50 values of 'patient' have 6 rows each, equal rows, in one split")
    ages = plain(age=lambda i: 20 + int(abs(NOISE[i, 1]) * 20))
    assert prepared(tmp_path / "c", ages).notices == ()


def test_ids_and_splits_are_those_of_the_raw_row(tmp_path: Path) -> None:
    """Whatever columns are chosen; but rows that are equal in what is chosen stay together."""
    columns = plain(copy=lambda i: LABELS[i], n=lambda i: round(NOISE[i, 2], 4), k=lambda i: i % 3)
    ways: list[dict[str, Any]] = [
        {},
        {"ignore": ["copy"]},
        {"ignore": ["copy", "k"]},
        {"missing_values": ["", "?"]},
        {"categories": ["k"]},
    ]
    lists = []
    for number, keys in enumerate(ways):
        prepared(tmp_path / str(number), columns, **keys)
        entries = read_manifest(tmp_path / str(number) / "out" / "manifest.parquet")
        lists.append([(entry.id, entry.split) for entry in entries])
    assert all(found == lists[0] for found in lists) and len(set(lists[0])) == ROWS
    few: Columns = {
        "a": lambda i: i % 10,
        "b": lambda i: i % 7,
        "visit": lambda i: i,
        "y": LABELS.item,
    }
    prepared(tmp_path / "few", few, ignore=["visit"])
    assert apart(tmp_path / "few", lambda i: (i % 10, i % 7)) == 0
    entries = read_manifest(tmp_path / "few" / "out" / "manifest.parquet")
    assert len({entry.id for entry in entries}) == ROWS
