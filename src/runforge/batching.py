"""Requests that wait at the same time, predicted together: one forward pass at a time.

B samples of all requests, n of one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np


class Busy(Exception):
    """As many requests as may wait are waiting."""


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    rows: np.ndarray
    answer: asyncio.Future[np.ndarray]


class Batcher:
    """Predicts for requests of one event loop, in a thread of its own.

    While a forward pass goes on, requests gather; the next one takes all of them, up to `most`
    samples. Before it starts it waits for those that are being decoded just then, but `wait_s` at
    most: a request that is alone never waits. Of more than `limit` requests, those that come last
    are told that it is busy.
    """

    def __init__(
        self,
        predict: Callable[[np.ndarray], np.ndarray],
        *,
        most: int,
        wait_s: float,
        limit: int,
    ) -> None:
        self._predict, self._most, self._wait_s, self._limit = predict, most, wait_s, limit
        self._inside = self._coming = 0
        self._waiting: deque[_Waiting] = deque()
        self._changed = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "runforge-forward")

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Holds a place for a request from its first byte to its answer; raises `Busy`."""
        if self._inside >= self._limit:
            raise Busy
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1

    @contextmanager
    def coming(self) -> Iterator[None]:
        """While a request is decoded: the next forward pass may wait for it a little."""
        self._coming += 1
        try:
            yield
        finally:
            self._coming -= 1
            self._changed.set()

    async def predict(self, rows: np.ndarray) -> np.ndarray:
        """Packed rows [n, ...] → predictions [n, C], together with those of other requests."""
        answer: asyncio.Future[np.ndarray] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(rows, answer))
        self._changed.set()
        return await answer

    async def run(self) -> None:
        """Serves until it is cancelled."""
        while True:
            while not self._waiting:
                self._changed.clear()
                await self._changed.wait()
            await self._gather()
            await self._forward(self._next())

    async def _gather(self) -> None:
        try:
            async with asyncio.timeout(self._wait_s):
                while self._coming and self._samples() < self._most:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pass

    def _samples(self) -> int:
        return sum(len(one.rows) for one in self._waiting)

    def _next(self) -> list[_Waiting]:
        """The first that waits, and the next ones as long as they fit beside it."""
        taken = [self._waiting.popleft()]
        count = len(taken[0].rows)
        while self._waiting and count + len(self._waiting[0].rows) <= self._most:
            count += len(self._waiting[0].rows)
            taken.append(self._waiting.popleft())
        return taken

    async def _forward(self, taken: list[_Waiting]) -> None:
        rows = np.concatenate([one.rows for one in taken])
        loop = asyncio.get_running_loop()
        try:
            values = await loop.run_in_executor(self._thread, self._predict, rows)
        except Exception as error:  # noqa: BLE001 - it is raised again, where its request waits
            for one in taken:
                if not one.answer.done():
                    one.answer.set_exception(error)
            return
        start = 0
        for one in taken:
            if not one.answer.done():
                one.answer.set_result(values[start : start + len(one.rows)])
            start += len(one.rows)
