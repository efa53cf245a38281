"""Dropout as a function of (seed, pass, sample id, layer, element) alone.

torch's own dropout draws from a generator's state, so that a sample's mask hangs on its place in
the batch, on the process it is in and on all that was drawn before. Here it is a hash: SplitMix64's
finaliser, as in `draws`, in torch's int64, which wraps round. B samples in a batch, E elements of
a sample that are kept or dropped.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from runforge.draws import GOLDEN

ELEMENTWISE = nn.Dropout
CHANNELWISE = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
ALWAYS_RANDOM = (nn.RReLU, nn.FractionalMaxPool2d, nn.FractionalMaxPool3d)


class DropoutKeys:
    """What all `SampleDropout`s of a network share: the keys of the samples in the batch.

    `left` names the modules that still draw from torch's generator, so that the number of
    processes matters to them. `torch.nn.functional.dropout` within a `forward` can't be seen.
    """

    # A plain attribute, no buffer: DDP would overwrite a buffer with that of its first process.
    def __init__(self, left: tuple[str, ...] = ()) -> None:
        self.left = left
        self._keys: Tensor | None = None

    def set(self, keys: Tensor) -> None:
        """Takes `draws.stream_keys` of the next batch: int64 [B], on the network's device."""
        self._keys = keys

    def of_batch(self, batch_size: int) -> Tensor:
        """The keys int64 [B]; raises `RuntimeError` where they are not those of this batch."""
        if self._keys is None:
            raise RuntimeError("dropout has no keys: call DropoutKeys.set before the forward pass")
        if len(self._keys) != batch_size:
            what = f"dropout has {len(self._keys)} keys for inputs [{batch_size}, ...]"
            raise RuntimeError(f"{what}: the first dimension must be the batch's samples")
        return self._keys


class SampleDropout(nn.Module):
    """Inputs [B, ...] → the like: zero with probability `p`, else times 1/(1 − p).

    `channelwise` drops whole channels of inputs [B, C, ...]. A layer that is called twice in one
    forward pass drops the same elements twice.
    """

    def __init__(self, p: float, *, channelwise: bool, layer: int, keys: DropoutKeys) -> None:
        super().__init__()
        self.p, self.channelwise, self.layer, self.keys = p, channelwise, layer, keys
        # upper 24 bits / 2²⁴ < p, in whole numbers: nothing is rounded.
        self._threshold = math.ceil(p * 2**24)
        self._scale = 1 / (1 - p) if p < 1 else 0.0

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs [B, ...] → outputs of the same shape and type; themselves in evaluation."""
        if not self.training or self.p == 0:
            return inputs
        # In place: else channels_last would be lost.
        return (inputs * self._scale).masked_fill_(self._dropped(inputs), 0)

    def extra_repr(self) -> str:
        """What `print(network)` shows."""
        return f"p={self.p}, channelwise={self.channelwise}, layer={self.layer}"

    def _dropped(self, inputs: Tensor) -> Tensor:
        """bool [B, ...], or [B, C, 1, ...]: what becomes zero."""
        shape = inputs.shape
        if self.channelwise:
            shape = torch.Size((*shape[:2], *(1 for _ in shape[2:])))
        keys = self.keys.of_batch(len(inputs))
        bits = element_bits(keys, layer=self.layer, count=math.prod(shape[1:]))
        return (_shifted(bits, 40) < self._threshold).view(shape)


def replace_dropout(network: nn.Module) -> DropoutKeys:
    """Puts a `SampleDropout` in place of every `nn.Dropout`, `1d`, `2d` and `3d`.

    Layers are numbered in the order of `named_modules`; `state_dict` and all names stay. The
    other modules that draw at random are left and named in `DropoutKeys.left`: no mask says what
    they do.
    """
    keys = DropoutKeys()
    layers = (m for m in network.modules() if isinstance(m, (ELEMENTWISE, *CHANNELWISE)))
    replaced = {layer: _replacement(layer, number, keys) for number, layer in enumerate(layers)}
    for module in list(network.modules()):
        # `named_children` would leave out a child that has two names.
        for name, child in list(module._modules.items()):
            if child in replaced:
                setattr(module, name, replaced[child])
    keys.left = tuple(name or "network" for name, m in network.named_modules() if _is_random(m))
    return keys


def element_bits(keys: Tensor, *, layer: int, count: int) -> Tensor:
    """64 bits for each element of each sample in a layer: keys [B] → int64 [B, E]."""
    sample_bits = _mix(keys + _signed((layer + 1) * GOLDEN))
    steps = torch.arange(1, count + 1, dtype=torch.int64, device=keys.device) * _signed(GOLDEN)
    return _mix(sample_bits[:, None] + steps)


def _replacement(layer: nn.Module, number: int, keys: DropoutKeys) -> SampleDropout:
    assert isinstance(layer, (ELEMENTWISE, *CHANNELWISE))
    channelwise = isinstance(layer, CHANNELWISE)
    new = SampleDropout(layer.p, channelwise=channelwise, layer=number, keys=keys)
    return new.train(layer.training)


def _is_random(module: nn.Module) -> bool:
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return module.p > 0
    if isinstance(module, (nn.MultiheadAttention, nn.RNNBase)):
        return module.dropout > 0
    return isinstance(module, ALWAYS_RANDOM)


def _mix(values: Tensor) -> Tensor:
    """The finaliser of SplitMix64."""
    values = (values ^ _shifted(values, 30)) * _signed(0xBF58476D1CE4E5B9)
    values = (values ^ _shifted(values, 27)) * _signed(0x94D049BB133111EB)
    return values ^ _shifted(values, 31)


def _shifted(values: Tensor, places: int) -> Tensor:
    # torch carries the sign along where unsigned numbers get zeros.
    return (values >> places) & ((1 << (64 - places)) - 1)


def _signed(bits: int) -> int:
    """The int64 of the same lowest 64 bits."""
    return (bits + (1 << 63)) % (1 << 64) - (1 << 63)
