"""Loading one epoch from a prepared set, beside what a user would do instead.

`python benchmarks/loading.py [--quick] [--json] [--data FOLDER]`, from the project's folder.
Samples a second, batches of 128, in turns:

* runforge: the training loader over the prepared set's memory-mapped rows, as training asks it;
* array: a bare loop that indexes an array in memory by the same batches. `ratio` is runforge's rate
  over this one's;
* decoding: a data set that decodes the JPEG files each epoch with Pillow, in two processes.

Then a set of which no more than half fits into memory: rows of 150×150×3 in a file, random reads.
The system's cache can't be bounded without a control group, so every second MiB of the file is
thrown out of it again and again, and the pages that the process maps: at any
time at most half of the set is cached. Beside it the same rows in memory, by runforge and by a bare
loop (`array`), and bare reading of as many rows from the file (`disk`), the limit; with the most
memory of its own that loading took (pages of the file do not count, the system takes them back).
Exit code 1 where loading the large set takes more than twice the time of the one in memory and of
the disk itself.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import mmap
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402
from torch.utils.data import DataLoader, Dataset  # noqa: E402

from benchmarks import turns  # noqa: E402
from benchmarks.prepare import SIDE, made, works  # noqa: E402
from runforge import places  # noqa: E402
from runforge.datamodule import PackedData  # noqa: E402
from runforge.orders import BatchPlan  # noqa: E402
from runforge.prepared import PreparedSet  # noqa: E402
from runforge.steps import Steps  # noqa: E402

BATCH = 128
ROW_BYTES = SIDE * SIDE * 3


class Photographs(Dataset[tuple[torch.Tensor, int]]):
    """JPEG files, decoded when they are asked for, as a user would write it."""

    def __init__(self, files: list[Path]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, int]:
        with Image.open(self.files[number]) as picture:
            picture.draft("RGB", (SIDE, SIDE))
            small = picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(small)), 0


def loader_of(prepared: PreparedSet) -> DataLoader[Steps]:
    """The loader of training, made once as training makes it."""
    return PackedData(
        prepared, BatchPlan(batch_size=BATCH, seed=0), draw_count=0
    ).train_dataloader()


def by_runforge(loader: DataLoader[Steps], before: Callable[[], None] = lambda: None) -> int:
    """One epoch as training loads it; the samples."""
    count = 0
    for steps in loader:
        count += sum(len(batch.rows) for step in steps for batch in step.batches)
        before()
    return count


def by_array(inputs: np.ndarray, targets: np.ndarray, rows: np.ndarray) -> int:
    """One epoch of a bare loop."""
    order, count = np.random.default_rng(0).permutation(rows), 0
    for start in range(0, len(order), BATCH):
        batch = order[start : start + BATCH]
        count += len(torch.from_numpy(inputs[batch])) + 0 * len(torch.from_numpy(targets[batch]))
    return count


def by_decoding(loader: DataLoader[tuple[torch.Tensor, int]]) -> int:
    """One epoch of decoding."""
    return sum(len(inputs) for inputs, _ in loader)


def rate(
    least_s: float, work: Callable[[], object], besides_s: Callable[[], float] = lambda: 0.0
) -> float:
    """Samples a second, over as many epochs as take so long; `besides_s` is no part of it."""
    began, count = time.perf_counter() - besides_s(), 0
    while (took := time.perf_counter() - besides_s() - began) < least_s or not count:
        count += int(work())  # type: ignore[call-overload]
    return count / took


def small(folder: Path, data: Path, quick: bool) -> turns.Found:
    """A set that fits into memory."""
    project = made(folder, data, 800)
    works(project)["prepare"]()
    prepared = PreparedSet.open(places.prepared(project))
    rows, inputs = prepared.rows("train"), np.array(prepared.inputs)
    files = [project / "data" / prepared.where[row] for row in rows]
    loader = DataLoader(
        Photographs(files), BATCH, shuffle=True, num_workers=2, persistent_workers=True
    )
    tried = {
        "runforge": partial(by_runforge, loader_of(prepared)),
        "array": partial(by_array, inputs, np.array(prepared.targets), rows),
        "decoding": partial(by_decoding, loader),
    }
    return turns.in_turns(tried, 3 if quick else 9, partial(rate, 0.3 if quick else 2))


class Dropped:
    """A file of rows, half of which the system is made to forget again and again."""

    def __init__(self, path: Path) -> None:
        self.rows = np.load(path, mmap_mode="r")
        self._file = path.open("rb")
        self._bytes = path.stat().st_size
        self._odd, self.spent_s = False, 0.0

    def forget(self) -> None:
        """Every second MiB, from an odd or even one on in turn."""
        began = time.perf_counter()
        self.rows._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]
        self._odd = not self._odd
        for start in range(self._odd * 2**20, self._bytes, 2**21):
            os.posix_fadvise(self._file.fileno(), start, 2**20, os.POSIX_FADV_DONTNEED)
        self.spent_s += time.perf_counter() - began

    def read(self) -> int:
        """The same rows in as random an order, by bare reads; the system forgets as often."""
        header, count = self.rows.offset, len(self.rows)  # type: ignore[attr-defined]
        order = np.random.default_rng(1).permutation(count)
        for number, row in enumerate(order.tolist()):
            if number % CALL == 0:
                self.forget()
            os.pread(self._file.fileno(), ROW_BYTES, header + row * ROW_BYTES)
        return count


CALL = 512
"""Rows after which the system forgets again."""


def large(folder: Path, prepared: PreparedSet, rows: int, quick: bool) -> dict[str, object]:
    """A set of which half is cached at most."""
    folder.mkdir()
    path = folder / "inputs.npy"
    shape = (rows, SIDE, SIDE, 3)
    file = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    draw = np.random.default_rng(0)
    for start in range(0, rows, 256):
        file[start : start + 256] = draw.integers(
            0, 256, (min(256, rows - start), *shape[1:]), np.uint8
        )
    file.flush()
    os.sync()
    dropped = Dropped(path)
    more = {
        "targets": np.zeros(rows, np.int64),
        "ids": tuple(f"{number:032x}" for number in range(rows)),
        "where": ("",) * rows,
        "splits": ("train",) * rows,
    }
    on_disk = replace(prepared, inputs=dropped.rows, **more)
    in_memory = replace(prepared, inputs=np.load(path), **more)
    tried = {
        "in memory": partial(by_runforge, loader_of(in_memory)),
        "array": partial(by_array, in_memory.inputs, in_memory.targets, np.arange(rows)),
        "half cached": partial(by_runforge, loader_of(on_disk), dropped.forget),
        "disk": dropped.read,
    }
    found = turns.in_turns(
        tried, 2 if quick else 5, partial(rate, 0, besides_s=lambda: dropped.spent_s)
    )
    del in_memory
    return {"found": found, "memory_mb": memory_mb(on_disk, dropped)}


def memory_mb(prepared: PreparedSet, dropped: Dropped) -> float:
    """How much an epoch adds to the process's own memory at most."""

    def own() -> float:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1024

    # What was freed is given back, so that it counts when it is taken again.
    ctypes.CDLL(None).malloc_trim(0)
    before, most = own(), 0.0

    def look() -> None:
        nonlocal most
        most = max(most, own() - before)
        dropped.forget()

    by_runforge(loader_of(prepared), look)
    return most


