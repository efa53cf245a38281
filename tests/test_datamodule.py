"""Batches: what each step sees is a function of seed, step and sample ids alone."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from runforge import draws
from runforge.arrays import open_rows
from runforge.datamodule import Batch, BatchOrder, PackedData, batch_bounds
from runforge.errors import DataError
from runforge.prepared import PreparedSet
from tests.made_sets import image_set, table_set


def _data(prepared: PreparedSet, **changes: Any) -> PackedData:
    settings = {"batch_size": 5, "seed": 3, "draw_count": 4, "steps_per_epoch": None, "workers": 0}
    return PackedData(prepared, **{**settings, **changes})


def _epoch(loader: DataLoader[Batch], epoch: int = 0) -> list[Batch]:
    assert isinstance(loader.sampler, BatchOrder)
    loader.sampler.set_epoch(epoch)
    return list(loader)


def _rows(batches: list[Batch]) -> list[int]:
    return [int(row) for batch in batches for row in batch.rows]


def test_a_pass_takes_every_training_sample_once() -> None:
    prepared = image_set([23, 6, 4])
    loader = _data(prepared).train_dataloader()
    orders = [_rows(_epoch(loader, epoch)) for epoch in range(3)]
    for order in orders:
        assert sorted(order) == list(range(23))
    assert all(one != other for one, other in pairwise(orders))
    assert _rows(_epoch(loader, 1)) == orders[1]
    assert [len(b.rows) for b in _epoch(loader)] == [5, 5, 5, 5, 3]


def test_a_batch_holds_the_rows_it_says() -> None:
    for prepared in (image_set([13, 2, 2]), table_set([13, 2, 2], values=True)):
        for batch in _epoch(_data(prepared).train_dataloader()):
            rows = batch.rows.numpy()
            np.testing.assert_array_equal(batch.inputs.numpy(), prepared.inputs[rows])
            np.testing.assert_array_equal(batch.targets.numpy(), prepared.targets[rows])
            assert batch.inputs.numpy().dtype == prepared.inputs.dtype
            assert batch.draws.shape == (len(rows), 4) and batch.draws.dtype == torch.float32


@pytest.mark.parametrize(
    ("count", "size", "sizes"),
    [(10, 4, [4, 4, 2]), (9, 4, [4, 5]), (1, 4, [1]), (4, 4, [4]), (3, 1, [1, 1, 1]), (5, 9, [5])],
)
def test_a_single_last_sample_joins_the_batch_before(
    count: int, size: int, sizes: list[int]
) -> None:
    bounds = batch_bounds(count, size)
    assert [end - begin for begin, end in bounds] == sizes
    assert bounds[0][0] == 0 and bounds[-1][1] == count
    assert all(one[1] == other[0] for one, other in pairwise(bounds))


@pytest.mark.parametrize("steps", [2, 7])
def test_epochs_of_a_given_length_go_on_where_the_one_before_stopped(steps: int) -> None:
    prepared = image_set([13, 2, 2])
    passes = _data(prepared).train_dataloader()
    stream = [batch.rows.tolist() for number in range(8) for batch in _epoch(passes, number)]
    loader = _data(prepared, steps_per_epoch=steps).train_dataloader()
    assert len(loader) == steps
    seen = [batch.rows.tolist() for epoch in range(3) for batch in _epoch(loader, epoch)]
    assert seen == stream[: 3 * steps]


def test_draws_depend_on_seed_pass_and_sample_alone() -> None:
    prepared = image_set([24, 2, 2])

    def drawn(epoch: int = 0, **changes: Any) -> dict[int, list[float]]:
        batches = _epoch(_data(prepared, **changes).train_dataloader(), epoch)
        return {int(r): d.tolist() for b in batches for r, d in zip(b.rows, b.draws, strict=True)}

    first = drawn()
    assert drawn(batch_size=7) == first
    assert drawn(workers=2) == first
    assert drawn(seed=4) != first
    assert drawn(epoch=1) != first
    wider = drawn(draw_count=6)
    assert {row: values[:4] for row, values in wider.items()} == first
    assert len({tuple(v) for v in first.values()}) == 24


def test_draws_follow_the_id_not_the_row() -> None:
    keys = draws.sample_keys(["a", "b", "c"])
    one = draws.uniform(keys, seed=1, pass_number=2, count=3)
    other = draws.uniform(draws.sample_keys(["c", "x", "a"]), seed=1, pass_number=2, count=3)
    np.testing.assert_array_equal(one[[2, 0]], other[[0, 2]])


def test_the_mixer_is_splitmix64() -> None:
    """Its published first outputs from the seed 1234567 (Rosetta Code, "Pseudo-random numbers")."""
    state = np.arange(1, 4, dtype=np.uint64) * np.uint64(draws.GOLDEN) + np.uint64(1234567)
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert draws._mix(state).tolist() == expected


def test_draws_are_even() -> None:
    from scipy import stats

    keys = draws.sample_keys([str(i) for i in range(20000)])
    drawn = draws.uniform(keys, seed=0, pass_number=0, count=3)
    later = draws.uniform(keys, seed=0, pass_number=1, count=3)
    assert drawn.min() >= 0 and drawn.max() < 1
    for column in range(3):
        assert stats.kstest(drawn[:, column], "uniform").pvalue > 1e-3
    for pair in (
        (drawn[:, 0], drawn[:, 1]),
        (drawn[:, 0], later[:, 0]),
        (drawn[1:, 0], drawn[:-1, 0]),
    ):
        assert abs(np.corrcoef(*pair)[0, 1]) < 0.03
    order = draws.order(keys, seed=0, pass_number=0)
    assert abs(np.corrcoef(order, np.arange(20000))[0, 1]) < 0.03
    assert abs(np.corrcoef(order, draws.order(keys, seed=0, pass_number=1))[0, 1]) < 0.03


def test_worker_processes_give_the_same_batches() -> None:
    prepared = table_set([17, 7, 3])
    alone, helped = _data(prepared), _data(prepared, workers=2)
    loaders = (helped.train_dataloader(), helped.val_dataloader())
    for epoch in range(2):
        pairs = list(
            zip(_epoch(alone.train_dataloader(), epoch), _epoch(loaders[0], epoch), strict=True)
        )
        pairs += list(zip(alone.val_dataloader(), loaders[1], strict=True))
        for one, other in pairs:
            for left, right in zip(one, other, strict=True):
                assert torch.equal(left.nan_to_num(-9), right.nan_to_num(-9))


def test_validation_and_test_are_taken_once_in_order() -> None:
    prepared = image_set([5, 11, 6])
    data = _data(prepared)
    for loader, split in ((data.val_dataloader(), "validation"), (data.test_dataloader(), "test")):
        for _ in range(2):
            batches = list(loader)
            assert _rows(batches) == prepared.rows(split).tolist()
            assert all(b.draws.shape == (len(b.rows), 0) for b in batches)
    # A single last sample stays alone where nothing is learned from it.
    assert [len(b.rows) for b in data.val_dataloader()] == [5, 5, 1]


def test_splits_without_samples() -> None:
    with pytest.raises(DataError, match="train has no samples"):
        _data(replace(image_set([3, 3, 3]), splits=("test",) * 9))
    assert _data(image_set([3, 0, 0])).val_dataloader() == []


def test_memory_mapped_rows_are_copied(tmp_path: Path) -> None:
    prepared = image_set([9, 2, 2])
    np.save(tmp_path / "inputs.npy", prepared.inputs)
    mapped = open_rows(tmp_path / "inputs.npy")
    held = PreparedSet(
        prepared.schema, mapped, prepared.targets, prepared.ids, prepared.where, prepared.splits
    )
    for one, other in zip(
        _epoch(_data(held).train_dataloader()),
        _epoch(_data(prepared).train_dataloader()),
        strict=True,
    ):
        assert torch.equal(one.inputs, other.inputs)
        one.inputs.add_(1)
    np.testing.assert_array_equal(mapped, prepared.inputs)
