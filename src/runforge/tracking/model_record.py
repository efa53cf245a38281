"""The deployable model of a run as an MLflow model: a traced graph (pt2), no pickled code.

B is the batch, C the number of outputs. Needs torch, so it runs in the worker.
"""

from __future__ import annotations

import copy
import re
import tempfile
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from mlflow.entities import LoggedModelOutput, LoggedModelStatus
from mlflow.entities.logged_model import LoggedModel
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec

from runforge.errors import RunforgeError
from runforge.tracking.origin import model_tags
from runforge.tracking.run import Run

with warnings.catch_warnings():
    # MLflow 3.17 warns of a type hint of its own as it is imported; nothing of ours.
    warnings.filterwarnings("ignore", ".*Any type hint is inferred as AnyType", UserWarning)
    import mlflow.pyfunc.model
    import mlflow.pytorch

REQUIREMENTS = ("mlflow", "torch", "numpy")


def record_model(
    run: Run,
    model: torch.nn.Module,
    example: np.ndarray,
    *,
    name: str = "model",
    requirements: Sequence[str] = REQUIREMENTS,
) -> str:
    """Records `model` as an output of the run and returns MLflow's id of it (`m-…`).

    `model` maps a packed batch [B, …] to predictions [B, C]; `example` holds at least two packed
    samples, as tracing takes a batch of one for a constant. `requirements` are names of installed
    packages, pinned at their versions. The traced model is held against the original at another
    batch size before anything is recorded; raises `RunforgeError` where they differ.
    """
    module = copy.deepcopy(model).cpu().eval()
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "model"
        record = Model(run_id=run.run_id)
        _save(record, module, example, saved, _pinned(requirements))
        _check_trace(saved, module, example)
        return _upload(run, record, saved, name)


def _save(
    record: Model, module: torch.nn.Module, example: np.ndarray, folder: Path, pins: list[str]
) -> None:
    mlflow.pytorch.save_model(
        module,
        str(folder),
        mlflow_model=record,
        signature=_signature(module, example),
        input_example=example,
        pip_requirements=pins,
        serialization_format="pt2",
    )


def _signature(module: torch.nn.Module, example: np.ndarray) -> ModelSignature:
    """The batch axis is -1, which is what makes it a free axis of the traced graph."""
    outputs = _predict(module, example)
    return ModelSignature(
        inputs=Schema([TensorSpec(example.dtype, (-1, *example.shape[1:]))]),
        outputs=Schema([TensorSpec(outputs.dtype, (-1, *outputs.shape[1:]))]),
    )


def _check_trace(folder: Path, module: torch.nn.Module, example: np.ndarray) -> None:
    """A model that does not treat samples alike is traced for the example's batch size alone."""
    traced = torch.export.load(str(folder / "data" / "model.pt2")).module()
    others = np.concatenate([example, example[:1]])
    try:
        found = _predict(traced, others)
    except (RuntimeError, AssertionError) as error:
        said = str(error).strip().splitlines()[0]
        raise RunforgeError(f"the model can't be recorded for every batch size: {said}") from error
    if not np.allclose(found, _predict(module, others), rtol=1e-4, atol=1e-5, equal_nan=True):
        raise RunforgeError("the model can't be recorded: its traced form predicts otherwise")


def _upload(run: Run, record: Model, folder: Path, name: str) -> str:
    client = run.client
    origin = client.get_run(run.run_id).data
    made: LoggedModel = client.create_logged_model(
        run.experiment_id,
        name=name,
        source_run_id=run.run_id,
        params=origin.params,
        tags=model_tags(origin.tags),
        model_type="pt2",
    )
    record.model_id = record.model_uuid = made.model_id
    record.artifact_path = made.artifact_location
    record.save(str(folder / "MLmodel"))
    try:
        client.log_model_artifacts(made.model_id, str(folder))
        client.log_outputs(run.run_id, [LoggedModelOutput(made.model_id, step=0)])
    except BaseException:
        client.finalize_logged_model(made.model_id, LoggedModelStatus.FAILED)
        raise
    client.finalize_logged_model(made.model_id, LoggedModelStatus.READY)
    return str(made.model_id)


def _predict(module: torch.nn.Module, batch: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        outputs: torch.Tensor = module(torch.from_numpy(batch))
    return outputs.numpy()


def _pinned(names: Sequence[str]) -> list[str]:
    """`name==version`, without the build's own label (`+cpu`), which no index knows."""
    return [f"{name}=={re.sub(r'[+].*', '', version(name))}" for name in names]
