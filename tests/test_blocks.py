"""Blocks: checkpointing and sharding change no number, for every network of `conf/network/`."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor
from torch.multiprocessing.reductions import StorageWeakRef

from runforge import draws, targets
from runforge.batch_norm import synchronise_batch_norm
from runforge.blocks import blocks, checkpoint_activations, shard
from runforge.dropout import DropoutKeys, SampleDropout, replace_dropout
from runforge.errors import ConfigError
from tests.processes import together

CONF = Path(__file__).parents[1] / "conf" / "network"
NODES = {path.stem: yaml.safe_load(path.read_text()) for path in sorted(CONF.glob("*.yaml"))}
SHAPE, SAMPLES = (3, 32, 32), 12
PARTS = ([7, 5], [12, 0])


class Residual(nn.Module):
    """A block with dropout and batch norm of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3, momentum=None), nn.Dropout2d(0.5)
        )

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = inputs + self.layers(inputs)
        return outputs


class Stack(nn.Module):
    """Blocks in lists and sequences, some of them not called by their container."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 3, 1)
        self.deep = nn.ModuleDict({"a": nn.ModuleList([Residual(), nn.ModuleList([Residual()])])})
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(3 * 32 * 32, 5))

    def forward(self, inputs: Tensor) -> Tensor:
        first, others = self.deep["a"]
        outputs: Tensor = self.head(others[0](first(self.stem(inputs))))
        return outputs


def _network(name: str) -> tuple[nn.Module, DropoutKeys]:
    """A network, from one seed, where half of what may be dropped is."""
    torch.manual_seed(0)
    if name == "stack":
        network: nn.Module = Stack()
    else:
        network = targets.build(NODES[name], input_shape=SHAPE, output_count=5)
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.5
    return network, replace_dropout(network)


def _keys() -> Tensor:
    ids = draws.sample_keys([str(number) for number in range(SAMPLES)])
    return torch.from_numpy(draws.stream_keys(ids, seed=1, pass_number=2))


def _data() -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(SAMPLES, *SHAPE), torch.randn(SAMPLES, 5)


def _trained(network: nn.Module, keys: DropoutKeys, part: slice = slice(None)) -> dict[str, Any]:
    """Gradients and buffers after two batches; the mean is over all samples, not the part's."""
    dtype = next(network.parameters()).dtype
    inputs, weights = (tensor.to(dtype) for tensor in _data())
    keys.set(_keys()[part])
    for step in (1, 2):
        outputs = network(inputs[part] * step)
        ((outputs.sin() * weights[part]).sum() / SAMPLES).backward()
    gradients = {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}
    buffers = {n: b.clone() for n, b in network.named_buffers()}
    return {"gradients": gradients, "buffers": buffers}


def test_what_is_a_block() -> None:
    stack = Stack()
    first, others = stack.deep["a"]
    assert blocks(stack) == [first, others[0], stack.head[2]]
    assert blocks(first) == [first.layers[0], first.layers[1]]
    linear = nn.Linear(2, 2)
    assert blocks(nn.Sequential(linear, nn.ReLU(), nn.Sequential(nn.ReLU()), linear)) == [linear]
    assert blocks(linear) == []


@pytest.mark.parametrize("name", NODES)
def test_every_network_has_blocks(name: str) -> None:
    network, _ = _network(name)
    found = {id(p) for block in blocks(network) for p in block.parameters()}
    assert found == {id(p) for p in network.parameters()}


@pytest.mark.parametrize("name", [*NODES, "stack"])
def test_checkpointing_changes_no_bit(name: str) -> None:
    expected = _trained(*_network(name))
    network, keys = _network(name)
    names = [n for n, _ in network.named_modules()], list(network.state_dict())
    checkpoint_activations(network)
    assert names == ([n for n, _ in network.named_modules()], list(network.state_dict()))
    result = _trained(network, keys)
    assert result["gradients"].keys() == dict(network.named_parameters()).keys()
    torch.testing.assert_close(result, expected, rtol=0, atol=0)


def test_recomputing_only_while_training() -> None:
    network, keys = _network("stack")
    checkpoint_activations(network)
    calls: list[bool] = []
    network.deep["a"][0].layers[0].register_forward_hook(lambda *_: calls.append(True))
    inputs = torch.randn(SAMPLES, *SHAPE, requires_grad=True)
    keys.set(_keys())
    network(inputs).sum().backward()
    assert len(calls) == 2
    with torch.no_grad():
        network(inputs)
    network.eval()
    network(inputs).sum().backward()
    assert len(calls) == 4


def test_backward_may_come_twice() -> None:
    results = []
    for recompute in (False, True):
        network, keys = _network("stack")
        if recompute:
            checkpoint_activations(network)
        keys.set(_keys())
        loss = network(_data()[0]).sin().sum()
        loss.backward(retain_graph=True)
        loss.backward()
        results.append([p.grad for p in network.parameters()] + list(network.buffers()))
    torch.testing.assert_close(*results, rtol=0, atol=0)


