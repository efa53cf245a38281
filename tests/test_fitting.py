"""The step `train` in this process: the trainer's switches, and what stops a training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runforge import bundle, fitting
from runforge.errors import ConfigError, DataError, TrainingError
from runforge.history import History
from runforge.job import Job
from tests.jobs import make_job, prepare_digits

pytestmark = [
    pytest.mark.filterwarnings("ignore::pytorch_lightning.utilities.warnings.PossibleUserWarning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.*:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a few digits prepared and a store."""
    made = tmp_path_factory.mktemp("fitting")
    prepare_digits(made, each=30)
    return made


def job_of(folder: Path, *overrides: str) -> Job:
    """A job of two epochs and a run that is waiting for it."""
    epochs = [] if any("max_epochs" in o for o in overrides) else ["trainer.max_epochs=2"]
    return make_job(folder, *epochs, *overrides)


def weights(job: Job) -> dict[str, Any]:
    return {n: t.numpy() for n, t in bundle.load(Path(job.model)).network.state_dict().items()}


@pytest.mark.parametrize(
    "overrides",
    [
        ("trainer.precision=bf16-mixed",),
        ("trainer.accumulate=2", "trainer.gradient_clip_norm=0.1", "optimizer=sgd"),
        ("trainer.keep=last", "network=resnet", "schedule=cosine"),
        ("network=mlp", "augmentation=strong", "optimizer=adamw", "task.loss.label_smoothing=0.1"),
        ("network=mlp", "trainer.compile=true"),
    ],
)
def test_switches_train_to_a_usable_model(folder: Path, overrides: tuple[str, ...]) -> None:
    job = job_of(folder, *overrides)
    tags = fitting.run(job)
    assert int(tags["runforge.steps"]) > 0
    assert all(np.isfinite(values).all() for values in weights(job).values())
    history = History.read(Path(job.model) / "history.csv")
    assert len(history.series("validation/loss").values) == 2


@pytest.mark.parametrize("workers", [0, 1])
def test_data_that_are_held_on_the_device_give_the_same_weights(folder: Path, workers: int) -> None:
    given = ("augmentation=light", "machine=cpu", f"machine.workers={workers}")
    mapped = job_of(folder, *given, "machine.data_on_device=false")
    held = job_of(folder, *given, "machine.data_on_device=true")
    for job in (mapped, held):
        fitting.run(job)
    assert all(np.array_equal(w, weights(held)[name]) for name, w in weights(mapped).items())
    # Figures of the validation split too.
    histories = [History.read(Path(job.model) / "history.csv") for job in (mapped, held)]
    assert histories[0] == histories[1]


def test_a_graph_that_is_asked_for_where_there_can_be_none(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"machine\.cuda_graphs: it is for one CUDA GPU"):
        fitting.run(job_of(folder, "machine.accelerator=cpu", "machine.cuda_graphs=true"))


def test_accumulating_makes_fewer_steps(folder: Path) -> None:
    one = fitting.run(job_of(folder, "network=mlp"))
    two = fitting.run(job_of(folder, "network=mlp", "trainer.accumulate=2"))
    assert int(two["runforge.steps"]) == -(-int(one["runforge.steps"]) // 4) * 2


def test_training_stops_early_and_hands_on_the_best_epoch(folder: Path) -> None:
    # The rate grows the loss after the first epochs, so the best epoch is not the last.
    hurry = ("network=mlp", "optimizer.learning_rate=3.0", "trainer.max_epochs=50")
    job = job_of(folder, *hurry, "trainer.patience=2")
    tags = fitting.run(job)
    losses = History.read(Path(job.model) / "history.csv").series("validation/loss").values
    assert len(losses) < 50
    assert int(tags["runforge.kept_epoch"]) == int(np.argmin(losses))
    assert len(losses) == int(np.argmin(losses)) + 3


def test_steps_of_an_epoch_may_go_round_the_data(folder: Path) -> None:
    tags = fitting.run(job_of(folder, "network=mlp", "trainer.steps_per_epoch=17"))
    assert tags["runforge.steps"] == "34"


def test_another_seed_gives_other_weights(folder: Path) -> None:
    jobs = [job_of(folder, "network=mlp", f"seed={seed}") for seed in (0, 0, 1)]
    for job in jobs:
        fitting.run(job)
    one, same, other = (weights(job) for job in jobs)
    assert all((one[name] == same[name]).all() for name in one)
    assert any((one[name] != other[name]).any() for name in one)


def test_a_loss_that_is_no_number_stops_training(folder: Path) -> None:
    job = job_of(folder, "optimizer=sgd", "optimizer.learning_rate=1e30")
    with pytest.raises(TrainingError, match=r"lower optimizer.learning_rate=1e\+30"):
        fitting.run(job)
    assert not Path(job.model).exists()


def test_a_monitor_that_is_not_measured(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"trainer.monitor: .*known: .*validation/accuracy"):
        fitting.run(job_of(folder, "trainer.monitor=validation/r2"))


def test_a_task_that_does_not_fit_the_data(folder: Path) -> None:
    with pytest.raises(ConfigError, match="multiclass"):
        fitting.run(job_of(folder, "task=binary"))


def test_a_network_too_small_for_the_pictures(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"network.padding=same"):
        fitting.run(job_of(folder, "network=origin"))


def test_a_gpu_where_there_is_none(folder: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.fail("this test is for machines without a GPU")
    with pytest.raises(ConfigError, match="machine"):
        fitting.run(job_of(folder, "machine=gpu"))


def test_a_prepared_set_that_is_not_there(folder: Path) -> None:
    with pytest.raises(DataError, match="dvc repro prepare"):
        fitting.run(replace(job_of(folder), prepared=str(folder / "nothing")))
