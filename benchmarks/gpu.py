"""How busy training keeps a GPU, and how fast it gets somewhere.

`python benchmarks/gpu.py [--quick] [--json] [PART…]`, on a machine with an NVIDIA GPU.

* busy: `resnet` at 224 px from the packed set: the share of the time in which the GPU worked, as
  the driver counts it (NVML), over training's steps; in memory and, without, from the disk;
* rate: samples/s on Fashion-MNIST, with and without CUDA graphs, as a share of those of the same
  network on synthetic batches that lie on the device, in a bare loop;
* fashion: `experiment=fashion_mnist_resnet`: test accuracy, seconds of the whole command and of
  training alone.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import table  # noqa: E402
from benchmarks.predict import photographs  # noqa: E402
from tests.conftest import Project, make_project  # noqa: E402

FASHION = ROOT.parent / "shared/data/fashion-mnist"
RECIPE = ("experiment=fashion_mnist_resnet", "machine=gpu")
RATED = {
    "resnet (recipe), batch 256": RECIPE,
    "cnn, batch 128": ("experiment=fashion_mnist", "machine=gpu"),
}
BATCH_SIZE = 128
LARGE = (
    *("experiment=cats_vs_dogs", "network=resnet", "augmentation=light", "machine=gpu"),
    *("data.modality.height=224", "data.modality.width=224", "data.allow_leakage=true"),
    *(f"data.batch_size={BATCH_SIZE}", "trainer.log_every_steps=10"),
    "trainer.precision=bf16-mixed",
)

SHARES: list[float] = []
"""Of the bare loop's rate: what was found."""


def main() -> int:
    """Prints a table, or with --json one object; returns 1 where a measure is not reached."""
    parts = {"rate": rate, "busy": busy, "fashion": fashion}
    given = table.options(__doc__ or "", parts)
    if not torch.cuda.is_available():
        print("gpu is left out: there is no GPU", file=sys.stderr)
        parts, given.parts = {}, []
    rows = table.rows(parts, given, verdict="reached", otherwise="not reached")
    if given.json:
        print(json.dumps({"ratio": SHARES[0] if SHARES else None, "rows": rows}))
    return 0 if all(row["reached"] for row in rows) else 1


def busy(quick: bool) -> Iterator[tuple[str, str, bool]]:
    """`resnet` at 224 px."""
    with tempfile.TemporaryDirectory() as folder:
        project = make_project(Path(folder) / "project")
        _photographs(project.folder / "data", batches=4 if quick else 20)
        for held in ("true", "false"):
            given = (*LARGE, *_length(100 if quick else 300), f"machine.data_on_device={held}")
            with Watched() as watched:
                run = _train(project, *given)
            ends = _epoch_ends(project, run)
            share = watched.busy(ends[0][1], ends[-1][1])
            found = f"{share:.1%} of the time busy, {_rate(project, run):,.0f} samples/s"
            yield f"resnet, 224 px, data_on_device={held}", found, share >= 0.95


def fashion(quick: bool) -> Iterator[tuple[str, str, bool]]:
    """Seconds to a test accuracy of 94%."""
    with tempfile.TemporaryDirectory() as folder:
        project = _fashion_project(Path(folder))
        _train(project, *RECIPE, *_length(2))  # so that the data are prepared
        began_s = time.perf_counter()
        run = _train(project, *RECIPE, *(("trainer.max_epochs=2",) if quick else ()))
        whole_s = time.perf_counter() - began_s
        accuracy, trained_s = _accuracy(project, run), _training_s(project, run)
        found = f"test accuracy {accuracy:.4f}; {whole_s:.1f} s in all, {trained_s:.1f} s trained"
        yield "Fashion-MNIST", found, quick or accuracy >= 0.94


