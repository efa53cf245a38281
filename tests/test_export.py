"""`runforge export`: ONNX and pt2 predict as the trained model does, or there are none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from runforge import bundle, cli
from runforge.contract import contract
from runforge.errors import GateRefused, RunforgeError
from runforge.example_rows import examples, made_rows
from runforge.exporting import Export
from tests.made_bundles import Made, make_bundle, said
from tests.made_sets import table_set

CASES = {
    "digits": ("digits",),
    "resnet": ("digits", "network=resnet"),
    "table": ("breast_cancer",),
    "value": ("diabetes",),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Made]:
    return {
        case: make_bundle(tmp_path_factory.mktemp(case), *given) for case, given in CASES.items()
    }


def export(bundle_folder: Path, *arguments: object) -> int:
    return cli.main(["export", "--model", f"{bundle_folder}", *map(str, arguments)])


@pytest.mark.parametrize("case", CASES)
def test_onnx(made: dict[str, Made], case: str, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert export(made[case].bundle, "--format", "onnx") == 0
    assert capsys.readouterr().out == "model.onnx\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.onnx", "model.onnx.json"]
    onnx.checker.check_model("model.onnx", full_check=True)
    session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
    prepared, expected = said(made[case])
    for count in (1, 3, len(expected)):
        (found,) = session.run(None, {"packed": prepared.inputs[:count]})
        np.testing.assert_allclose(found, expected[:count].numpy(), rtol=1e-4, atol=1e-5)
    told = json.loads(Path("model.onnx.json").read_text())
    (given,), (out,) = session.get_inputs(), session.get_outputs()
    assert [given.name, given.shape] == [told["input"]["name"], told["input"]["shape"]]
    assert [out.name, out.shape] == [told["output"]["name"], told["output"]["shape"]]
    properties = session.get_modelmeta().custom_metadata_map
    assert json.loads(properties["contract"]) == told
    assert json.loads(properties["classes"]) == list(prepared.schema.classes) == told["classes"]
    assert told["modality"] == prepared.schema.modality


@pytest.mark.parametrize("case", ["digits", "table"])
def test_pt2(made: dict[str, Made], case: str, tmp_path: Path, capsys) -> None:
    output = tmp_path / "a.pt2"
    assert export(made[case].bundle, "--format", "pt2", "--output", output) == 0
    prepared, expected = said(made[case])
    extra = {"contract.json": ""}
    module = torch.export.load(output, extra_files=extra).module()
    for count in (1, 5):
        found = module(torch.from_numpy(prepared.inputs[:count].copy()))
        torch.testing.assert_close(found, expected[:count], rtol=1e-4, atol=1e-5)
    assert json.loads(extra["contract.json"]) == json.loads(Path(f"{output}.json").read_text())


class Otherwise(torch.nn.Module):
    """Predicts otherwise once it is traced."""

    def __init__(self, model: torch.nn.Module, by: float) -> None:
        super().__init__()
        self.model, self.by = model, by

    def forward(self, packed: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.model(packed)
        return outputs + self.by if torch.compiler.is_exporting() else outputs


class OfOneSize(torch.nn.Module):
    """Takes batches of two alone."""

    def forward(self, packed: torch.Tensor) -> torch.Tensor:
        return packed.reshape(2, -1).float()


@pytest.mark.parametrize("form", ["onnx", "pt2"])
def test_what_differs_is_refused(made: dict[str, Made], tmp_path: Path, form) -> None:
    model = bundle.load(made["digits"].bundle)
    rows, told = made_rows(model.schema), contract(model.bundle)
    output = tmp_path / "model"
    output.write_text("old")
    with pytest.raises(
        GateRefused, match=r"differs from the trained one by up to 0.001 on a batch"
    ):
        Export(Otherwise(model, 1e-3), rows, told).write(output, form)
    with pytest.raises(RunforgeError, match="can't be exported for every batch size"):
        Export(OfOneSize(), rows, told).write(output, form)
    assert GateRefused("").exit_code == 3
    assert [p.name for p in tmp_path.iterdir()] == ["model"] and output.read_text() == "old"


def test_samples_are_real_where_there_are_any(made: dict[str, Made], tmp_path: Path) -> None:
    model = bundle.load(made["digits"].bundle)
    project = tmp_path / "project"
    shutil.copytree(made["digits"].prepared, project / "out" / "sets" / "abc")
    prepared, _ = said(made["digits"])
    found = examples(model.schema, model.modality, [], project)
    assert "real ones of the test split" in found.origin
    np.testing.assert_array_equal(found.rows, prepared.inputs[prepared.rows("test")])
    given = examples(model.schema, model.modality, [str(made["digits"].data / "0")], project)
    assert given.origin.startswith("8 real ones of ")
    # Of other data: not these.
    other = bundle.load(made["table"].bundle)
    assert "made from the schema" in examples(other.schema, other.modality, [], project).origin
    assert "made from the schema" in examples(model.schema, model.modality, [], None).origin


def test_made_rows_are_packed_as_the_schema_says(made: dict[str, Made]) -> None:
    for case in ("digits", "table", "value"):
        schema = bundle.load(made[case].bundle).schema
        rows = made_rows(schema)
        assert rows.shape[1:] == schema.packed_shape and str(rows.dtype) == schema.packed_dtype
        np.testing.assert_array_equal(rows, made_rows(schema))
    assert np.isnan(made_rows(bundle.load(made["table"].bundle).schema)).any()
    assert np.isfinite(made_rows(table_set([9, 3, 0]).schema)).any()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--output", "gone/model.onnx"], "gone: there is no such folder"),
        (["--output", "."], "it is a folder"),
        (["--samples", "gone.png"], "gone.png: there is no such file"),
        (["--samples", "text.png"], "none of them can be decoded"),
    ],
)
def test_mistakes(made, tmp_path: Path, capsys, monkeypatch, arguments, told) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.png").write_text("no picture")
    assert export(made["digits"].bundle, "--format", "onnx", *arguments) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert told in line
    assert [p.name for p in tmp_path.iterdir()] == ["text.png"]
