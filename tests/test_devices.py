"""The same result whoever shares the work: steps on 1, 2 and 3 processes, side by side."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch.multiprocessing.spawn import ProcessRaisedException

from runforge import bundle, config, targets
from runforge.job import Job
from runforge.prepared import PreparedSet
from runforge.settings import plain
from tests.conftest import REPOSITORY
from tests.jobs import SIZES, fit, make_job, prepare_digits, say
from tests.processes import together

# A rest of 30 samples, which 3 processes share as 10 each, and 1230 in all, as 50, 50, …, 30.
BATCH = "data.batch_size=50"
COMMON = ("machine=cpu", "trainer.log_every_steps=1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all digits prepared and a store."""
    made = tmp_path_factory.mktemp("devices")
    prepare_digits(made)
    return made


def job_of(folder: Path, *overrides: str) -> Job:
    """A job of a run that is waiting for it."""
    batch = [] if any("batch_size" in o for o in overrides) else [BATCH]
    return make_job(folder, *COMMON, *batch, *overrides)


def train(folder: Path, count: int, *overrides: str) -> Job:
    """A training shared by `count` processes."""
    job = job_of(folder, f"machine.devices={count}", *overrides)
    return go_on(job, count)


def go_on(job: Job, count: int, *, max_epochs: int | None = None) -> Job:
    """The same run, from its newest checkpoint, on `count` processes."""
    values = {**job.configuration, "trainer": dict(job.configuration["trainer"])}
    if max_epochs is not None:
        values["trainer"]["max_epochs"] = max_epochs
    job = replace(job, configuration=values)
    job.write()
    together(fit, count, Path(job.run_folder) / f"ranks-{count}-{max_epochs}", job)
    return job


def metrics(job: Job) -> dict[tuple[str, int], float]:
    """Everything that reached the journal, by name and step."""
    lines = job.journal.read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    return {(name, e["step"]): v for e in entries for name, v in e["metrics"].items()}


def weights(job: Job) -> dict[str, np.ndarray]:
    state = bundle.load(Path(job.model)).network.state_dict()
    return {name: tensor.numpy() for name, tensor in state.items()}


def assert_close(one: dict[tuple[str, int], float], other: dict[tuple[str, int], float]) -> None:
    assert one.keys() == other.keys()
    for key, value in one.items():
        assert other[key] == pytest.approx(value, rel=1e-5), key


RANDOM = ("augmentation=digits", "network.dropout=0.3", "optimizer.learning_rate=0.001")
CASES = {
    "random": RANDOM,
    "accumulated": ("network=mlp", "trainer.accumulate=3", "trainer.gradient_clip_norm=0.3"),
    "weighted": ("network=mlp", "task.class_weights=balanced", "trainer.steps_per_epoch=17"),
}


@pytest.mark.parametrize("case", CASES)
def test_every_step_of_every_number_of_processes_has_the_same_loss(folder: Path, case: str) -> None:
    overrides = (*CASES[case], "trainer.max_epochs=2")
    alone = metrics(train(folder, 1, *overrides))
    assert len({step for name, step in alone if name == "train/step_loss"}) >= 17
    for count in (2, 3):
        assert_close(alone, metrics(train(folder, count, *overrides)))


def test_sharded_weights_learn_the_same(folder: Path) -> None:
    overrides = (*RANDOM, "trainer.max_epochs=2", "trainer.gradient_clip_norm=0.3")
    alone = metrics(train(folder, 1, *overrides))
    for count in (2, 3):
        sharded = train(folder, count, *overrides, "machine.strategy=fsdp")
        assert_close(alone, metrics(sharded))
        assert weights(sharded).keys() == weights(train(folder, 1, *overrides)).keys()


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_ranks_of_one_part_and_of_two(folder: Path, strategy: str) -> None:
    """The outputs of a convolution for 32 digits are more than a part of `cnn`, for 31 less."""
    wide = ("network.filters=[1480]", "network.dense=8", "data.batch_size=63")
    overrides = (*wide, "trainer.max_epochs=1", "trainer.steps_per_epoch=3")
    shared = train(folder, 2, *overrides, f"machine.strategy={strategy}")
    assert_close(metrics(train(folder, 1, *overrides)), metrics(shared))


