"""A bundle as modules of torch: its weights (`weights.safetensors`), written and loaded.

Nothing in it is unpickled, and what it names is built only from the allow-list of `targets`, so a
bundle from elsewhere can't run code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from runforge import bundle_file, targets
from runforge.bundle_file import DESCRIPTION, MEND, WEIGHTS, Bundle, read
from runforge.errors import ConfigError, DataError, RunforgeError
from runforge.input_layer import InputLayer
from runforge.schema import Schema
from runforge.task import Task


class Model(nn.Module):
    """A bundle loaded, in evaluation mode: packed rows → predictions."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__()
        self.bundle, self.schema = bundle, bundle.schema
        self.task: Task = targets.build(bundle.task, schema=bundle.schema)
        self.network = build_network(bundle.network, self.task, bundle.schema)
        self.input_layer = InputLayer(bundle.schema)

    @property
    def modality(self) -> Any:
        """Decodes raw samples as training did."""
        return self.input_layer.modality

    def forward(self, packed: Tensor) -> Tensor:
        """Packed rows [B, *packed_shape] → [B, C]: probabilities, or values in their unit."""
        return self.task.predictions(self.network(self.input_layer(packed)))


@dataclass(frozen=True, slots=True)
class Initialised:
    """Which weights of a network came from a bundle, by name."""

    loaded: tuple[str, ...]
    not_loaded: tuple[str, ...]


def build_network(node: Mapping[str, Any], task: Task, schema: Schema) -> nn.Module:
    """The network of a node, with the shapes that data and task ask for."""
    network: nn.Module = targets.build(
        node, input_shape=schema.input_shape, output_count=task.output_count(schema)
    )
    return network


def write(  # noqa: PLR0913 - what a bundle is made of
    folder: Path,
    *,
    weights: Mapping[str, Tensor],
    network_node: Mapping[str, Any],
    task_node: Mapping[str, Any],
    schema: Schema,
    run_id: str,
    lineage: dict[str, Any],
) -> Bundle:
    """Writes both files, the description last: until it is there, there is no new bundle."""
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / f".{WEIGHTS}.partial"
    save_file(_plain(weights), beside)
    bundle = Bundle(
        network=dict(network_node),
        task=dict(task_node),
        schema=schema,
        run_id=run_id,
        lineage=lineage,
        weights_hash=_file_hash(beside),
    )
    beside.replace(folder / WEIGHTS)
    bundle_file.write(folder, bundle)
    return bundle


def load(folder: Path) -> Model:
    """The model of a bundle, on the CPU; raises `DataError` where either file is not as written."""
    model = _build(folder)
    try:
        model.network.load_state_dict(_read_weights(folder, model.bundle))
    except RuntimeError as error:
        raise DataError(f"the weights don't fit: {error}", where=str(folder), mend=MEND) from error
    return model.eval()


def _build(folder: Path) -> Model:
    try:
        return Model(read(folder))
    except RunforgeError:
        raise
    except Exception as error:
        cause = f"{type(error).__name__}: {error}"
        what = f"it describes no model that can be built ({cause})"
        raise DataError(what, where=str(folder / DESCRIPTION), mend=MEND) from error


def initialise_from(network: nn.Module, folder: Path) -> Initialised:
    """Takes the weights of a bundle whose name and shape fit, and tells which.

    The head for other classes is left as it is. Raises `ConfigError` where nothing fits.
    """
    given = _read_weights(folder, read(folder))
    own = network.state_dict()
    fits = {n: t for n, t in given.items() if n in own and own[n].shape == t.shape}
    if not any(name in fits for name, _ in network.named_parameters()):
        mend = "take a run with the same network"
        raise ConfigError("no weights of that run fit this network", where="init_from", mend=mend)
    network.load_state_dict(fits, strict=False)
    return Initialised(tuple(fits), tuple(name for name in own if name not in fits))


def _read_weights(folder: Path, bundle: Bundle) -> dict[str, Tensor]:
    path = folder / WEIGHTS
    if not path.is_file():
        raise DataError(f"there is no {WEIGHTS}", where=str(folder), mend=MEND)
    if _file_hash(path) != bundle.weights_hash:
        raise DataError("it was altered: its hash does not fit", where=str(path), mend=MEND)
    try:
        return load_file(path)
    except SafetensorError as error:
        raise DataError(f"it can't be read: {error}", where=str(path), mend=MEND) from error


def _plain(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights on the CPU, in the one memory format that the file knows."""
    plain = torch.contiguous_format
    return {n: t.detach().cpu().clone(memory_format=plain) for n, t in weights.items()}


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
