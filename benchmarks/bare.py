"""What a competent person would write instead: a bare PyTorch loop. For `overhead.py`.

`python benchmarks/bare.py PROJECT HOW [KEY=VALUE…]` trains what `runforge train` would with the
same overrides, on the set that was prepared in the project, and prints the milliseconds of a step,
between the end of the first step and that of the last, validation included. HOW:

* memory: the prepared arrays, read into memory before;
* synthetic: random pictures of the same shape;
* origin: `memory` with the network as the text that this project began from has it: ReLU before
  pooling, in torch's default memory format;
* decoding: the JPEG files of the project's data, decoded every epoch by two worker processes.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from runforge import bundle, config, places, targets
from runforge.input_layer import InputLayer
from runforge.prepared import PreparedSet
from runforge.settings import Settings, plain
from runforge.task import Task

Batches = Iterable[tuple[Tensor, Tensor]]


def main(folder: Path, how: str, overrides: list[str]) -> None:
    """Trains and prints."""
    settings = config.compose(folder, overrides).settings
    (prepared_set,) = places.sets(folder).glob("[!.]*/")
    prepared = PreparedSet.open(prepared_set)
    torch.manual_seed(settings.seed)
    task = targets.build(plain(settings.task), schema=prepared.schema)
    network = bundle.build_network(plain(settings.network), task, prepared.schema)
    if how == "origin":
        network = _as_in_the_origin(network)
    batches, validation = _batches(how, folder, settings, prepared)
    print(_trained_ms(settings, prepared, network, task, batches, validation))


def _as_in_the_origin(network: nn.Module) -> nn.Module:
    """The same weights with ReLU before pooling, without channels-last."""
    features = list(network.features)
    for place in [p for p, layer in enumerate(features) if isinstance(layer, nn.MaxPool2d)]:
        features[place : place + 2] = features[place + 1], features[place]
    stacked = nn.Sequential(*features, *network.head)
    return stacked.to(memory_format=torch.contiguous_format)


def _batches(
    how: str, folder: Path, settings: Settings, prepared: PreparedSet
) -> tuple[Callable[[], Batches], list[tuple[Tensor, Tensor]]]:
    """What gives an epoch's batches, and those of the validation split."""
    size, rows = settings.data.batch_size, prepared.rows("train")
    if how == "decoding":
        loader = _decoding(folder, prepared, size)
        return lambda: loader, []
    inputs = torch.from_numpy(np.asarray(prepared.inputs).copy())
    labels = torch.from_numpy(np.asarray(prepared.targets).copy())
    if how == "synthetic":
        inputs = torch.randint(0, 256, inputs.shape, dtype=torch.uint8)
    held = prepared.rows("validation")
    validation = [(inputs[held[b : b + size]], labels[held[b : b + size]])
                  for b in range(0, len(held), size)]  # fmt: skip
    kept, targets_of = inputs[rows], labels[rows]

    def drawn() -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(kept))
        for begin in range(0, len(order), size):
            block = order[begin : begin + size]
            yield kept.index_select(0, block), targets_of.index_select(0, block)

    return drawn, validation


class _Files(Dataset[tuple[Tensor, int]]):
    """Pictures that are decoded each time."""

    def __init__(self, folder: Path, prepared: PreparedSet) -> None:
        rows = prepared.rows("train")
        self._paths = [folder / "data" / prepared.where[row] for row in rows]
        self._targets = [int(prepared.targets[row]) for row in rows]
        height, width = prepared.inputs.shape[1:3]
        self._size = width, height

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        with Image.open(self._paths[number]) as picture:
            small = picture.convert("RGB").resize(self._size, Image.Resampling.BILINEAR)
        return torch.from_numpy(np.asarray(small).copy()), self._targets[number]


def _decoding(folder: Path, prepared: PreparedSet, size: int) -> Batches:
    files = _Files(folder, prepared)
    return DataLoader(files, size, shuffle=True, num_workers=2, persistent_workers=True)


def _trained_ms(
    settings: Settings,
    prepared: PreparedSet,
    network: nn.Module,
    task: Task,
    batches: Callable[[], Batches],
    validation: list[tuple[Tensor, Tensor]],
) -> float:
    input_layer = InputLayer(prepared.schema)
    augmentation = targets.build(plain(settings.augmentation))
    node = plain(settings.optimizer)
    node = {"lr" if key == "learning_rate" else key: value for key, value in node.items()}
    optimizer = targets.build(node, params=network.parameters())
    schedule, rate = targets.build(plain(settings.schedule)), optimizer.param_groups[0]["lr"]
    in_a_pass = math.ceil(len(prepared.rows("train")) / settings.data.batch_size)
    epochs = settings.trainer.max_epochs
    total = epochs * (settings.trainer.steps_per_epoch or in_a_pass)
    losses: list[Tensor] = []
    began, step = 0.0, 0
    while step < total:
        network.train()
        for packed, labels in batches():
            inputs = input_layer.to_float(packed)
            draws = torch.rand(len(inputs), augmentation.draw_count)
            inputs = input_layer.normalise(augmentation(inputs, draws))
            for group in optimizer.param_groups:
                group["lr"] = rate * schedule(step, total)
            loss = task.losses(network(inputs), labels).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
            step += 1
            if step == 1:
                began = time.perf_counter()
            if step == total:
                break
            if step % (total // epochs) == 0:
                _validate(network, task, input_layer, validation)
                network.train()
    return (time.perf_counter() - began) / (total - 1) * 1000


@torch.no_grad()
def _validate(
    network: nn.Module,
    task: Task,
    input_layer: InputLayer,
    validation: list[tuple[Tensor, Tensor]],
) -> None:
    network.eval()
    found = [task.losses(network(input_layer(rows)), labels).mean() for rows, labels in validation]
    assert all(loss.isfinite() for loss in found)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
