"""Dropout: a sample's mask is a function of its key, the layer and the element alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from runforge import draws
from runforge.dropout import DropoutKeys, SampleDropout, element_bits, replace_dropout

IDS = [f"class/{number}.png" for number in range(6)]


def _keys(count: int = 6, *, seed: int = 3, pass_number: int = 0) -> Tensor:
    ids = draws.sample_keys([f"class/{number}.png" for number in range(count)])
    return torch.from_numpy(draws.stream_keys(ids, seed=seed, pass_number=pass_number))


def _layer(p: float = 0.5, *, channelwise: bool = False, layer: int = 0) -> SampleDropout:
    return SampleDropout(p, channelwise=channelwise, layer=layer, keys=DropoutKeys())


def _dropped(layer: SampleDropout, keys: Tensor, *shape: int) -> Tensor:
    layer.keys.set(keys)
    outputs: Tensor = layer(torch.ones(len(keys), *shape))
    return outputs


def test_keys_are_of_a_stream_of_their_own() -> None:
    ids = draws.sample_keys(IDS)
    keys = draws.stream_keys(ids, seed=3, pass_number=1)
    assert keys.dtype == np.int64 and keys.shape == (6,)
    first = (keys.view(np.uint64) + np.uint64(draws.GOLDEN)) >> np.uint64(40)
    assert (first != draws.uniform(ids, seed=3, pass_number=1, count=1)[:, 0] * 2**24).all()
    others = [(4, 1), (3, 2), (1, 3)]
    for seed, pass_number in others:
        other = draws.stream_keys(ids, seed=seed, pass_number=pass_number)
        assert len(np.intersect1d(keys, other)) == 0
    np.testing.assert_array_equal(draws.stream_keys(ids[[4]], seed=3, pass_number=1), keys[[4]])


def test_the_hash_is_that_of_draws() -> None:
    keys = draws.stream_keys(draws.sample_keys(IDS), seed=3, pass_number=1)
    for layer in (0, 1, 12):
        number = np.uint64(((layer + 1) * draws.GOLDEN) & draws.MASK)
        sample_bits = draws._mix(keys.view(np.uint64) + number)
        steps = np.arange(1, 8, dtype=np.uint64) * np.uint64(draws.GOLDEN)
        expected = draws._mix(sample_bits[:, None] + steps)
        bits = element_bits(torch.from_numpy(keys), layer=layer, count=7)
        np.testing.assert_array_equal(bits.numpy().view(np.uint64), expected)
        shares = (expected >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)
        outputs = _dropped(_layer(0.3, layer=layer), torch.from_numpy(keys), 7)
        np.testing.assert_array_equal(outputs.numpy() > 0, shares >= 0.3)


@pytest.mark.parametrize("channelwise", [False, True])
@pytest.mark.parametrize("shape", [(), (9,), (3, 4), (3, 4, 5)])
def test_batch_and_position_do_not_matter(shape: tuple[int, ...], channelwise: bool) -> None:
    keys, layer = _keys(), _layer(channelwise=channelwise)
    whole = _dropped(layer, keys, *shape)
    mixed = torch.tensor([4, 0, 5])
    torch.testing.assert_close(_dropped(layer, keys[mixed], *shape), whole[mixed], rtol=0, atol=0)
    for row in range(len(keys)):
        alone = _dropped(layer, keys[row : row + 1], *shape)
        torch.testing.assert_close(alone, whole[row : row + 1], rtol=0, atol=0)
    assert _dropped(layer, keys[:0], *shape).shape == (0, *shape)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_share_and_mean(p: float) -> None:
    outputs = _dropped(_layer(p), _keys(200), 500)
    count = outputs.numel()
    share = (outputs == 0).double().mean().item()
    # Five standard deviations of a binomial share.
    assert abs(share - p) < 5 * math.sqrt(p * (1 - p) / count)
    assert set(outputs.unique().tolist()) == {0.0, torch.tensor(1 / (1 - p)).item()}
    assert abs(outputs.double().mean().item() - 1) < 5 * math.sqrt(p / (1 - p) / count)


def test_everything_in_the_function_matters() -> None:
    base = _dropped(_layer(), _keys(), 400)
    others = [
        _dropped(_layer(layer=1), _keys(), 400),
        _dropped(_layer(), _keys(seed=4), 400),
        _dropped(_layer(), _keys(pass_number=1), 400),
        _dropped(_layer(), _keys().flip(0), 400),
        base.roll(1, 1),
    ]
    for other in others:
        # 2400 independent halves agree in a half of the places.
        assert abs((base == other).double().mean().item() - 0.5) < 0.06


def test_whole_channels() -> None:
    outputs = _dropped(_layer(channelwise=True), _keys(), 40, 3, 5)
    channels = outputs.flatten(2)
    assert (channels == channels[:, :, :1]).all()
    assert 0.3 < (channels[:, :, 0] == 0).double().mean().item() < 0.7


def test_the_gradient_has_the_same_mask() -> None:
    layer, keys = _layer(0.3), _keys()
    inputs = torch.randn(6, 50, requires_grad=True)
    layer.keys.set(keys)
    outputs = layer(inputs)
    outputs.sum().backward()
    assert inputs.grad is not None
    torch.testing.assert_close(inputs.grad, _dropped(layer, keys, 50), rtol=0, atol=0)
    torch.testing.assert_close(outputs, inputs * inputs.grad)


def test_all_and_nothing() -> None:
    inputs = torch.randn(6, 5)
    assert _layer(0.0)(inputs) is inputs
    assert _layer(0.9).eval()(inputs) is inputs
    assert not _dropped(_layer(1.0), _keys(), 5).any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_types_and_memory_formats_stay(dtype: torch.dtype) -> None:
    inputs = torch.randn(6, 3, 4, 5, dtype=dtype).to(memory_format=torch.channels_last)
    layer = _layer()
    layer.keys.set(_keys())
    for enabled in (False, True):
        with torch.autocast("cpu", enabled=enabled):
            outputs = layer(inputs)
        assert outputs.dtype == dtype
        assert outputs.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(outputs, inputs * _dropped(layer, _keys(), 3, 4, 5).to(dtype))


def test_keys_of_another_batch_are_refused() -> None:
    layer = _layer()
    with pytest.raises(RuntimeError, match=r"no keys: call DropoutKeys\.set"):
        layer(torch.ones(6, 2))
    layer.keys.set(_keys())
    with pytest.raises(RuntimeError, match=r"6 keys for inputs \[5, \.\.\.\]"):
        layer(torch.ones(5, 2))


class _Network(nn.Module):
    """Dropout of every kind, at the top, deep down, and one under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Dropout(0.25)
        self.deep = nn.Sequential(
            nn.Conv2d(2, 4, 3), nn.Dropout2d(0.5), nn.ModuleList([nn.Dropout1d(0.0)])
        )
        self.again = self.first
        self.third = nn.Dropout3d(0.75).eval()
        self.alpha = nn.AlphaDropout(0.5)
        self.still = nn.AlphaDropout(0.0)
        self.attention = nn.MultiheadAttention(4, 2, dropout=0.5)
        self.recurrent = nn.LSTM(4, 4, num_layers=2, dropout=0.5)


