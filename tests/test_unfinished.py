"""Which run a command goes on with."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import pytest

from runforge import places
from runforge.identity import identity
from runforge.tracking.run import Run
from runforge.tracking.store import Store, open_store
from runforge.unfinished import going_on
from tests.conftest import REPOSITORY

VALUES = {"seed": 1, "fresh": False, "machine": {"strategy": "ddp", "devices": 1}}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path, "unfinished")


class Ended(Exception):
    """As whatever ends a run."""


def stopped(store: Store, same: str = "same", *, fresh: bool = False) -> str:
    """The id of the run that a command took, and did not bring to its end."""
    with pytest.raises(Ended), taken(store, same, fresh=fresh) as run:
        checkpoints(store, run).mkdir(exist_ok=True)
        run.end("FAILED", "ended")
        raise Ended
    return run.run_id


def taken(store: Store, same: str, *, fresh: bool = False):  # type: ignore[no-untyped-def]
    return going_on(
        store.project, store, same, fresh=fresh, start=lambda: Run.start(store, "run", {})
    )


def checkpoints(store: Store, run: Run) -> Path:
    return places.run_folder(store.project, run.run_id) / "checkpoints"


def status(store: Store, run_id: str) -> str:
    return str(store.client.get_run(run_id).info.status)


def test_one_that_was_stopped_goes_on(store: Store) -> None:
    first = stopped(store)
    assert status(store, first) == "FAILED"
    with taken(store, "same") as run:
        assert run.run_id == first
        assert status(store, first) == "RUNNING"
        assert "runforge.error" not in store.client.get_run(first).data.tags
        assert checkpoints(store, run).is_dir()


@pytest.mark.parametrize(
    ("left", "told"),
    [
        (
            "checkpoints/last-000001-00000003-none-0",
            "going on with run {} (fresh=true starts over)",
        ),
        ("train-done.json", "going on with run {} (fresh=true starts over)"),
        ("checkpoints/best-000001-0", "run {} was stopped before its first checkpoint: it begins"),
        ("journal.jsonl", "run {} was stopped before its first checkpoint: it begins anew"),
    ],
)
def test_it_says_what_it_goes_on_from(store: Store, capsys, left: str, told: str) -> None:
    first = stopped(store)
    path = places.run_folder(store.project, first) / left
    path.touch()
    capsys.readouterr()
    with taken(store, "same"):
        pass
    (line,) = [line for line in capsys.readouterr().err.splitlines() if first in line]
    assert line.startswith(told.format(first))


def test_one_that_is_done_does_not(store: Store) -> None:
    with taken(store, "same") as run:
        checkpoints(store, run).mkdir()
    assert not checkpoints(store, run).exists()
    with taken(store, "same") as other:
        assert other.run_id != run.run_id


def test_another_one_is_another(store: Store) -> None:
    assert stopped(store, "one") != stopped(store, "other")


def test_the_one_that_was_stopped_last_goes_on(store: Store) -> None:
    with taken(store, "same") as first:
        second = stopped(store)
        checkpoints(store, first).mkdir()
    assert stopped(store) == second


def test_fresh_gives_up_what_was_stopped(store: Store) -> None:
    first = stopped(store)
    second = stopped(store, fresh=True)
    assert first != second
    assert not (places.run_folder(store.project, first) / "checkpoints").exists()
    assert stopped(store) == second


def test_one_that_was_deleted_is_not_gone_on_with(store: Store) -> None:
    first = stopped(store)
    store.client.delete_run(first)
    assert stopped(store) != first


def _hold(folder: Path, told: str) -> None:
    store = open_store(folder, "unfinished")
    with taken(store, "same") as run:
        Path(told).write_text(run.run_id)
        time.sleep(600)


def test_one_whose_driver_lives_is_left_to_it(store: Store, tmp_path: Path) -> None:
    told = tmp_path / "told"
    process = multiprocessing.get_context("spawn").Process(
        target=_hold, args=(store.project, str(told))
    )
    process.start()
    try:
        deadline = time.monotonic() + 60
        while not (told.exists() and told.read_text()) and time.monotonic() < deadline:
            time.sleep(0.05)
        first = told.read_text()
        assert stopped(store) != first
    finally:
        os.kill(process.pid or 0, 9)
        process.join()
    # The kernel has let the lock go: the next command may have either, and takes the newest.
    assert stopped(store) in {first, *(p.parent.name for p in _identities(store))}


def _identities(store: Store) -> list[Path]:
    return list((store.project / "out" / "runs").glob("*/identity"))


def test_the_machine_and_fresh_are_no_part_of_the_identity() -> None:
    same = identity(VALUES, data="a")
    many = {**VALUES, "fresh": True, "machine": {"strategy": "ddp", "devices": 8}}
    assert identity(many, data="a") == same
    sharded = {**VALUES, "machine": {"strategy": "fsdp", "devices": 1}}
    others = [identity({**VALUES, "seed": 2}, data="a"), identity(VALUES, data="b")]
    assert same not in [*others, identity(sharded, data="a")]
    assert len({*others}) == 2


def test_the_code_is_part_of_the_identity(tmp_path: Path) -> None:
    from runforge.identity import code_hashes

    found = code_hashes()
    for name in ("networks/cnn.py", "learner.py", "torch"):
        assert name in found
    assert len(found) >= len(list((REPOSITORY / "src/runforge").rglob("*.py")))
