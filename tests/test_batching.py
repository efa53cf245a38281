"""Requests that wait together are predicted together, and each gets its own."""

from __future__ import annotations

import asyncio
import threading
import time

import numpy as np
import pytest

from runforge.batching import Batcher, Busy


class Counted:
    """Doubles its rows; keeps how many samples each forward pass had, and whether two overlap."""

    def __init__(self, duration_s: float = 0.02) -> None:
        self.sizes: list[int] = []
        self._duration_s, self._alone = duration_s, threading.Lock()

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        assert self._alone.acquire(blocking=False), "two forward passes at once"
        try:
            self.sizes.append(len(rows))
            time.sleep(self._duration_s)
            if (rows < 0).any():
                raise ValueError("negative")
            return rows * 2
        finally:
            self._alone.release()


def ask(batcher: Batcher, counts: list[int], first: float = 1.0) -> list[object]:
    """Requests of so many samples each, all at once."""

    async def one(number: int, count: int) -> np.ndarray:
        return await batcher.predict(np.full((count, 2), first + number, np.float32))

    async def every() -> list[object]:
        server = asyncio.create_task(batcher.run())
        found = await asyncio.gather(
            *(one(n, c) for n, c in enumerate(counts)), return_exceptions=True
        )
        server.cancel()
        return list(found)

    return asyncio.run(every())


def test_each_gets_its_own_and_no_batch_is_too_large() -> None:
    counted = Counted()
    counts = [1, 3, 2, 8, 1, 1, 5, 20, 1]
    found = ask(Batcher(counted, most=8, wait_s=1, limit=99), counts)
    for number, (count, values) in enumerate(zip(counts, found, strict=True)):
        np.testing.assert_array_equal(values, np.full((count, 2), 2 * (1 + number)))
    assert sum(counted.sizes) == sum(counts)
    # A request that is larger than a batch goes alone.
    assert [size for size in counted.sizes if size > 8] == [20]
    assert len(counted.sizes) < len(counts)


def test_an_error_reaches_those_who_wait_for_it_and_the_next_are_served() -> None:
    batcher = Batcher(Counted(), most=1, wait_s=0, limit=9)
    found = ask(batcher, [1, 1], first=-1.0)
    assert isinstance(found[0], ValueError)
    np.testing.assert_array_equal(found[1], [[0, 0]])


def test_one_alone_does_not_wait_and_one_that_comes_is_waited_for() -> None:
    async def scene() -> None:
        counted = Counted(0)
        batcher = Batcher(counted, most=8, wait_s=5, limit=9)
        server = asyncio.create_task(batcher.run())
        began = time.monotonic()
        await batcher.predict(np.ones((1, 2)))
        assert time.monotonic() - began < 1 and counted.sizes == [1]

        async def slow() -> None:
            with batcher.coming():
                await asyncio.sleep(0.2)
            await batcher.predict(np.ones((1, 2)))

        later = asyncio.create_task(slow())
        await asyncio.sleep(0)
        await asyncio.gather(batcher.predict(np.ones((1, 2))), later)
        assert time.monotonic() - began < 3 and counted.sizes == [1, 2]
        server.cancel()

    asyncio.run(scene())


def test_it_waits_no_longer_than_told() -> None:
    async def scene() -> None:
        batcher = Batcher(Counted(0), most=8, wait_s=0.05, limit=9)
        server = asyncio.create_task(batcher.run())
        with batcher.coming():
            await asyncio.wait_for(batcher.predict(np.ones((1, 2))), 2)
        server.cancel()

    asyncio.run(scene())


def test_more_than_may_wait() -> None:
    async def scene() -> None:
        batcher = Batcher(Counted(0), most=8, wait_s=0, limit=2)
        with batcher.admitted(), batcher.admitted():
            third = batcher.admitted()
            with pytest.raises(Busy):
                third.__enter__()
        with batcher.admitted():
            pass

    asyncio.run(scene())
