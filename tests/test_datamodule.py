"""Batches: what each step sees is a function of seed, step and sample ids alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from runforge import draws
from runforge.arrays import open_rows
from runforge.datamodule import PackedData
from runforge.errors import DataError, in_one_line
from runforge.held_rows import held
from runforge.orders import BatchOrder, BatchPlan, FixedOrder, batch_bounds
from runforge.pace import Pace
from runforge.prepared import PreparedSet
from runforge.ranks import Ranks
from runforge.steps import Batch, Steps
from tests.made_sets import image_set, table_set


def _data(prepared: PreparedSet, **changes: Any) -> PackedData:
    names = {field.name for field in fields(BatchPlan)} & changes.keys()
    plan = BatchPlan(**{"batch_size": 5, "seed": 3, **{name: changes[name] for name in names}})
    rest = {name: value for name, value in changes.items() if name not in names}
    return PackedData(prepared, plan, **{"draw_count": 4, **rest})


class Trained(NamedTuple):
    """A batch of training, and the targets of the step that it is part of."""

    inputs: Tensor
    targets: Tensor
    draws: Tensor
    keys: Tensor
    rows: Tensor
    step_targets: Tensor


def _epoch(loader: DataLoader[Steps], epoch: int = 0) -> list[Trained]:
    assert isinstance(loader.sampler, BatchOrder)
    loader.sampler.set_epoch(epoch)
    steps = [step for together in loader for step in together]
    return [Trained(*batch, step.targets) for step in steps for batch in step.batches]


def _rows(batches: Sequence[Trained | Batch]) -> list[int]:
    return [int(row) for batch in batches for row in batch.rows]


def _by_rank(prepared: PreparedSet, count: int, epoch: int, **changes: Any) -> list[list[Trained]]:
    """The batches of each rank in one epoch."""
    places = [Ranks(rank, count, rank) for rank in range(count)]
    return [
        _epoch(_data(prepared, ranks=place, **changes).train_dataloader(), epoch)
        for place in places
    ]


def _together(parts: Sequence[Trained]) -> Trained:
    """The parts of one batch, put together in the order of the ranks."""
    joined = {name: torch.cat([getattr(p, name) for p in parts]) for name in Batch._fields}
    return Trained(**joined, step_targets=parts[0].step_targets)


def _assert_equal(one: Trained | Batch, other: Trained | Batch) -> None:
    for name, left, right in zip(type(one)._fields, one, other, strict=True):
        assert left.dtype == right.dtype, name
        assert torch.equal(left.nan_to_num(-9), right.nan_to_num(-9)), name


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
    data = _data(prepared, steps_per_epoch=steps)
    assert data.steps_in_epoch == steps
    loader = data.train_dataloader()
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
            _assert_equal(one, other)


def test_validation_is_taken_once_in_order() -> None:
    prepared = image_set([5, 11, 6])
    data = _data(prepared)
    loader = data.val_dataloader()
    for _ in range(2):
        batches = list(loader)
        assert _rows(batches) == prepared.rows("validation").tolist()
        assert all(b.draws.shape == (len(b.rows), 0) for b in batches)
    # A single last sample stays alone where nothing is learned from it.
    assert [len(b.rows) for b in data.val_dataloader()] == [5, 5, 1]


def test_validation_may_be_limited() -> None:
    prepared = image_set([5, 11, 6])
    for limit, size in ((1, 5), (2, 10), (3, 11), (4, 11), (None, 11)):
        batches = list(_data(prepared, validation_limit=limit).val_dataloader())
        assert _rows(batches) == prepared.rows("validation")[:size].tolist()


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("steps_per_epoch", [None, 7])
def test_the_ranks_parts_are_the_batch_of_one(
    count: int, accumulate: int, steps_per_epoch: int | None
) -> None:
    """23 samples in batches of 7: the last one has 2, fewer than there are ranks."""
    prepared = table_set([23, 4, 2], values=True)
    given = {"batch_size": 7, "accumulate": accumulate, "steps_per_epoch": steps_per_epoch}
    for epoch in (0, 2):
        alone = _epoch(_data(prepared, **given).train_dataloader(), epoch)
        ranks = _by_rank(prepared, count, epoch, **given)
        assert [len(batches) for batches in ranks] == [len(alone)] * count
        for whole, *parts in zip(alone, *ranks, strict=True):
            _assert_equal(_together(parts), whole)
            for part in parts:
                assert torch.equal(part.step_targets, whole.step_targets)
            sizes = [len(part.rows) for part in parts]
            assert max(sizes) - min(sizes) <= 1
            assert all(len(values) == len(p.rows) for p in parts for values in p[:4])
        if count > 2 and steps_per_epoch is None:
            assert any(len(part.rows) == 0 for batches in ranks for part in batches)


def test_a_part_without_samples_has_the_shape_of_the_others() -> None:
    prepared = image_set([2, 1, 1])
    for rank, size in ((0, 0), (1, 1), (2, 1)):
        place = Ranks(rank, 3, rank)
        (batch,) = _epoch(_data(prepared, ranks=place).train_dataloader())
        assert batch.inputs.shape == (size, 8, 8, 1) and batch.inputs.dtype == torch.uint8
        assert batch.draws.shape == (size, 4)
        assert batch.targets.shape == batch.keys.shape == batch.rows.shape == (size,)
        assert len(batch.step_targets) == 2


def test_ranks_share_out_everything() -> None:
    for count in (1, 2, 3, 5, 8):
        for total in (0, 1, 4, 7, 64, 65):
            shares = [Ranks(rank, count).share(total) for rank in range(count)]
            assert [shares[0][0], shares[-1][1]] == [0, total]
            assert all(one[1] == other[0] for one, other in pairwise(shares))
            sizes = [end - begin for begin, end in shares]
            assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("accumulate", [1, 2, 3, 4, 9])
@pytest.mark.parametrize("steps_per_epoch", [None, 5])
def test_a_window_is_all_batches_of_the_optimisers_step(
    count: int, accumulate: int, steps_per_epoch: int | None
) -> None:
    """As Lightning accumulates: from the first batch of an epoch on, and at its end at the latest.

    Seven batches an epoch, or five of the stream.
    """
    prepared = table_set([33, 4, 2], values=True)
    given = {"accumulate": accumulate, "steps_per_epoch": steps_per_epoch}
    for epoch in (0, 1):
        ranks = _by_rank(prepared, count, epoch, **given)
        wholes = [_together(parts) for parts in zip(*ranks, strict=True)]
        assert len(wholes) == (steps_per_epoch or 7)
        for begin in range(0, len(wholes), accumulate):
            window = wholes[begin : begin + accumulate]
            expected = torch.cat([batch.targets for batch in window])
            for batches in ranks:
                for batch in batches[begin : begin + accumulate]:
                    assert torch.equal(batch.step_targets, expected)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("workers", [0, 2])
def test_steps_are_the_same_however_many_come_together(accumulate: int, workers: int) -> None:
    prepared = image_set([33, 4, 2])
    given = {"accumulate": accumulate, "workers": workers, "steps_per_epoch": 11}
    alone = [_epoch(_data(prepared, **given).train_dataloader(), epoch) for epoch in (0, 1)]
    for most, sizes in ((1, {1}), (3, {1, 2, 3}), (100, {1, 2, 4, 8})):
        data = _data(prepared, **given, steps_per_call=most)
        loader, seen = data.train_dataloader(), set()
        for epoch in (0, 1):
            loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
            batches = []
            for steps in loader:
                data.pace.note(len(steps), 1e-6)
                seen.add(len(steps))
                batches += [Trained(*b, step.targets) for step in steps for b in step.batches]
            for one, other in zip(batches, alone[epoch], strict=True):
                _assert_equal(one, other)
        assert max(seen) > 1 or most == 1
        assert seen <= sizes | set(range(1, most + 1))


def test_auto_holds_nothing_without_a_gpu() -> None:
    assert held(np.zeros((3, 2)), torch.device("cpu"), wanted="auto") is None


def test_the_rest_of_an_epoch() -> None:
    prepared = image_set([33, 4, 2])
    for accumulate, done in ((1, 3), (2, 2), (3, 0)):
        data = _data(prepared, accumulate=accumulate)
        order, whole = data.train_order(), data.train_order()
        order.go_on(2, done)
        whole.set_epoch(2)
        rest = [step.rows.tolist() for together in order for step in together]
        every = [step.rows.tolist() for together in whole for step in together]
        assert rest == every[done:]
        order.set_epoch(3)
        assert len([step for together in order for step in together]) == len(every)


def test_the_pace_follows_the_time_of_a_step() -> None:
    pace = Pace(1000)
    for expected in (2, 4, 8, 16, 32, 50, 50):
        pace.note(pace.steps, pace.steps * 0.001)
        assert pace.steps == expected
    pace.note(50, 50 * 0.01)
    assert pace.steps == 5
    pace.note(5, 5 * 1.0)
    assert pace.steps == 1
    large = Pace(9 << 20)
    for _ in range(5):
        large.note(large.steps, 0)
    assert large.steps == 3


def test_a_sample_has_another_dropout_key_in_each_pass() -> None:
    prepared = image_set([24, 2, 2])

    def keys(epoch: int = 0, **changes: Any) -> dict[int, int]:
        batches = _epoch(_data(prepared, **changes).train_dataloader(), epoch)
        return {int(r): int(k) for b in batches for r, k in zip(b.rows, b.keys, strict=True)}

    first = keys()
    assert keys(batch_size=7) == first
    for others in (keys(epoch=1), keys(seed=4)):
        assert not set(first.values()) & set(others.values())
    assert len(set(first.values())) == 24


def _fixed(total: int, count: int, **changes: Any) -> list[list[list[int]]]:
    """The rows of each block of each rank; the rows are no 0, 1, 2, …"""
    rows = np.arange(total) * 3 + 100
    places = [Ranks(rank, count) for rank in range(count)]
    orders = [FixedOrder(rows, **{"batch_size": 4, "ranks": p, **changes}) for p in places]
    for order in orders:
        assert len(list(order)) == len(order)
    return [[block.tolist() for block in order] for order in orders]


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("total", [0, 1, 4, 9, 21])
@pytest.mark.parametrize("limit", [None, 1, 3])
def test_fixed_blocks_do_not_depend_on_the_ranks(count: int, total: int, limit: int | None) -> None:
    ((*alone,),) = _fixed(total, 1, limit=limit)
    ranks = _fixed(total, count, limit=limit)
    assert len({len(blocks) for blocks in ranks}) == 1
    assert len(ranks[0]) == -(-len(alone) // count)
    shared = [block for blocks in ranks for block in blocks if block]
    assert sorted(shared) == sorted(alone)
    wanted = list(range(100, 100 + 3 * total, 3))[: None if limit is None else 4 * limit]
    assert [row for block in alone for row in block] == wanted
    assert [len(block) for block in alone[:-1]] == [4] * (len(alone) - 1)


def test_validation_of_several_ranks_is_that_of_one() -> None:
    prepared = image_set([5, 11, 6])
    whole = {int(b.rows[0]): b for b in _data(prepared).val_dataloader()}
    loaders = [_data(prepared, ranks=Ranks(rank, 2)).val_dataloader() for rank in range(2)]
    batches = [batch for loader in loaders for batch in loader]
    assert [len(batch.rows) for batch in batches] == [5, 1, 5, 0]
    for batch in batches:
        if len(batch.rows):
            _assert_equal(batch, whole.pop(int(batch.rows[0])))
    assert not whole


def test_the_smallest_batch_is_told() -> None:
    prepared = image_set([33, 2, 2])
    for size, smallest in ((5, 3), (33, 33), (40, 33), (8, 8), (1, 1)):
        assert _data(prepared, batch_size=size).train_order().smallest == smallest


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


class Unreadable:
    """Rows whose reading fails with an exception that no other process can be sent."""

    def __getitem__(self, rows: object) -> object:
        class Unsendable(Exception):
            """A class inside a function can't be pickled."""

        raise Unsendable("the disk\nsays no")


@pytest.mark.parametrize("workers", [0, 1])
def test_what_hinders_reading_a_batch_is_told_in_one_line(workers: int) -> None:
    prepared = replace(image_set([8, 2, 2]), inputs=Unreadable())  # type: ignore[arg-type]
    with pytest.raises(RuntimeError) as caught:
        next(iter(_data(prepared, workers=workers, timeout_s=60).train_dataloader()))
    said = "RuntimeError: a batch can't be read: Unsendable: the disk says no"
    assert in_one_line(caught.value) == said
