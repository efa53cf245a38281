"""Batch norm over real processes is that of one process over the whole batch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed, nn

from runforge.batch_norm import SharedBatchNorm, synchronise_batch_norm
from tests.processes import together

PARTS = {2: ([11, 1], [0, 12]), 3: ([5, 0, 7], [1, 1, 10], [4, 4, 4])}
SHAPES = ((4,), (4, 3), (4, 3, 5))
STEPS = 2
KINDS: dict[str, Callable[[], nn.Module]] = {
    "plain": lambda: nn.BatchNorm2d(4),
    "other numbers": lambda: nn.BatchNorm2d(4, eps=0.1, momentum=0.7),
    "cumulative": lambda: nn.BatchNorm2d(4, momentum=None),
    "not affine": lambda: nn.BatchNorm2d(4, affine=False),
    "without bias": lambda: nn.BatchNorm2d(4, bias=False),
    "not tracking": lambda: nn.BatchNorm2d(4, track_running_stats=False),
}
CASES = [
    *((kind, SHAPES[2], torch.float32) for kind in KINDS),
    *((kind, SHAPES[2], torch.float64) for kind in KINDS),
    *(("plain", shape, torch.float32) for shape in SHAPES),
    ("plain", SHAPES[2], torch.bfloat16),
]
TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-13, torch.bfloat16: 0.04}


def _network(kind: str, shape: tuple[int, ...], dtype: torch.dtype) -> nn.Module:
    """As a network has it: 1d, 2d; parameters and statistics that are not those of the start."""
    torch.manual_seed(0)
    norm = KINDS[kind]() if len(shape) == 3 else nn.BatchNorm1d(4)
    for value in (*norm.parameters(), *norm.buffers()):
        if value.is_floating_point():
            nn.init.uniform_(value, 0.5, 1.5)
    return nn.Sequential(norm).to(torch.float64 if dtype == torch.float64 else torch.float32)


def _data(shape: tuple[int, ...], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The inputs, far from mean 0, of all samples in all steps, and the weights of the loss."""
    torch.manual_seed(1)
    inputs = torch.randn(STEPS, 12, *shape) * 3 + 5
    if len(shape) == 3:
        inputs = inputs.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    return inputs.to(dtype), torch.randn(12, *shape).to(dtype)


def _trained(network: nn.Module, inputs: Tensor, weights: Tensor) -> dict[str, Any]:
    """Steps on [STEPS, B, ...]: outputs, gradients by inputs and parameters, the statistics."""
    inputs = inputs.detach().requires_grad_()
    outputs = torch.stack([network(step) for step in inputs])
    ((outputs.sin() * weights).sum() / 12).backward()
    return {
        "outputs": outputs.detach(),
        "inputs": inputs.grad,
        "parameters": {n: p.grad for n, p in network.named_parameters()},
        "state": dict(network.named_buffers()),
        "evaluated": network.eval()(inputs[0]).detach(),
    }


def _part(rank: int, sizes: list[int]) -> slice:
    return slice(sum(sizes[:rank]), sum(sizes[: rank + 1]))


def _all_cases(rank: int, count: int) -> list[dict[str, Any]]:
    results = []
    for sizes in PARTS[count]:
        for kind, shape, dtype in CASES:
            inputs, weights = _data(shape, dtype)
            part = _part(rank, sizes)
            network = synchronise_batch_norm(_network(kind, shape, dtype), "cpu")
            result = _trained(network, inputs[:, part], weights[part])
            for gradient in result["parameters"].values():
                distributed.all_reduce(gradient)
            results.append(result)
    return results


@pytest.mark.parametrize("count", PARTS)
def test_processes_are_as_one(count: int, tmp_path: Path) -> None:
    ranks = together(_all_cases, count, tmp_path)
    cases = [case for _ in PARTS[count] for case in CASES]
    for case, results in zip(cases, zip(*ranks, strict=True), strict=True):
        kind, shape, dtype = case
        expected = _trained(_network(kind, shape, dtype), *_data(shape, dtype))
        near = {
            "rtol": TOLERANCE[dtype],
            "atol": TOLERANCE[dtype],
            "msg": lambda m, c=case: f"{c} {m}",
        }
        for name in ("outputs", "inputs"):
            whole = torch.cat([result[name] for result in results], dim=1)
            torch.testing.assert_close(whole, expected[name], **near)
        for result in results:
            assert result["outputs"].dtype == dtype
            torch.testing.assert_close(result["parameters"], expected["parameters"], **near)
            torch.testing.assert_close(result["state"], expected["state"], **near)


def _too_few(rank: int, count: int) -> list[str]:
    messages = []
    for sizes in ([1, 0], [0, 0]):
        network = synchronise_batch_norm(nn.Sequential(nn.BatchNorm1d(4)), "cpu")
        with pytest.raises(ValueError) as raised:
            network(torch.ones(sizes[rank], 4))
        messages.append(str(raised.value))
    outputs = network.eval()(torch.ones(1, 4))
    return [*messages, str(list(outputs.shape))]


def test_a_single_value_is_refused_by_every_process(tmp_path: Path) -> None:
    for messages in together(_too_few, 2, tmp_path):
        for message in messages[:2]:
            assert message.startswith("Expected more than 1 value per channel when training")
        assert messages[2] == "[1, 4]"


@pytest.mark.parametrize("kind", KINDS)
def test_one_process_is_torchs_own(kind: str) -> None:
    own = _network(kind, SHAPES[2], torch.float32)
    shared = synchronise_batch_norm(copy.deepcopy(own), "cpu")
    data = _data(SHAPES[2], torch.float32)
    expected, result = _trained(own, *data), _trained(shared, *data)
    torch.testing.assert_close(result, expected, rtol=0, atol=0)


def test_one_process_refuses_a_single_value() -> None:
    norm = synchronise_batch_norm(nn.BatchNorm1d(4), "cpu")
    assert isinstance(norm, SharedBatchNorm)
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        norm(torch.ones(1, 4))
    with pytest.raises(ValueError, match=r"at least 2D input \(got 1D input\)"):
        norm(torch.ones(4))


@pytest.mark.parametrize(("device", "kind"), [("cpu", SharedBatchNorm), ("cuda", nn.SyncBatchNorm)])
def test_converting_keeps_the_state(device: str, kind: type[nn.Module]) -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.BatchNorm1d(4, momentum=None))
    )
    network[2].eval()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    names = [name for name, _ in network.named_modules()]
    parameters = list(network.parameters())
    converted = synchronise_batch_norm(network, device)
    assert [name for name, _ in converted.named_modules()] == names
    assert list(converted.state_dict()) == list(state)
    assert all(torch.equal(v, state[n]) for n, v in converted.state_dict().items())
    assert all(one is other for one, other in zip(converted.parameters(), parameters, strict=True))
    norms = [module for module in converted.modules() if isinstance(module, kind)]
    assert [(n.momentum, n.training) for n in norms] == [(0.1, True), (None, False)]
