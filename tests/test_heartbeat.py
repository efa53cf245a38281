"""What ranks tell while they run, and which of them is named when they hang."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest
import torch
from torch import Tensor
from torch.distributed import DistStoreError, TCPStore
from torch.distributed.elastic.utils import store as meeting

from runforge.heartbeat import INTERVAL_S, SILENT_S, Beat, _beat, heartbeat, hung, read_beats

NAME = Path(__file__).name


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[TCPStore]:
    """The agent's store, on a free port, and the environment of rank 1's process."""
    made = TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setenv("MASTER_PORT", str(made.port))
    monkeypatch.setenv("LOCAL_RANK", "1")
    yield made


def beats_of(store: TCPStore, *, attempt: int = 0, count: int = 3) -> dict[int, Beat]:
    return read_beats("localhost", store.port, attempt=attempt, count=count)


def heart() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "runforge-heartbeat"]


def beat(*, ago_s: float = 0.0, waiting: bool = True, where: str = "a.py:1 (f)") -> Beat:
    return Beat(1e9 - ago_s, waiting, where)


@pytest.mark.parametrize(
    ("beats", "expected"),
    [
        # All wait for one another: who hangs can't be told.
        ({0: beat(), 1: beat(), 2: beat()}, None),
        ({0: beat(), 1: beat(waiting=False), 2: beat()}, "rank 1 hangs in a.py:1 (f)"),
        ({0: beat(waiting=False), 1: beat(waiting=False), 2: beat()}, "rank 0 hangs in a.py:1 (f)"),
        (
            {0: beat(), 1: beat(), 2: beat(ago_s=7.2, where="b.py:2 (g)")},
            "rank 2 has not been heard of for 7 s, since b.py:2 (g)",
        ),
        # Being late is normal within a few seconds.
        ({0: beat(), 1: beat(), 2: beat(ago_s=SILENT_S - 0.1)}, None),
        # One that says nothing any more explains why another does something else.
        (
            {0: beat(waiting=False), 1: beat(), 2: beat(ago_s=60)},
            "rank 2 has not been heard of for 60 s, since a.py:1 (f)",
        ),
        ({0: beat(), 2: beat()}, "rank 1 never arrived"),
        ({0: beat(waiting=False), 2: beat()}, "rank 1 never arrived"),
        ({}, "rank 0 never arrived"),
    ],
)
def test_the_rank_that_hangs_is_named(beats: dict[int, Beat], expected: str | None) -> None:
    assert hung(beats, range(3)) == expected


def test_a_beat_says_what_the_main_thread_is_at(store: TCPStore) -> None:
    before = time.time()
    with heartbeat(1, 0):
        (told,) = beats_of(store).items()
        rank, first = told
        time.sleep(2.5 * INTERVAL_S)
        later = beats_of(store)[rank]
    assert rank == 1
    assert before <= first.time_s <= later.time_s - INTERVAL_S
    assert later.time_s <= time.time()
    assert "heartbeat.py" not in first.where
    assert not later.waiting
    assert later.where.startswith(f"tests/{NAME}:")
    assert later.where.endswith("(test_a_beat_says_what_the_main_thread_is_at)")
    assert not heart()
    time.sleep(1.5 * INTERVAL_S)
    assert beats_of(store)[rank].time_s < later.time_s + INTERVAL_S


def test_every_attempt_begins_anew(store: TCPStore) -> None:
    with heartbeat(1, 2):
        assert beats_of(store, attempt=2).keys() == {1}
        assert beats_of(store, attempt=1) == {}
        assert beats_of(store, attempt=2, count=1) == {}


def test_a_rank_that_waits_for_another_says_so(store: TCPStore) -> None:
    limit_s = 2.5 * INTERVAL_S
    with heartbeat(1, 0):
        before = beats_of(store)[1]
        with pytest.raises(DistStoreError):
            meeting.barrier(
                store, world_size=2, key_prefix="never", barrier_timeout=int(limit_s) + 1
            )
        waited = beats_of(store)[1]
    assert not before.waiting
    assert waited.waiting and waited.where.startswith("utils/store.py:")


class Backward(torch.autograd.Function):
    """The identity; notes the frames that are active in its backward pass."""

    seen: tuple[FrameType, ...] = ()

    @staticmethod
    def forward(context: object, inputs: Tensor) -> Tensor:
        return inputs.clone()

    @staticmethod
    def backward(context: object, gradient: Tensor) -> Tensor:
        frame: FrameType | None = sys._getframe()
        Backward.seen = ()
        while frame is not None:
            Backward.seen += (frame,)
            frame = frame.f_back
        return gradient


def test_the_backward_pass_waits_in_torchs_own_code() -> None:
    """Where gradients are exchanged, no frame of Python's is above the engine's."""
    Backward.apply(torch.ones(1, requires_grad=True)).backward()
    (engine,) = [f for f in Backward.seen if "_engine_run_backward" in f.f_code.co_name]
    assert _beat(engine).waiting
    assert not _beat(Backward.seen[0]).waiting


def test_a_process_that_is_alone_tells_nothing(
    store: TCPStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LOCAL_RANK")
    with heartbeat(1, 0):
        assert not heart()
        assert beats_of(store) == {}


@pytest.mark.filterwarnings("error")
def test_the_heart_stops_in_silence_when_the_agent_has_gone(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    made = TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    for name, value in {"ADDR": "localhost", "PORT": str(made.port)}.items():
        monkeypatch.setenv(f"MASTER_{name}", value)
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("TORCH_CPP_LOG_LEVEL", "ERROR")
    with heartbeat(0, 0):
        assert heart()
        del made
        deadline = time.monotonic() + 30
        while heart() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not heart()
    assert "Traceback" not in capfd.readouterr().err
