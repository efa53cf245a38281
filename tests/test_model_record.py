"""The recorded model: loads through MLflow's generic door and predicts at any batch size."""

from __future__ import annotations

from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from runforge.errors import RunforgeError
from runforge.tracking.model_record import save_model
from runforge.tracking.run import Run
from runforge.tracking.store import Store, open_store


class Images(nn.Module):
    """Packed uint8 [B, 8, 8, 1] → probabilities [B, 3]."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
        )
        self.last = nn.Sequential(nn.Dropout(0.5), nn.Linear(36, 3))

    def forward(self, packed: Tensor) -> Tensor:
        inputs = packed.permute(0, 3, 1, 2).float() / 255
        return torch.softmax(self.last(self.layers(inputs)), dim=1)


class Table(nn.Module):
    """Packed float32 [B, 5], NaN where missing → probability [B, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(5, 1)

    def forward(self, packed: Tensor) -> Tensor:
        return torch.sigmoid(self.last(torch.nan_to_num(packed)))


class OneSize(nn.Module):
    """Only ever right for the batch it was traced with."""

    def forward(self, packed: Tensor) -> Tensor:
        return packed.sum() + torch.zeros(int(packed.shape[0]), 1) if len(packed) == 4 else packed


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return open_store(tmp_path_factory.mktemp("project"), "models")


def images(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 8, 8, 1), dtype=np.uint8)


def record(run: Run, model: nn.Module, example: np.ndarray, folder: Path) -> str:
    """Saves and records a model; returns MLflow's id of it."""
    save_model(model, example, folder / "saved", run_id=run.run_id)
    run.log_model(folder / "saved", "digits")
    return run.client.get_run(run.run_id).outputs.model_outputs[-1].model_id


def rows(count: int) -> np.ndarray:
    table = np.random.default_rng(0).normal(size=(count, 5)).astype(np.float32)
    table[0, 0] = np.nan
    return table


@pytest.mark.parametrize(("network", "batch"), [(Images, images), (Table, rows)])
def test_loads_and_predicts_at_any_batch_size(network, batch, store, monkeypatch, tmp_path):
    torch.manual_seed(0)
    model = network()
    run = Run.start(store, "run", {})
    run.log_parameters({"network": network.__name__})
    model_id = record(run, model, batch(4), tmp_path)
    assert model.training  # the caller's model is left as it was

    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    loaded = mlflow.pyfunc.load_model(f"models:/{model_id}")
    model.eval()
    for count in (1, 5, 64):
        with torch.no_grad():
            expected = model(torch.from_numpy(batch(count))).numpy()
        np.testing.assert_allclose(loaded.predict(batch(count)), expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(mlflow.exceptions.MlflowException, match="shape"):
        loaded.predict(batch(2)[:, :3])


def test_is_linked_described_and_pinned(store, tmp_path):
    run = Run.start(store, "run", {})
    run.log_parameters({"network": "images"})
    model_id = record(run, Images(), images(2), tmp_path)
    run.log_dataset(
        name="digits", digest="f" * 12, source="data", schema={}, profile={}, context="training"
    )
    run.log_figures({"test/accuracy": 0.875})
    run.end("FINISHED")

    found = run.client.get_logged_model(model_id)
    assert (found.name, found.status, found.source_run_id) == ("digits", "READY", run.run_id)
    assert found.params == {"network": "images"}
    assert found.tags["mlflow.user"] == run.client.get_run(run.run_id).data.tags["mlflow.user"]
    (figure,) = found.metrics
    assert (figure.key, figure.value, figure.run_id) == ("test/accuracy", 0.875, run.run_id)
    assert (figure.dataset_name, figure.dataset_digest) == ("digits", "f" * 12)
    recorded = run.client.get_run(run.run_id)
    assert [m.model_id for m in recorded.outputs.model_outputs] == [model_id]
    assert recorded.data.metrics["test/accuracy"] == 0.875

    folder = Path(found.artifact_location.removeprefix("file://"))
    described = mlflow.models.Model.load(folder)
    assert described.model_id == model_id and described.run_id == run.run_id
    assert described.signature.inputs.inputs[0].shape == (-1, 8, 8, 1)
    assert described.signature.inputs.inputs[0].type == np.uint8
    assert described.signature.outputs.inputs[0].shape == (-1, 3)
    assert described.load_input_example(str(folder)).shape == (2, 8, 8, 1)
    pins = (folder / "requirements.txt").read_text().split()
    assert f"torch=={torch.__version__.partition('+')[0]}" in pins
    assert not any("+" in pin for pin in pins)
    assert not list(folder.rglob("*.pkl"))


def test_a_model_of_one_batch_size_is_refused(tmp_path):
    with pytest.raises(RunforgeError, match="can't be recorded"):
        save_model(OneSize(), rows(4), tmp_path / "saved", run_id="0" * 32)
    assert not list(tmp_path.iterdir())


def test_recording_it_again_changes_nothing(store, tmp_path):
    run = Run.start(store, "run", {})
    model_id = record(run, Images(), images(2), tmp_path)
    run.log_figures({"test/accuracy": 0.875})
    run.log_model(tmp_path / "saved", "digits")
    assert [m.model_id for m in run.client.get_run(run.run_id).outputs.model_outputs] == [model_id]
    condition = f"source_run_id = '{run.run_id}'"
    found = run.client.search_logged_models([store.experiment_id], condition)
    assert [(m.model_id, m.status) for m in found] == [(model_id, "READY")]