def test_replacing() -> None:
    network = _Network()
    names = [name for name, _ in network.named_modules(remove_duplicate=False)]
    state = {name: value.clone() for name, value in network.state_dict().items()}
    keys = replace_dropout(network)
    assert [name for name, _ in network.named_modules(remove_duplicate=False)] == names
    assert list(network.state_dict()) == list(state)
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert list(network.buffers()) == []
    found = [(n, m) for n, m in network.named_modules() if isinstance(m, SampleDropout)]
    assert [(n, m.p, m.channelwise, m.layer) for n, m in found] == [
        ("first", 0.25, False, 0),
        ("deep.1", 0.5, True, 1),
        ("deep.2.0", 0.0, True, 2),
        ("third", 0.75, True, 3),
    ]
    assert network.again is network.first
    assert not network.third.training and network.first.training
    assert all(module.keys is keys for _, module in found)
    assert keys.left == ("alpha", "attention", "recurrent")
    assert "p=0.25, channelwise=False, layer=0" in repr(network)


def test_checkpointing_recomputes_the_same() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(8, 20), nn.Dropout(0.5), nn.Linear(20, 20), nn.Dropout(0.3))
    keys = replace_dropout(network)
    gradients = []
    for recompute in (False, True):
        network.zero_grad()
        keys.set(_keys())
        inputs = torch.linspace(-1, 1, 48).view(6, 8)
        outputs = checkpoint(network, inputs, use_reentrant=False) if recompute else network(inputs)
        outputs.square().sum().backward()
        gradients.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
    assert len(gradients[0]) == 4
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


def test_compiled_without_a_break() -> None:
    network = nn.Sequential(nn.Linear(8, 20), nn.Dropout(0.5))
    keys = replace_dropout(network)
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    for pass_number in (0, 1):
        keys.set(_keys(pass_number=pass_number))
        inputs = torch.randn(6, 8)
        torch.testing.assert_close(compiled(inputs), network(inputs))
