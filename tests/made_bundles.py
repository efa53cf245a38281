"""Bundles with random weights over really prepared data, for the tests of what uses a model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from runforge import bundle, config, preparation, targets
from runforge.prepared import PreparedSet
from runforge.sample_sets import write_sample_set
from runforge.settings import plain
from tests.conftest import REPOSITORY, thin_out


@dataclass(frozen=True, slots=True)
class Made:
    """Where its parts lie."""

    data: Path
    prepared: Path
    bundle: Path


def make_bundle(folder: Path, name: str, *overrides: str, each: int = 8) -> Made:
    """A bundle of a sample set's recipe; `each`: so many pictures of each class."""
    data = folder / "data"
    if not data.exists():
        write_sample_set(name, data)
        if name == "digits":
            thin_out(data, each)
    wanted = [f"experiment={name}", "data.root=data", *overrides]
    settings = config.compose(REPOSITORY, wanted).settings
    schema = preparation.prepare(folder, settings, folder / "prepared", quiet=True)
    torch.manual_seed(0)
    task = targets.build(plain(settings.task), schema=schema)
    network = bundle.build_network(plain(settings.network), task, schema)
    bundle.write(
        folder / "model",
        weights=network.state_dict(),
        network_node=plain(settings.network),
        task_node=plain(settings.task),
        schema=schema,
        run_id="abc",
        lineage={},
    )
    return Made(data, folder / "prepared", folder / "model")


def said(made: Made) -> tuple[PreparedSet, torch.Tensor]:
    """What the model says of its whole prepared set, by torch alone."""
    prepared, model = PreparedSet.open(made.prepared), bundle.load(made.bundle)
    with torch.no_grad():
        return prepared, model(torch.from_numpy(prepared.inputs.copy()))
