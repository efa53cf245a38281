"""The deployable model of a run as an MLflow model: a traced graph (pt2), no pickled code.

B is the batch, C the number of outputs. Needs torch, so it runs in the worker.
"""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec

from runforge.agreement import by_torch, first_difference
from runforge.atomic import new_folder
from runforge.errors import RunforgeError

with warnings.catch_warnings():
    # MLflow 3.17 warns of a type hint of its own as it is imported; nothing of ours.
    warnings.filterwarnings("ignore", ".*Any type hint is inferred as AnyType", UserWarning)
    import mlflow.pyfunc.model
    import mlflow.pytorch

REQUIREMENTS = ("mlflow", "torch", "numpy")


def save_model(
    model: torch.nn.Module,
    example: np.ndarray,
    folder: Path,
    *,
    run_id: str,
    requirements: Sequence[str] = REQUIREMENTS,
) -> None:
    """Saves `model` in MLflow's form as `folder`, whole or not at all, for `Run.log_model`.

    `model` maps a packed batch [B, …] to predictions [B, C]; `example` holds at least two packed
    samples, as tracing takes a batch of one for a constant. `requirements` are names of installed
    packages, pinned at their versions. The traced model is held against the original at another
    batch size; raises `RunforgeError` where they differ.
    """
    module = copy.deepcopy(model).cpu().eval()
    with new_folder(folder) as saved:
        _save(Model(run_id=run_id), module, example, saved, _pinned(requirements))
        _check_trace(saved, module, example)


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
    outputs = by_torch(module)(example)
    return ModelSignature(
        inputs=Schema([TensorSpec(example.dtype, (-1, *example.shape[1:]))]),
        outputs=Schema([TensorSpec(outputs.dtype, (-1, *outputs.shape[1:]))]),
    )


def _check_trace(folder: Path, module: torch.nn.Module, example: np.ndarray) -> None:
    """A model that does not treat samples alike is traced for the example's batch size alone."""
    traced = torch.export.load(str(folder / "data" / "model.pt2")).module()
    others = np.concatenate([example, example[:1]])
    try:
        difference = first_difference(by_torch(module), by_torch(traced), [others])
    except (RuntimeError, AssertionError) as error:
        said = str(error).strip().splitlines()[0]
        raise RunforgeError(f"the model can't be recorded for every batch size: {said}") from error
    if difference is not None:
        raise RunforgeError("the model can't be recorded: its traced form predicts otherwise")


def _pinned(names: Sequence[str]) -> list[str]:
    """`name==version`, without the build's own label (`+cpu`), which no index knows."""
    return [f"{name}=={re.sub(r'[+].*', '', version(name))}" for name in names]
