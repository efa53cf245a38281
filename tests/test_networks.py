"""Every network of `conf/network/`: shapes, gradients, and pictures that are too small."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from runforge import targets
from runforge.errors import ConfigError
from runforge.networks import cnn
from runforge.networks.cnn import Cnn
from runforge.networks.mlp import Mlp
from runforge.networks.resnet import Resnet

CONF = Path(__file__).parents[1] / "conf" / "network"
NODES = {path.stem: yaml.safe_load(path.read_text()) for path in sorted(CONF.glob("*.yaml"))}
PICTURES = ((1, 8, 8), (3, 32, 32))
# Without padding, three blocks need more than 8×8.
CASES = [
    *((n, s) for n in NODES for s in PICTURES if s[1] > 8 or NODES[n].get("padding") != "valid"),
    ("mlp", (7,)),
]


def _built(name: str, shape: tuple[int, ...], outputs: int = 5) -> nn.Module:
    torch.manual_seed(0)
    network: nn.Module = targets.build(NODES[name], input_shape=shape, output_count=outputs)
    return network


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_shapes_and_gradients(name: str, shape: tuple[int, ...]) -> None:
    network = _built(name, shape)
    outputs = network(torch.randn(6, *shape))
    assert outputs.shape == (6, 5)
    outputs.square().sum().backward()
    without = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []
    with torch.no_grad():
        assert network.eval()(torch.randn(1, *shape)).shape == (1, 5)
        assert network(torch.randn(2, *shape)).shape == (2, 5)


@pytest.mark.parametrize("name", NODES)
def test_the_seed_decides_the_weights(name: str) -> None:
    one, other = (_built(name, (3, 32, 32)).state_dict() for _ in range(2))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_parts_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    network, inputs = _built("cnn", (3, 32, 32)), torch.randn(7, 3, 32, 32)

    def found() -> list[torch.Tensor]:
        network.zero_grad()
        outputs = network(inputs)
        outputs.square().sum().backward()
        return [
            outputs.detach(),
            *(p.grad.clone() for p in network.parameters() if p.grad is not None),
        ]

    whole = found()
    calls: list[int] = []
    network.get_submodule("features").register_forward_hook(
        lambda _, given, __: calls.append(len(given[0]))
    )
    monkeypatch.setattr(cnn, "PART_BYTES", 3 * 4 * 32 * 32 * 32)
    torch.testing.assert_close(found(), whole)
    assert calls == [3, 2, 2]


def test_the_order_of_flattening_is_one_of_weights() -> None:
    shape, outputs = (3, 4, 5), 2
    last, first = (
        Mlp(
            hidden=[],
            activation="relu",
            dropout=0,
            input_shape=shape,
            output_count=outputs,
            flatten=f,
        )
        for f in ("channels_last", "channels_first")
    )
    weights = dict(last.state_dict())
    (weight,) = (name for name, value in weights.items() if value.ndim == 2)
    moved = weights[weight].view(outputs, 4, 5, 3).permute(0, 3, 1, 2)
    first.load_state_dict({**weights, weight: moved.flatten(1)})
    inputs = torch.randn(6, *shape)
    torch.testing.assert_close(last(inputs), first(inputs))


@pytest.mark.parametrize("name", NODES)
def test_memory_format_does_not_matter(name: str) -> None:
    network = _built(name, (3, 32, 32)).eval()
    inputs = torch.randn(2, 3, 32, 32)
    other = inputs.to(memory_format=torch.channels_last)
    with torch.no_grad():
        torch.testing.assert_close(network(inputs), network(other))


def test_cnn_is_the_origins() -> None:
    """Pooling before ReLU, channels last: the values of the network as the origin has it."""
    network = _built("cnn", (3, 32, 32), 2)
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    first, second = (m for m in network.modules() if isinstance(m, nn.Linear))
    values = inputs = torch.randn(2, 3, 32, 32)
    for convolution in convolutions:
        weight = convolution.weight.contiguous()
        values = nn.functional.conv2d(values, weight, convolution.bias, padding=1)
        values = nn.functional.max_pool2d(values.relu(), 2)
    expected = second(first(values.reshape(2, -1)).relu())
    torch.testing.assert_close(network(inputs), expected)
    assert [c.out_channels for c in convolutions] == [32, 64, 128]
    assert first.out_features == 128


def test_cnn_without_padding_at_the_origins_size() -> None:
    network = Cnn(
        filters=[32, 64, 128], padding="valid", dense=128, dropout=0.0,
        input_shape=(3, 150, 150), output_count=1,
    )  # fmt: skip
    # 150 → 74 → 36 → 17, as Keras prints it: 3,453,121 parameters up to one output.
    assert sum(p.numel() for p in network.parameters()) == 4828481
    assert (
        next(m for m in network.modules() if isinstance(m, nn.Linear)).in_features == 17 * 17 * 128
    )


@pytest.mark.parametrize(
    ("shape", "padding", "mend"),
    [((1, 8, 8), "valid", "padding=same"), ((3, 4, 64), "same", "fewer filters")],
)
def test_cnn_refuses_small_pictures(shape: tuple[int, ...], padding: str, mend: str) -> None:
    node = {**NODES["cnn"], "padding": padding}
    with pytest.raises(ConfigError, match=f"too small.*{mend}"):
        targets.build(node, input_shape=shape, output_count=2)


@pytest.mark.parametrize("name", ["cnn", "resnet"])
def test_rows_of_a_table_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"takes pictures.*network=mlp"):
        _built(name, (7,))


def test_mlp_without_hidden_layers_is_linear() -> None:
    network = Mlp(hidden=[], activation="relu", dropout=0.0, input_shape=(4,), output_count=2)
    inputs = torch.randn(3, 4)
    linear = next(m for m in network.modules() if isinstance(m, nn.Linear))
    expected = inputs.numpy() @ linear.weight.detach().numpy().T + linear.bias.detach().numpy()
    np.testing.assert_allclose(network(inputs).detach().numpy(), expected, rtol=1e-5, atol=1e-6)


def test_resnet_block_counts_and_stride() -> None:
    network = Resnet(
        widths=[4, 8], blocks=3, stem_stride=2, dropout=0.0, input_shape=(3, 32, 32), output_count=2
    )
    # Two convolutions a block, the stem, and the 1×1 of the stage that changes the shape.
    assert sum(isinstance(m, nn.Conv2d) for m in network.modules()) == 2 * 3 * 2 + 1 + 1
    assert network.features(torch.randn(2, 3, 32, 32)).shape == (2, 8, 8, 8)
