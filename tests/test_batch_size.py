"""`runforge batch-size`: real trainings within an amount of memory, and what it says of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from runforge import sizing
from runforge.batch_sizes import HANDED_OVER, BatchSizes, SizeTried, memory_bytes, predicted_bytes
from runforge.memory import CpuMemory, _left
from tests.conftest import Project
from tests.jobs import digits_project, make_job, prepare_digits
from tests.processes import together

LARGE = ("machine=cpu", "network=resnet", "data.modality.height=48", "data.modality.width=48")
SAMPLES = 210


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return digits_project(tmp_path_factory.mktemp("sizes"))


@pytest.fixture(scope="module")
def whole(project: Project) -> BatchSizes:
    """With more memory than a training with all samples in one batch takes."""
    done = project.runforge("batch-size", *LARGE, "--json")
    found = json.loads(done.stdout)
    assert found.pop("batch_size") == SAMPLES
    return BatchSizes.from_text(json.dumps(found))


def test_all_samples_fit_into_the_machine(whole: BatchSizes) -> None:
    assert [one.size for one in whole.tried] == [2, 4, 8, 16, 32, 64, 128, SAMPLES]
    assert all(one.fits and one.rate and one.rate > 0 for one in whole.tried)
    peaks = {one.size: one.peak_bytes for one in whole.tried}
    # The network keeps 60 KB of activations a sample and more: it grows with the batch.
    assert peaks[SAMPLES] - peaks[16] > SAMPLES * 60_000
    assert whole.limit_bytes > peaks[SAMPLES] / 0.9


def test_a_limit_is_kept(project: Project, whole: BatchSizes) -> None:
    peaks = {one.size: one.peak_bytes for one in whole.tried}
    limit = int((peaks[32] + peaks[SAMPLES]) / 2 / 0.9)
    done = project.runforge("batch-size", *LARGE, "--memory", f"{limit / 1e6:.0f}MB")
    key, _, number = done.stdout.strip().partition("=")
    assert key == "data.batch_size" and 32 <= int(number) < SAMPLES
    lines = [line.split() for line in done.stderr.splitlines() if line[:12].strip().isdigit()]
    taken = {int(line[0]): int(line[3].replace(",", "")) * 1e6 for line in lines if line[2] != "–"}
    assert max(taken.values()) <= limit, "more was taken than there is"
    assert taken[int(number)] <= 0.9 * limit
    refused = [int(line[0]) for line in lines if line[4:]]
    assert refused and min(refused) - int(number) <= max(1, int(number) // 8)
    assert "fastest: data.batch_size=" in done.stderr
    # What it prints can be given.
    short = ("trainer.max_epochs=1", "evaluation.resamples=100")
    project.runforge("train", *LARGE, *short, done.stdout.strip())


def test_nothing_fits_and_nothing_is_recorded(project: Project) -> None:
    runs = project.folder / "out" / "runs"
    before = set(runs.glob("*"))
    small = ("machine=cpu", "network=mlp", "--memory", "1MB")
    done = project.runforge("batch-size", *small, code=2)
    assert done.stdout == ""
    assert "not even 2 samples fit into 0.001 GB; take a smaller" in done.stderr.splitlines()[-1]
    assert set(runs.glob("*")) == before


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("machine.devices=2",), "machine.devices: the batch size is found on one device"),
        (("machine.strategy=fsdp",), "machine.devices: the batch size is found on one device"),
        (("--memory", "much"), "--memory: much is no amount of memory"),
        (("data.root=nowhere",), "data.root=nowhere: there is no such folder"),
        (("optimizer=sgd", "optimizer.learning_rate=1e38"), "lower optimizer.learning_rate"),
    ],
)
def test_mistakes_are_one_line(project: Project, given: tuple[str, ...], told: str) -> None:
    done = project.runforge("batch-size", "machine=cpu", "network=mlp", *given, code=None)
    assert done.returncode in (1, 2) and done.stdout == ""
    assert told in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr


def size_up(rank: int, count: int, folder: Path) -> BatchSizes:
    job = make_job(folder, "machine=cpu", "network=mlp")
    return BatchSizes.from_text(sizing.run(job)[HANDED_OVER])


def test_a_small_split_is_the_largest_batch(tmp_path: Path) -> None:
    prepare_digits(tmp_path, each=3)
    (found,) = together(size_up, 1, tmp_path / "process", tmp_path)
    assert found.tried[-1].size == found.samples == found.largest
    assert [one.size for one in found.tried][:-1] == [2, 4, 8, 16][: len(found.tried) - 1]


def take(rank: int, count: int) -> tuple[int, int, int]:
    memory = CpuMemory(None)
    memory.begin()
    start = memory.peak_bytes()
    np.ones(300 << 20, np.uint8)
    peak = memory.peak_bytes()
    memory.begin()
    return start, peak, memory.peak_bytes()


def test_the_peak_is_that_of_a_probe(tmp_path: Path) -> None:
    ((start, peak, after),) = together(take, 1, tmp_path)
    assert peak - start == pytest.approx(300 << 20, rel=0.02)
    assert after - start < 30 << 20


def test_what_a_control_group_leaves(tmp_path: Path) -> None:
    assert _left(tmp_path) == float("inf")
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 400\ninactive_file 250\n")
    assert _left(tmp_path) == 1000 - 700 + 250
    (tmp_path / "memory.max").write_text("max\n")
    assert _left(tmp_path) == float("inf")
    (tmp_path / "memory.limit_in_bytes").write_text("900\n")
    (tmp_path / "memory.usage_in_bytes").write_text("500\n")
    (tmp_path / "memory.stat").write_text("cache 400\ntotal_inactive_file 100\n")
    assert _left(tmp_path) == 900 - 500 + 100


def test_predictions_follow_the_steeper_line() -> None:
    straight = [SizeTried(size, 100 + 10 * size, fits=True) for size in (2, 4, 8)]
    assert predicted_bytes(straight, 16) == 260
    bent = [*straight, SizeTried(16, 400, fits=True)]
    assert predicted_bytes(bent, 32) == 400 + 16 * (400 - 180) // 8
    flat = [SizeTried(2, 300, fits=True), SizeTried(4, 290, fits=True)]
    assert predicted_bytes(flat, 8) == 290


@pytest.mark.parametrize(
    ("text", "value"),
    [("1GB", 10**9), ("512mb", 512 * 10**6), ("1.5 G", 15 * 10**8), ("2e9", 2 * 10**9), ("7", 7)],
)
def test_amounts_of_memory(text: str, value: int) -> None:
    assert memory_bytes(text) == value


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "0", "1.2.3", "1XB", "1 000"])
def test_what_is_no_amount_of_memory(text: str) -> None:
    with pytest.raises(ValueError):
        memory_bytes(text)
