"""Bundles: written, read, altered, exported, and as the start of another training."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn

from runforge import bundle, bundle_file, targets
from runforge.errors import ConfigError, DataError
from runforge.prepared import PreparedSet
from tests.made_sets import BINARY, CNN, MLP, MULTICLASS, REGRESSION, image_set, table_set

RESNET = {
    "_target_": "runforge.networks.resnet.Resnet",
    **{"widths": [4, 8], "blocks": 1, "stem_stride": 1, "dropout": 0.1},
}
CASES = {
    "cnn": (image_set([9, 3, 0]), CNN, MULTICLASS),
    "resnet": (image_set([9, 3, 0], classes=2), RESNET, BINARY),
    "table": (table_set([9, 3, 0]), MLP, BINARY),
    "value": (table_set([9, 3, 0], values=True), MLP, REGRESSION),
}


def _network(prepared: PreparedSet, node: dict[str, Any], task: dict[str, Any]) -> nn.Module:
    torch.manual_seed(0)
    built = targets.build(task, schema=prepared.schema)
    network = bundle.build_network(node, built, prepared.schema)
    for name, buffer in network.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.uniform_(0.5, 1.0)
    return network.eval()


def _write(folder: Path, case: str = "cnn", **changes: Any) -> nn.Module:
    prepared, node, task = CASES[case]
    network = _network(prepared, node, task)
    given = {"network_node": node, "task_node": task, "schema": prepared.schema}
    known = {"run_id": "abc", "lineage": {"commit": "123", "seeds": [1, 2]}}
    bundle.write(folder, weights=network.state_dict(), **{**given, **known, **changes})
    return network


@pytest.mark.parametrize("case", CASES)
def test_a_model_is_what_was_written(tmp_path: Path, case: str) -> None:
    prepared, _, task_node = CASES[case]
    network = _write(tmp_path / "model", case)
    model = bundle.load(tmp_path / "model")
    packed = torch.from_numpy(prepared.inputs)
    task = targets.build(task_node, schema=prepared.schema)
    with torch.no_grad():
        if case in ("cnn", "resnet"):
            of = prepared.schema.statistics
            pictures = prepared.inputs.astype(np.float32).transpose(0, 3, 1, 2) / 255
            inputs = torch.tensor((pictures - np.float32(of["mean"][0])) / np.float32(of["std"][0]))
        else:
            inputs = model.input_layer(packed)
        expected = task.predictions(network(inputs))
        torch.testing.assert_close(model(packed), expected)
    assert model.schema == prepared.schema
    assert model.bundle.run_id == "abc"
    assert model.bundle.lineage == {"commit": "123", "seeds": [1, 2]}
    assert model.modality.input_shape(prepared.schema.layout) == prepared.schema.input_shape
    assert not model.training


def test_the_same_weights_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        _write(tmp_path / name)
    files = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert files == ["bundle.json", "weights.safetensors"]
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    described = json.loads((tmp_path / "a" / "bundle.json").read_text())
    digest = hashlib.sha256((tmp_path / "a" / "weights.safetensors").read_bytes()).hexdigest()
    assert described["weights_hash"] == digest
    assert described["format"] == bundle_file.FORMAT


def test_weights_are_readable_by_others(tmp_path: Path) -> None:
    network = _write(tmp_path)
    for name, value in load_file(tmp_path / "weights.safetensors").items():
        np.testing.assert_array_equal(value, network.state_dict()[name].numpy())


def test_a_bundle_is_replaced(tmp_path: Path) -> None:
    _write(tmp_path)
    (tmp_path / "history.csv").write_text("kept")
    _write(tmp_path, run_id="later")
    assert bundle.load(tmp_path).bundle.run_id == "later"
    assert (tmp_path / "history.csv").read_text() == "kept"


def test_a_changed_byte_of_the_weights_is_noticed(tmp_path: Path) -> None:
    _write(tmp_path)
    path = tmp_path / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"weights.safetensors: it was altered"):
        bundle.load(tmp_path)
    path.unlink()
    with pytest.raises(DataError, match=r"no weights.safetensors"):
        bundle.load(tmp_path)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('"run_id": "abc"', '"run_id": "abd"', "it was altered"),
        ('"format": 1,', '"format": 2,', "its format is 2"),
        ('"format": 1,', "", "no bundle's description"),
        ('"format": 1,', '"format": 1', "no bundle's description"),
    ],
)
def test_an_altered_description_is_refused(
    tmp_path: Path, before: str, after: str, message: str
) -> None:
    _write(tmp_path)
    path = tmp_path / "bundle.json"
    text = path.read_text()
    assert before in text
    # The first is the bundle's own format: the schema's comes later.
    path.write_text(text.replace(before, after, 1))
    with pytest.raises(DataError, match=message):
        bundle.load(tmp_path)


def test_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no bundle.json"):
        bundle.load(tmp_path)
    (tmp_path / "bundle.json").write_text("[]")
    with pytest.raises(DataError, match="no bundle's description"):
        bundle.load(tmp_path)


def test_a_bundle_names_only_what_may_be_named(tmp_path: Path) -> None:
    _write(tmp_path, network_node={"_target_": "os.system", "command": "touch /tmp/never"})
    with pytest.raises(ConfigError, match="may not be named"):
        bundle.load(tmp_path)


def test_weights_of_another_network_do_not_load(tmp_path: Path) -> None:
    _write(tmp_path, network_node={**CNN, "dense": 9})
    with pytest.raises(DataError, match="the weights don't fit"):
        bundle.load(tmp_path)


@pytest.mark.parametrize("case", CASES)
def test_a_model_exports_with_any_batch_size(tmp_path: Path, case: str) -> None:
    _write(tmp_path, case)
    model = bundle.load(tmp_path)
    packed = torch.from_numpy(CASES[case][0].inputs)
    shapes = ({0: torch.export.Dim("batch")},)
    exported = torch.export.export(model, (packed[:3],), dynamic_shapes=shapes).module()
    with torch.no_grad():
        for count in (1, 3, 12):
            torch.testing.assert_close(exported(packed[:count]), model(packed[:count]))


def test_initialising_leaves_the_head_for_other_classes(tmp_path: Path) -> None:
    network = _write(tmp_path)
    prepared = image_set([9, 3, 0], classes=5)
    torch.manual_seed(5)
    other = bundle.build_network(
        CNN, targets.build(MULTICLASS, schema=prepared.schema), prepared.schema
    )
    before = {name: value.clone() for name, value in other.state_dict().items()}
    done = bundle.initialise_from(other, tmp_path)
    assert set(done.not_loaded) == {"head.4.weight", "head.4.bias"}
    assert set(done.loaded) | set(done.not_loaded) == set(before)
    for name, value in other.state_dict().items():
        source = network.state_dict() if name in done.loaded else before
        assert torch.equal(value, source[name])


def test_initialising_from_nothing_that_fits(tmp_path: Path) -> None:
    _write(tmp_path)
    prepared = CASES["table"][0]
    network = _network(prepared, MLP, BINARY)
    with pytest.raises(ConfigError, match=r"init_from: no weights"):
        bundle.initialise_from(network, tmp_path)


def test_a_schema_survives(tmp_path: Path) -> None:
    schema = replace(CASES["table"][0].schema, quality={"refused": 2}, fingerprint="f")
    _write(tmp_path, "table", schema=schema)
    assert bundle.read(tmp_path).schema == schema


def test_want_of_memory_is_no_fault_of_the_description(tmp_path: Path) -> None:
    with pytest.raises(MemoryError), bundle._faults_of_the_description(tmp_path):
        raise MemoryError