def test_a_copy_is_a_network_of_its_own() -> None:
    network, _ = _network("stack")
    checkpoint_activations(network)
    other = copy.deepcopy(network)
    keys = next(m.keys for m in other.modules() if isinstance(m, SampleDropout))
    result = _trained(other, keys)
    torch.testing.assert_close(result, _trained(*_network("stack")), rtol=0, atol=0)
    assert all(p.grad is None for p in network.parameters())


def test_checkpointing_compiled() -> None:
    results = []
    for recompute in (False, True):
        network, keys = _network("resnet")
        called = network
        if recompute:
            checkpoint_activations(network)
            called = torch.compile(network, backend="aot_eager", fullgraph=True)
        _trained(called, keys)
        results.append([p.grad for p in network.parameters()] + list(network.buffers()))
    torch.testing.assert_close(*results)


def _kept_bytes(network: nn.Module, keys: DropoutKeys) -> int:
    """Bytes of the modules' outputs that still exist when the backward pass begins."""
    seen: dict[int, tuple[StorageWeakRef, int]] = {}

    def note(module: nn.Module, inputs: Any, outputs: Tensor) -> None:
        storage = outputs.untyped_storage()
        seen[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())

    for module in network.modules():
        module.register_forward_hook(note)
    keys.set(_keys())
    outputs = network(_data()[0])
    kept = sum(size for reference, size in seen.values() if not reference.expired())
    outputs.sum().backward()
    return kept


@pytest.mark.parametrize("name", ["resnet", "stack"])
def test_checkpointing_keeps_less(name: str) -> None:
    before = _kept_bytes(*_network(name))
    network, keys = _network(name)
    checkpoint_activations(network)
    assert _kept_bytes(network, keys) < 0.7 * before


def test_a_network_without_blocks_can_not_checkpoint() -> None:
    match = r"^machine\.activation_checkpointing: the network has no blocks"
    with pytest.raises(ConfigError, match=match):
        checkpoint_activations(nn.Linear(2, 2))


@pytest.mark.parametrize("name", NODES)
def test_an_empty_batch_has_gradients_of_zero(name: str) -> None:
    network, keys = _network(name)
    keys.set(_keys()[:0])
    outputs = network(torch.randn(0, *SHAPE))
    assert outputs.shape == (0, 5)
    outputs.square().sum().backward()
    for parameter in network.parameters():
        assert parameter.grad is not None and not parameter.grad.any()
    for name, buffer in network.named_buffers():
        assert buffer.isfinite().all(), name


def _sharded(rank: int, count: int) -> list[dict[str, Any]]:
    results = []
    for name in (*NODES, "stack"):
        for recompute, sizes in zip((False, True), PARTS, strict=True):
            network, keys = _network(name)
            network = synchronise_batch_norm(network.double(), "cpu")
            if recompute:
                checkpoint_activations(network)
            shard(network, init_device_mesh("cpu", (count,)))
            assert all(isinstance(p, DTensor) for p in network.parameters())
            begin = sum(sizes[:rank])
            result = _trained(network, keys, slice(begin, begin + sizes[rank]))
            gradients = {n: g.full_tensor() for n, g in result["gradients"].items()}
            results.append({**result, "gradients": gradients})
    return results


def test_shards_have_the_gradients_of_the_whole(tmp_path: Path) -> None:
    ranks = together(_sharded, 2, tmp_path)
    names = [name for name in (*NODES, "stack") for _ in PARTS]
    for name, *results in zip(names, *ranks, strict=True):
        # float64: in float32 a rounding turns a ReLU over here and there, and with it a gradient.
        network, keys = _network(name)
        expected = _trained(network.double(), keys)
        for result in results:
            # FSDP takes the mean over the processes.
            result["gradients"] = {n: g * 2 for n, g in result["gradients"].items()}
            torch.testing.assert_close(result, expected, rtol=1e-11, atol=1e-11)


class Scalar(nn.Module):
    """A parameter without dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))


def _refusals(rank: int, count: int) -> list[str]:
    tied = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    tied[1].weight = tied[0].weight
    messages = []
    for network in (Scalar(), tied):
        with pytest.raises(ConfigError) as raised:
            shard(network, init_device_mesh("cpu", (count,)))
        messages.append(str(raised.value))
    return messages


def test_networks_that_can_not_be_sharded(tmp_path: Path) -> None:
    for messages in together(_refusals, 2, tmp_path):
        for message, reason in zip(
            messages, ("scalar parameters", "is shared between blocks"), strict=True
        ):
            assert message.startswith("machine.strategy=fsdp: the network can't be sharded")
            assert reason in message and message.endswith("; take `machine.strategy=ddp`")
            assert "\n" not in message
