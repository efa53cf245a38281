"""What only a CUDA GPU can show; left out where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from runforge import bundle, fitting
from runforge.datamodule import PackedData
from runforge.errors import ConfigError
from runforge.job import Job
from runforge.journal import JournalReader
from runforge.learner import Learner
from runforge.networks.mlp import Mlp
from tests.jobs import make_job, prepare_digits

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"),
    pytest.mark.filterwarnings("ignore::pytorch_lightning.utilities.warnings.PossibleUserWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:The given buffer is not writable:UserWarning"),
]

WHOLE = ("machine=gpu", "data.batch_size=64", "trainer.max_epochs=3", "trainer.log_every_steps=1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("digits")
    prepare_digits(made)
    return made


def _trained(folder: Path, *overrides: str) -> Job:
    job = make_job(folder, *WHOLE, *overrides)
    fitting.run(job)
    return job


def _weights(job: Job) -> dict[str, np.ndarray]:
    return {n: t.numpy() for n, t in bundle.load(Path(job.model)).network.state_dict().items()}


def _same(one: Job, other: Job) -> bool:
    pairs = _weights(one), _weights(other)
    return all(np.array_equal(values, pairs[1][name]) for name, values in pairs[0].items())


def _logged(job: Job) -> list[tuple[int, dict[str, float]]]:
    return [(entry.step, entry.metrics) for entry in JournalReader(job.journal).read()]


@pytest.mark.parametrize(
    "overrides",
    [
        ("network=mlp", "network.dropout=0.3"),
        ("network=cnn", "augmentation=digits", "optimizer=sgd", "schedule=one_cycle"),
        ("network=resnet", "augmentation=light", "trainer.gradient_clip_norm=0.5"),
        ("network=resnet", "optimizer=adamw", "trainer.precision=bf16-mixed"),
    ],
)
def test_a_graph_gives_the_same_weights_and_losses(
    folder: Path, overrides: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    alone = _trained(folder, *overrides, "machine.cuda_graphs=false")
    graph = _trained(folder, *overrides, "machine.cuda_graphs=true")
    assert _same(alone, graph)
    assert _logged(alone) == _logged(graph)
    steps = [step for step, metrics in _logged(graph) if "train/step_loss" in metrics]
    assert steps == list(range(1, len(steps) + 1))
    assert "captured" not in capsys.readouterr().err


@pytest.mark.parametrize("held", ["true", "false"])
def test_where_the_data_lie_does_not_matter(folder: Path, held: str) -> None:
    given = ("network=cnn", "augmentation=digits")
    one = _trained(folder, *given, f"machine.data_on_device={held}", "machine.cuda_graphs=false")
    other = _trained(folder, *given, "machine.workers=1", "machine.data_on_device=false")
    assert _same(one, other)


@pytest.mark.parametrize("held", ["true", "false"])
def test_no_call_of_training_waits_for_what_it_launches(
    folder: Path, held: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched: set[str] = set()

    def strict(owner: type, name: str) -> None:
        plain = getattr(owner, name)

        def called(part: Any, *given: Any) -> Any:
            warm = part.trainer.global_step > 8
            torch.cuda.set_sync_debug_mode("error" if warm else "default")
            try:
                return plain(part, *given)
            finally:
                torch.cuda.set_sync_debug_mode("default")
                watched.update({name} if warm else ())

        monkeypatch.setattr(owner, name, called)

    strict(Learner, "training_step")
    strict(PackedData, "transfer_batch_to_device")
    strict(PackedData, "on_after_batch_transfer")
    # In a longer epoch the metrics would take samples in, for which torchmetrics waits.
    _trained(folder, "network=cnn", "trainer.steps_per_epoch=16", f"machine.data_on_device={held}")
    assert len(watched) == 3


def test_what_waits_for_the_device_is_told_and_trained_without_a_graph(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given, forward = ("network=mlp",), Mlp.forward

    def waiting(network: Mlp, inputs: Tensor) -> Tensor:
        outputs = forward(network, inputs)
        if outputs.is_cuda:
            assert outputs.abs().sum().item() >= 0
        return outputs

    monkeypatch.setattr(Mlp, "forward", waiting)
    one = _trained(folder, *given, "machine.cuda_graphs=auto")
    told = capsys.readouterr().err
    assert "can't be captured as a CUDA graph" in told
    assert _same(one, _trained(folder, *given, "machine.cuda_graphs=false"))
    with pytest.raises(ConfigError, match=r"machine\.cuda_graphs"):
        _trained(folder, *given, "machine.cuda_graphs=true")


def test_what_draws_at_random_is_not_captured(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = Mlp.__init__

    def noisy(network: Mlp, **given: Any) -> None:
        build(network, **given)
        network.layers.append(nn.RReLU())

    monkeypatch.setattr(Mlp, "__init__", noisy)
    with pytest.raises(ConfigError, match=r"machine\.cuda_graphs"):
        _trained(folder, "network=mlp", "machine.cuda_graphs=true")
    _trained(folder, "network=mlp")


def test_a_gpu_learns_what_the_cpu_does(folder: Path) -> None:
    given = ("network=cnn", "trainer.precision=32-true", "trainer.tf32=false")
    one = _logged(_trained(folder, *given))
    other = _logged(_trained(folder, *given, "machine.accelerator=cpu"))
    first, same = one[0][1]["train/step_loss"], other[0][1]["train/step_loss"]
    assert first == pytest.approx(same, rel=1e-5)
    final = [
        metrics["validation/accuracy"] for _, metrics in one if "validation/accuracy" in metrics
    ]
    assert final[-1] > 0.9
