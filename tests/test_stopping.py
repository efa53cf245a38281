"""Ranks that are told to stop agree on their last step."""

from __future__ import annotations

import random
import threading
import time
from datetime import timedelta

import pytest
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from runforge.ranks import Ranks
from runforge.stopping import Stop


def test_one_that_is_alone_stops_before_its_next_step() -> None:
    stop = Stop()
    with stop.steps():
        assert [stop.step_begins() for _ in range(3)] == [True] * 3
        assert stop.settle(15, 1.0)
        assert not stop.step_begins()
        stop.number = 0  # else leaving would stand


def test_a_stop_in_validation_comes_to_the_next_step_of_training() -> None:
    stop = Stop()
    with stop.steps():
        assert stop.step_begins() and stop.step_begins(training=False)
        assert stop.settle(15, 1.0)
        assert all(stop.step_begins(training=False) for _ in range(5))
        assert not stop.step_begins()
        stop.number = 0


def test_where_there_are_no_steps_nothing_is_agreed_on() -> None:
    stop = Stop()
    assert not stop.settle(15, 1.0)
    assert stop.number == 15


class Group:
    """Ranks in lockstep, as training is: nobody ends a step that another has not begun."""

    def __init__(self, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store = TCPStore("localhost", 0, is_master=True, timeout=timedelta(seconds=10))
        monkeypatch.setenv("MASTER_ADDR", "localhost")
        monkeypatch.setenv("MASTER_PORT", str(self.store.port))
        self.stops = [Stop() for _ in range(count)]
        for rank, stop in enumerate(self.stops):
            stop.share(Ranks(rank, count), attempt=0)
        self.barrier = threading.Barrier(count)
        self.steps = [0] * count
        self.settled = [False] * count

    def train(self, rank: int) -> None:
        """The main thread of a rank."""
        stop, chance = self.stops[rank], random.Random(rank)
        stop._inside = True
        while stop.step_begins():
            self.steps[rank] += 1
            time.sleep(chance.random() * 0.002)
            self.barrier.wait(timeout=10)

    def watch(self, rank: int, told: threading.Event) -> None:
        """The thread that hears signals; those that are not told look at the store."""
        number = 0
        while not number:
            number = 15 if told.wait(0.01) else self.stops[rank].told_to_another()
        self.settled[rank] = self.stops[rank].settle(number, 5.0)


@pytest.mark.parametrize("told", [[0], [1], [2], [0, 1, 2]])
@pytest.mark.parametrize("after_s", [0.0, 0.013, 0.05])
def test_all_stop_at_the_same_step(
    monkeypatch: pytest.MonkeyPatch, told: list[int], after_s: float
) -> None:
    group = Group(3, monkeypatch)
    events = [threading.Event() for _ in range(3)]
    threads = [threading.Thread(target=group.train, args=(rank,)) for rank in range(3)]
    threads += [threading.Thread(target=group.watch, args=(r, events[r])) for r in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(after_s)
    for rank in told:
        events[rank].set()
    for thread in threads:
        thread.join(timeout=10)
    assert not any(thread.is_alive() for thread in threads)
    assert group.settled == [True] * 3
    assert len(set(group.steps)) == 1


def test_a_rank_that_does_not_answer_is_waited_for_within_bounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    group = Group(2, monkeypatch)
    group.stops[0]._inside = True
    began_s = time.monotonic()
    with pytest.raises(RuntimeError):
        group.stops[0].settle(15, 0.3)
    assert time.monotonic() - began_s < 3


def test_a_rank_that_has_no_steps_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    group = Group(2, monkeypatch)
    group.stops[0]._inside = True
    assert not group.stops[1].settle(15, 60.0)
    assert group.stops[0].told_to_another() == 15
    assert not group.stops[0].settle(15, 60.0)