def rate(quick: bool) -> Iterator[tuple[str, str, bool]]:
    """What training keeps of a bare loop's rate, and what a graph gains."""
    with tempfile.TemporaryDirectory() as folder:
        project = _fashion_project(Path(folder))
        for name, overrides in RATED.items():
            long = (*overrides, *_length(300 if quick else 1000))
            with_graph, without = (
                _rate(project, _train(project, *long, f"machine.cuda_graphs={choice}"))
                for choice in ("true", "false")
            )
            share = with_graph / _bare_rate(project, long)
            SHARES.append(share)
            found = f"{with_graph:,.0f} samples/s, {without:,.0f} without a graph"
            yield name, f"{found}; {share:.2f} × the bare loop's", share >= 0.97


def _length(steps: int) -> tuple[str, ...]:
    """Three epochs of so many steps, with next to no validation."""
    epochs = ("trainer.max_epochs=3", f"trainer.steps_per_epoch={steps}")
    return (*epochs, "trainer.validation_steps=1", "evaluation.resamples=100")


class Watched:
    """What NVML says of the GPU's use while inside, some 50 times a second."""

    def __enter__(self) -> Watched:
        import pynvml

        pynvml.nvmlInit()
        self._handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        self._read = pynvml.nvmlDeviceGetUtilizationRates
        self._found: list[tuple[float, int]] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()

    def busy(self, begin_s: float, end_s: float) -> float:
        """The mean share between two times."""
        inside = [share for at, share in self._found if begin_s < at < end_s]
        return statistics.mean(inside) / 100

    def _watch(self) -> None:
        while not self._done.wait(0.02):
            self._found.append((time.time(), self._read(self._handle).gpu))


def _photographs(folder: Path, *, batches: int) -> None:
    """Whole batches of them to train on, as those of a large set mostly are; others to test on."""
    count = (batches + 2) * BATCH_SIZE
    photographs(folder, count)
    for number in range(batches * BATCH_SIZE, count):
        place = Path(f"class {number % 2}") / f"{number}.jpg"
        other = folder / ("validation_set" if number % 4 < 2 else "test_set") / place
        other.parent.mkdir(parents=True, exist_ok=True)
        (folder / "training_set" / place).rename(other)


def _fashion_project(folder: Path) -> Project:
    project = make_project(folder / "project")
    (project.folder / "data").symlink_to(FASHION.resolve())
    return project


def _train(project: Project, *overrides: str) -> str:
    return project.runforge("train", *overrides).stdout.strip()


def _entries(project: Project, run: str) -> list[dict[str, Any]]:
    journal = project.folder / "out" / "runs" / run / "journal.jsonl"
    return [json.loads(line) for line in journal.read_text().splitlines()]


def _epoch_ends(project: Project, run: str) -> list[tuple[int, float]]:
    """Of each epoch: the steps that were done, and when, in seconds."""
    entries = [e for e in _entries(project, run) if "train/loss" in e["metrics"]]
    return [(e["step"], e["timestamp_ms"] / 1000) for e in entries]


def _rate(project: Project, run: str) -> float:
    """Samples a second, from the end of the first epoch to that of the last."""
    (first, began_s), *_, (last, ended_s) = _epoch_ends(project, run)
    return (last - first) * _batch_size(project, run) / (ended_s - began_s)


def _training_s(project: Project, run: str) -> float:
    entries = _entries(project, run)
    return float(entries[-1]["timestamp_ms"] - entries[0]["timestamp_ms"]) / 1000


def _batch_size(project: Project, run: str) -> int:
    job = project.folder / "out" / "runs" / run / "job.json"
    return int(json.loads(job.read_text())["configuration"]["data"]["batch_size"])


def _accuracy(project: Project, run: str) -> float:
    figures = project.folder / "out" / "runs" / run / "evaluation" / "metrics.json"
    return float(json.loads(figures.read_text())["accuracy"])


def _bare_rate(project: Project, overrides: tuple[str, ...]) -> float:
    script = ROOT / "benchmarks" / "bare_gpu.py"
    command = [sys.executable, str(script), str(project.folder), *overrides]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=project.folder)
    return float(done.stdout)


if __name__ == "__main__":
    sys.exit(main())