def main() -> int:
    """Prints the tables, or with --json one object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few repetitions, 0.5 GB")
    parser.add_argument("--json", action="store_true", help="one object on standard output")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data/cats-vs-dogs")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=ROOT / "out" if (ROOT / "out").is_dir() else None) as at:
        found = small(Path(at) / "small", given.data, given.quick)
        turns.show("a set in memory", found, "samples a second", "array")
        prepared = PreparedSet.open(places.prepared(Path(at) / "small"))
        big = large(Path(at) / "large", prepared, 7_500 if given.quick else 60_000, given.quick)
    rates: turns.Found = big["found"]  # type: ignore[assignment]
    turns.show("a set of which half is cached", rates, "samples a second", "in memory")
    print(f"memory of its own: {big['memory_mb']:.1f} MB", file=sys.stderr)
    told = {
        "ratio": turns.ratio(found, "runforge", "array"),
        "ratio_decoding": turns.ratio(found, "runforge", "decoding"),
        "ratio_half_cached": turns.ratio(rates, "half cached", "in memory"),
        "ratio_disk": turns.ratio(rates, "half cached", "disk"),
    }
    if given.json:
        print(json.dumps({**told, "memory_mb": big["memory_mb"], "small": found, "large": rates}))
    slow = min(statistics.median(rates["in memory"]), statistics.median(rates["disk"])) / 2
    return int(statistics.median(rates["half cached"]) < slow)


if __name__ == "__main__":
    sys.exit(main())
