"""A bundle as modules of torch: its weights (`weights.safetensors`), written and loaded.

Nothing in it is unpickled, and what it names is built only from the allow-list of `targets`, so a
bundle from elsewhere can't run code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from runforge import bundle_file, targets
from runforge.bundle_file import DESCRIPTION, MEND, WEIGHTS, Bundle, read
from runforge.checksums import file_hash
from runforge.errors import ConfigError, DataError, RunforgeError, of_the_machine
from runforge.foreign import regular
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
        weights_hash=file_hash(beside),
    )
    beside.replace(folder / WEIGHTS)
    bundle_file.write(folder, bundle)
    return bundle


def load(folder: Path) -> Model:
    """The model of a bundle, on the CPU; raises `DataError` where either file is not as written.

    Names, shapes and types of the weights are held against the network before it takes memory:
    the description may ask for any size.
    """
    bundle = read(folder)
    weights = _read_weights(folder, bundle)
    with _faults_of_the_description(folder):
        with torch.device("meta"):
            planned = Model(bundle).network.state_dict()
        _check_fit(planned, weights, folder)
        model = Model(bundle).eval()
        model.network.load_state_dict(weights)
        shape, kind = bundle.schema.packed_shape, bundle.schema.packed_dtype
        model(torch.from_numpy(np.empty((0, *shape), kind)))
    return model


@contextmanager
def _faults_of_the_description(folder: Path) -> Iterator[None]:
    """What building and calling a model of it raises, as one line: its values don't fit together.

    It is called with no samples, which takes no memory.
    """
    try:
        yield
    except RunforgeError:
        raise
    except Exception as error:
        if of_the_machine(error):
            raise
        what = f"it describes no model that can be built ({error!r:.200})"
        raise DataError(what, where=str(folder / DESCRIPTION), mend=MEND) from error


def _check_fit(own: Mapping[str, Tensor], given: Mapping[str, Tensor], folder: Path) -> None:
    mine, theirs = ({n: (t.shape, t.dtype) for n, t in w.items()} for w in (own, given))
    if mine == theirs:
        return
    odd = next(n for n in (*mine, *theirs) if mine.get(n) != theirs.get(n))
    what = f"the weights don't fit the network: {odd} is {_told(given, odd)}"
    raise DataError(f"{what}, not {_told(own, odd)}", where=str(folder), mend=MEND)


def _told(weights: Mapping[str, Tensor], name: str) -> str:
    found = weights.get(name)
    return "absent" if found is None else f"{found.dtype} {list(found.shape)}"


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
    path = regular(folder / WEIGHTS, MEND)
    if file_hash(path) != bundle.weights_hash:
        raise DataError("it was altered: its hash does not fit", where=str(path), mend=MEND)
    try:
        weights: dict[str, Tensor] = load_file(path)
    except SafetensorError as error:
        raise DataError(f"it can't be read: {error}", where=str(path), mend=MEND) from error
    for name, tensor in weights.items():
        if not tensor.isfinite().all():
            raise DataError(f"{name} is not finite", where=str(path), mend=MEND)
    return weights


def _plain(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights on the CPU, in the one memory format that the file knows."""
    plain = torch.contiguous_format
    return {n: t.detach().cpu().clone(memory_format=plain) for n, t in weights.items()}
