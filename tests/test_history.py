"""`history.csv`: what goes in comes out."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from runforge.errors import DataError
from runforge.history import History, HistoryRow

HISTORY = History(
    (
        HistoryRow(0, 10, {"train/loss": 0.1 + 0.2, "learning_rate": 1e-3}),
        HistoryRow(0, 20, {"validation/loss": math.inf}),
        HistoryRow(1, 30, {"train/loss": 1 / 3}),
        HistoryRow(1, 30, {}),
    )
)


def test_round_trip_to_the_last_bit(tmp_path: Path) -> None:
    HISTORY.write(tmp_path / "history.csv")
    assert History.read(tmp_path / "history.csv") == HISTORY
    assert [path.name for path in tmp_path.iterdir()] == ["history.csv"]


def test_a_cell_is_empty_where_nothing_was_logged(tmp_path: Path) -> None:
    HISTORY.write(tmp_path / "history.csv")
    lines = (tmp_path / "history.csv").read_text().splitlines()
    assert lines[0] == "epoch,step,learning_rate,train/loss,validation/loss"
    assert lines[2] == "0,20,,,inf"


def test_nan_is_a_value_and_not_a_gap(tmp_path: Path) -> None:
    History((HistoryRow(0, 1, {"loss": math.nan}),)).write(tmp_path / "history.csv")
    values = History.read(tmp_path / "history.csv").series("loss").values
    assert len(values) == 1 and math.isnan(values[0])


def test_series_holds_where_it_was_logged() -> None:
    series = HISTORY.series("train/loss")
    assert (series.epochs, series.steps, series.values) == ((0, 1), (10, 30), (0.1 + 0.2, 1 / 3))


def test_an_empty_history_round_trips(tmp_path: Path) -> None:
    History(()).write(tmp_path / "history.csv")
    assert History.read(tmp_path / "history.csv") == History(())


@pytest.mark.parametrize(
    "text", ["", "a,b\n", "epoch,step,loss\n0,1\n", "epoch,step,loss\n0,1,x\n", "epoch,step\nx,1\n"]
)
def test_a_damaged_file_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "history.csv"
    path.write_text(text)
    with pytest.raises(DataError, match="no whole history"):
        History.read(path)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no history; train again"):
        History.read(tmp_path / "history.csv")
