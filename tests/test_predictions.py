"""`predictions.parquet`: what goes in comes out, and a damaged file says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars
import pytest

from runforge import predictions
from runforge.errors import DataError
from runforge.predictions import NO_CLASS, Predictions

CLASSES = ("01", "NA", "=1+1", "ünï,\n<b>")


def of_classes(count: int = 20, dtype: type = np.float32) -> Predictions:
    generator = np.random.default_rng(0)
    values = generator.dirichlet(np.ones(len(CLASSES)), count).astype(dtype)
    targets = generator.integers(0, len(CLASSES), count)
    return Predictions(np.array([f"id{i}" for i in range(count)]), "test", targets, values, CLASSES)


def of_values(*values: float) -> Predictions:
    ids = np.array([f"id{i}" for i in range(len(values))])
    targets = np.arange(len(values), dtype=np.float32)
    return Predictions(ids, "test", targets, np.array(values, np.float32)[:, None], ())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_classes_round_trip(tmp_path: Path, dtype: type) -> None:
    before = of_classes(dtype=dtype)
    before.write(tmp_path / "p.parquet")
    after = Predictions.read(tmp_path / "p.parquet")
    for name in ("ids", "targets", "values", "predicted"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
    assert after.values.dtype == dtype
    assert (after.split, after.classes) == (before.split, before.classes)
    assert [path.name for path in tmp_path.iterdir()] == ["p.parquet"]


def test_values_round_trip_with_what_is_not_finite(tmp_path: Path) -> None:
    before = of_values(1.5, np.nan, np.inf, -2.0)
    before.write(tmp_path / "p.parquet")
    after = Predictions.read(tmp_path / "p.parquet")
    np.testing.assert_array_equal(after.values, before.values)
    np.testing.assert_array_equal(after.targets, before.targets)
    assert (after.classes, after.non_finite) == ((), 2)
    frame = polars.read_parquet(tmp_path / "p.parquet")
    assert frame["predicted"].to_list() == [1.5, None, None, -2.0]


def test_columns_are_names_as_they_are(tmp_path: Path) -> None:
    of_classes().write(tmp_path / "p.parquet")
    frame = polars.read_parquet(tmp_path / "p.parquet")
    names = [f"probability_{name}" for name in CLASSES]
    assert frame.columns == ["id", "split", "target", "predicted", *names]
    assert set(frame["predicted"].to_list()) <= set(CLASSES)


def test_an_output_that_is_not_finite_is_never_class_0(tmp_path: Path) -> None:
    values = np.array([[np.nan, 0.5], [0.1, 0.9], [np.inf, 0.0]])
    found = Predictions(np.array(["a", "b", "c"]), "test", np.array([0, 1, 0]), values, ("x", "y"))
    assert found.predicted.tolist() == [NO_CLASS, 1, NO_CLASS]
    assert found.non_finite == 2
    kept = found.only_finite()
    assert kept is not None and kept.ids.tolist() == ["b"]
    found.write(tmp_path / "p.parquet")
    assert polars.read_parquet(tmp_path / "p.parquet")["predicted"].to_list() == [None, "y", None]


def test_block_by_block_is_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    values = of_classes(200).values.copy()
    values[3, 1], values[150, 0], values[199, 2] = np.nan, np.inf, np.nan
    rows = np.arange(200)
    given = {"ids": rows.astype(str), "split": "test", "classes": of_classes().classes}
    given |= {"targets": rows % len(of_classes().classes), "values": values}
    whole = Predictions(**given)
    monkeypatch.setattr(predictions, "BLOCK_NUMBERS", 50)
    parts = Predictions(**given)
    np.testing.assert_array_equal(parts.finite, np.isfinite(values).all(axis=1))
    np.testing.assert_array_equal(parts.predicted, whole.predicted)
    np.testing.assert_array_equal(predictions.largest(values[:3]), values[:3].max(axis=1))
    values[170] = 0.9
    with pytest.raises(DataError, match="the outputs of 170 are no probabilities"):
        Predictions(**given)


def test_two_classes_are_told_apart_at_one_half() -> None:
    positive = np.array([0.49, 0.5, 0.51, 0.99])
    values = np.stack([1 - positive, positive], axis=1)
    found = Predictions(np.array(list("abcd")), "test", np.array([0, 0, 1, 1]), values, ("n", "p"))
    assert found.predicted.tolist() == (positive > 0.5).astype(int).tolist()


def test_the_same_predictions_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        of_classes().write(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"ids": np.array([], str)}, "no sample"),
        ({"ids": np.array(["a", "a"])}, "an id comes twice"),
        ({"targets": np.array([0, 2])}, "the target of b is class 2, but there are 2 classes"),
        ({"targets": np.array([-1, 0])}, "the target of a is class -1"),
        ({"targets": np.array([0])}, "1 targets for 2 samples"),
        ({"values": np.ones((2, 3)) / 3}, r"outputs of shape \(2, 3\) for 2 samples"),
        ({"values": np.array([[3.0, -1.0], [0.5, 0.5]])}, "outputs of a are no probabilities"),
        ({"classes": ("x", "x")}, "a class comes twice"),
    ],
)
def test_what_can_not_be_used_is_refused(changed: dict[str, object], text: str) -> None:
    parts = {
        "ids": np.array(["a", "b"]),
        "split": "test",
        "targets": np.array([0, 1]),
        "values": np.full((2, 2), 0.5),
        "classes": ("x", "y"),
    }
    with pytest.raises(DataError, match=text):
        Predictions(**{**parts, **changed})  # type: ignore[arg-type]


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    with pytest.raises(DataError, match="there are no predictions"):
        Predictions.read(path)
    of_classes().write(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="no whole file of predictions"):
        Predictions.read(path)
    polars.DataFrame({"id": ["a"], "split": ["test"]}).write_parquet(path)
    with pytest.raises(DataError, match="no column predicted, target"):
        Predictions.read(path)
    of_classes().write(path)
    frame = polars.read_parquet(path).with_columns(target=polars.lit("other"))
    frame.write_parquet(path)
    with pytest.raises(DataError, match="'other' is no class"):
        Predictions.read(path)
    text = {"id": ["a"], "split": ["test"], "predicted": [None], "value": [None], "target": [""]}
    polars.DataFrame(text).write_parquet(path)
    with pytest.raises(DataError, match="value holds no numbers"):
        Predictions.read(path)
