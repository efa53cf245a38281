"""Columns become numbers and categories; inputs are held against scikit-learn."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from runforge.errors import ConfigError, DataError, Refused
from runforge.modalities.table import Table

ROWS: list[dict[str, str | None]] = [
    {"age": "31", "town": "Ulm", "dose": "0.5", "size": "10"},
    {"age": None, "town": "Rom", "dose": "1e-1", "size": "2"},
    {"age": "-4.5", "town": None, "dose": "7", "size": "10"},
    {"age": "12", "town": "Ulm", "dose": "7", "size": "1"},
]


def table(numbers: list[str] | None = None, categories: list[str] | None = None) -> Table:
    return Table(numbers=numbers, categories=categories)


def packed(modality: Table, rows: list[dict[str, Any]], layout: dict[str, Any]) -> np.ndarray:
    return np.stack([modality.decode(row, layout) for row in rows])


def normalised(modality: Table, rows: np.ndarray, statistics: dict[str, list[float]]) -> np.ndarray:
    tensors = {name: torch.tensor(values) for name, values in statistics.items()}
    inputs = modality.to_float(torch.from_numpy(rows), tensors)
    return modality.normalise(inputs, tensors).numpy()


def test_layout_finds_numbers_categories_and_missing_cells() -> None:
    assert table().layout(iter(ROWS)) == {
        "numbers": ["age", "dose", "size"],
        "categories": [{"name": "town", "values": ["Rom", "Ulm"]}],
        "indicators": ["age", "town"],
        "left_out": {},
    }


def test_columns_can_be_named_and_categories_are_in_natural_order() -> None:
    layout = table(categories=["size"]).layout(ROWS)
    assert layout["categories"][0] == {"name": "town", "values": ["Rom", "Ulm"]}
    assert layout["categories"][1] == {"name": "size", "values": ["1", "2", "10"]}


@pytest.mark.parametrize("odd", ["inf", "nan", "-Infinity", "1e999", "1e39", "1_000", "x", "1,5"])
def test_what_is_no_number(odd: str) -> None:
    rows = [*ROWS, {**ROWS[0], "age": odd}]
    assert "age" not in table().layout(rows)["numbers"]
    modality = table(numbers=["age"])
    layout = modality.layout(rows)
    with pytest.raises(Refused, match=f"column 'age' holds '{odd}'"):
        modality.decode(rows[-1], layout)


def test_decode_gives_numbers_then_codes() -> None:
    modality = table()
    layout = modality.layout(ROWS)
    rows = packed(modality, ROWS, layout)
    assert rows.dtype == np.float32
    expected = [[31, 0.5, 10, 1], [np.nan, 0.1, 2, 0], [-4.5, 7, 10, np.nan], [12, 7, 1, 1]]
    np.testing.assert_array_equal(rows, np.array(expected, np.float32))
    assert modality.decode({**ROWS[0], "town": "Köln"}, layout)[-1] == -1


def test_a_row_without_a_column_is_refused_and_a_further_column_ignored() -> None:
    modality = table()
    layout = modality.layout(ROWS)
    with pytest.raises(Refused, match="column 'dose' is not there"):
        modality.decode({k: v for k, v in ROWS[0].items() if k != "dose"}, layout)
    with_more = modality.decode({**ROWS[0], "more": "x"}, layout)
    np.testing.assert_array_equal(with_more, modality.decode(ROWS[0], layout))


def random_rows(count: int, seed: int) -> list[dict[str, str | None]]:
    rng = np.random.default_rng(seed)
    rows: list[dict[str, str | None]] = []
    for _ in range(count):
        cells: dict[str, str | None] = {
            "n0": repr(float(rng.normal(50, 20))),
            "n1": None if rng.random() < 0.3 else repr(float(rng.normal())),
            "c0": str(rng.choice(["a", "b", "c"])),
            "c1": None if rng.random() < 0.2 else str(rng.choice(["x", "y"])),
        }
        rows.append(cells)
    return rows


def test_inputs_equal_those_of_scikit_learn() -> None:
    training, others = random_rows(200, 0), random_rows(50, 1)
    modality = table()
    layout = modality.layout(training + others)
    rows = packed(modality, training, layout)
    statistics = modality.statistics(rows, layout)
    found = normalised(modality, packed(modality, others, layout), statistics)
    assert found.shape[1:] == modality.input_shape(layout)

    def matrix(of: list[dict[str, str | None]]) -> np.ndarray:
        names = ("n0", "n1", "c0", "c1")
        return np.array([[np.nan if r[n] is None else r[n] for n in names] for r in of], object)

    scaler = StandardScaler().fit(matrix(training)[:, :2].astype(float))  # Ignores what is missing.
    imputer = SimpleImputer(strategy="median").fit(matrix(training)[:, :2].astype(float))
    numbers = scaler.transform(imputer.transform(matrix(others)[:, :2].astype(float)))
    indicators = [[r["n1"] is None, r["c1"] is None] for r in others]
    encoder = make_column_transformer(
        (OneHotEncoder(categories=[["a", "b", "c"]], sparse_output=False), [0]),
        (
            make_pipeline(
                SimpleImputer(strategy="constant", fill_value="none"),
                OneHotEncoder(
                    categories=[["x", "y"]], sparse_output=False, handle_unknown="ignore"
                ),
            ),
            [1],
        ),
    )
    one_hot = encoder.fit(matrix([{**r, "c1": r["c1"] or "x"} for r in training])[:, 2:])
    expected = np.hstack([numbers, indicators, one_hot.transform(matrix(others)[:, 2:])])
    np.testing.assert_allclose(found, expected.astype(float), rtol=1e-4, atol=1e-5)


def test_what_training_never_saw_gives_zeros() -> None:
    modality = table()
    layout = modality.layout(ROWS)
    rows = packed(modality, ROWS, layout)
    statistics = modality.statistics(rows[[0, 3]], layout)  # No Rom, nothing missing.
    inputs = normalised(modality, rows[[1, 2]], statistics)
    np.testing.assert_array_equal(inputs[:, 3:], 0)
    assert inputs[0, 0] == 0  # Missing: the median, here the mean too.


def test_statistics_survive_json_and_sorted_keys() -> None:
    import json

    modality = table()
    layout = modality.layout(ROWS)
    rows = packed(modality, ROWS, layout)
    again = json.loads(json.dumps(layout, sort_keys=True))
    assert again == layout
    statistics = modality.statistics(rows, again)
    assert json.loads(json.dumps(statistics)) == statistics
    assert all(math.isfinite(v) for values in statistics.values() for v in values)


@pytest.mark.parametrize("value", ["0.1", "1e-20", "123456789"])
def test_a_constant_column_has_deviation_one(value: str) -> None:
    rows = [{"a": value, "b": str(i)} for i in range(7)]
    modality = table()
    layout = modality.layout(rows)
    statistics = modality.statistics(packed(modality, rows, layout), layout)
    assert statistics["std"][0] == 1.0
    assert statistics["mean"][0] == pytest.approx(float(np.float32(value)))


def test_a_column_without_a_single_value() -> None:
    rows: list[dict[str, str | None]] = [{"a": None, "b": "1"}, {"a": None, "b": "2"}]
    modality = table()
    layout = modality.layout(rows)
    cells = packed(modality, rows, layout)
    inputs = normalised(modality, cells, modality.statistics(cells, layout))
    np.testing.assert_array_equal(inputs[:, 0], 0)
    np.testing.assert_array_equal(inputs[:, 2], 1)


def test_mistakes_of_the_configuration() -> None:
    with pytest.raises(DataError, match="no input column is called 'weight'"):
        table(numbers=["weight"]).layout(ROWS)
    with pytest.raises(DataError, match="no column is left"):
        table().layout([{}])
    with pytest.raises(ConfigError, match="age: a number and a category"):
        table(numbers=["age"], categories=["age"])
    with pytest.raises(ConfigError, match="rows of a table"):
        table().layout([b"jpeg"])


def test_too_many_categories() -> None:
    rows: list[dict[str, str | None]] = [{"id": f"p{i}", "a": "1"} for i in range(1001)]
    with pytest.raises(DataError, match="'id' has 1001 categories"):
        table(categories=["id"]).layout(rows)


def test_show_gives_a_line_for_each_column() -> None:
    modality = table()
    layout = modality.layout(ROWS)
    lines = modality.show(modality.decode(ROWS[0], layout), layout).lines
    assert lines == ("age: 31", "dose: 0.5", "size: 10", "town: Ulm")
    odd = modality.decode({**ROWS[1], "town": "Köln"}, layout)
    assert modality.show(odd, layout).lines == (
        "age: missing",
        "dose: 0.1",
        "size: 2",
        "town: unknown",
    )
    assert modality.show(odd, layout).picture is None