def test_batch_norm_sees_the_whole_batch(folder: Path) -> None:
    # Rounding decides on which side of a ReLU's kink a value falls: no more than the first steps.
    few = ("network=resnet", "trainer.max_epochs=1", "trainer.steps_per_epoch=5")
    alone = metrics(train(folder, 1, *few))
    assert_close(alone, metrics(train(folder, 2, *few)))
    apart = metrics(train(folder, 2, *few, "trainer.sync_batch_norm=false"))
    assert apart["train/step_loss", 5] != pytest.approx(alone["train/step_loss", 5], rel=1e-4)


def test_a_batch_too_small_for_batch_norm_on_each_device(folder: Path) -> None:
    odd = ("network=resnet", "trainer.sync_batch_norm=false", "data.batch_size=3")
    with pytest.raises(ProcessRaisedException, match=r"trainer.sync_batch_norm: a batch of"):
        train(folder, 2, *odd)


def test_a_fused_sgd_can_not_be_sharded(folder: Path) -> None:
    with pytest.raises(ProcessRaisedException, match=r"machine.strategy=fsdp: .*not fused"):
        train(folder, 2, "optimizer=sgd", "optimizer.fused=true", "machine.strategy=fsdp")


@pytest.mark.parametrize(
    "overrides",
    [
        ("trainer.precision=bf16-mixed", "trainer.gradient_clip_norm=0.3"),
        ("trainer.precision=16-mixed", "optimizer.fused=false", "trainer.gradient_clip_norm=0.3"),
        ("machine.strategy=fsdp", "trainer.precision=bf16-mixed", "trainer.accumulate=2"),
        (
            *("machine.strategy=fsdp", "trainer.precision=16-mixed", "optimizer.fused=false"),
            "trainer.gradient_clip_norm=0.3",
        ),
        ("machine.activation_checkpointing=true", "machine.strategy=fsdp", "network=resnet"),
    ],
)
def test_switches_train_on_two_processes(folder: Path, overrides: tuple[str, ...]) -> None:
    job = train(folder, 2, "trainer.max_epochs=2", *overrides)
    found = metrics(job)
    first, last = (found["train/step_loss", step] for step in (1, max(s for _, s in found)))
    assert last < 0.8 * first
    assert all(np.isfinite(values).all() for values in weights(job).values())


# A schedule knows how long training is; what is cut short has another.
OFTEN = ("machine.checkpoint_interval_s=0", "schedule=constant")


@pytest.mark.parametrize("count", [2, 3])
def test_going_on_is_as_if_never_interrupted(folder: Path, count: int) -> None:
    often = (*RANDOM, *OFTEN)
    whole = train(folder, count, *often, "trainer.max_epochs=4")
    cut = train(folder, count, *often, "trainer.max_epochs=3")
    # What came after the last checkpoint is done again.
    go_on(cut, count, max_epochs=4)
    assert metrics(cut) == metrics(whole)
    for name, values in weights(whole).items():
        np.testing.assert_array_equal(values, weights(cut)[name])


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_checkpoint_loads_on_another_number_of_processes(folder: Path, strategy: str) -> None:
    often = (*RANDOM, *OFTEN, f"machine.strategy={strategy}")
    whole = metrics(train(folder, 2, *often, "trainer.max_epochs=4"))
    for count in (1, 3):
        cut = train(folder, 2, *often, "trainer.max_epochs=3")
        assert_close(whole, metrics(go_on(cut, count, max_epochs=4)))


@pytest.mark.parametrize("network", ["cnn", "resnet"])
def test_predictions_are_the_same_bit_for_bit(folder: Path, network: str) -> None:
    settings = config.compose(REPOSITORY, [f"network={network}"]).settings
    prepared = PreparedSet.open(folder / "prepared")
    task = targets.build(plain(settings.task), schema=prepared.schema)
    made = bundle.build_network(plain(settings.network), task, prepared.schema)
    bundle.write(
        folder / network,
        weights=made.state_dict(),
        network_node=plain(settings.network),
        task_node=plain(settings.task),
        schema=prepared.schema,
        run_id="none",
        lineage={},
    )
    (alone,) = said(folder, network, 1)
    assert [len(values) for values in alone] == list(SIZES)
    for count in (2, 3):
        for of_rank in said(folder, network, count):
            for one, other in zip(alone, of_rank, strict=True):
                np.testing.assert_array_equal(one, other)


def said(folder: Path, network: str, count: int) -> list[Any]:
    place = folder / f"{network}-{count}"
    return together(say, count, place, folder / network, folder / "prepared")
