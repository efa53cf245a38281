"""The deployable model of a run as a traced graph (pt2), no pickled code, ready for MLflow.

B is the batch, C the number of outputs. Needs torch, so it runs in the worker, and not MLflow,
whose import everybody would wait for: what MLflow wants beside the graph, `model_folder` adds.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.export import Dim

from runforge.agreement import by_torch, first_difference
from runforge.atomic import new_folder
from runforge.errors import RunforgeError, first_line
from runforge.tracking.model_notes import DATA, EXAMPLE, GRAPH, Notes

REQUIREMENTS = ("mlflow", "torch", "numpy")


def save_model(
    model: torch.nn.Module,
    example: np.ndarray,
    folder: Path,
    *,
    run_id: str,
    requirements: Sequence[str] = REQUIREMENTS,
) -> None:
    """Saves `model` as `folder`, whole or not at all, for `Run.log_model`.

    `model` maps a packed batch [B, …] to predictions [B, C]; `example` holds at least two packed
    samples, as tracing takes a batch of one for a constant. `requirements` are names of installed
    packages, pinned at their versions. The traced model is held against the original at another
    batch size; raises `RunforgeError` where they differ.
    """
    module = copy.deepcopy(model).cpu().eval()
    with new_folder(folder) as saved:
        (saved / DATA).mkdir()
        batch = torch.from_numpy(example)
        # Axis 0, the batch, is free; torch finds what that asks of the graph.
        traced = torch.export.export(module, (batch,), dynamic_shapes=[{0: Dim.AUTO}])
        torch.export.save(traced, str(saved / DATA / GRAPH))
        _note(saved, module, example, run_id, requirements)
        _check_trace(saved, module, example)


def _note(
    folder: Path,
    module: torch.nn.Module,
    example: np.ndarray,
    run_id: str,
    requirements: Sequence[str],
) -> None:
    outputs = by_torch(module)(example)
    version, shape = str(torch.__version__), outputs.shape[1:]
    Notes(run_id, tuple(requirements), version, str(outputs.dtype), shape).write(folder)
    np.save(folder / EXAMPLE, example, allow_pickle=False)


def _check_trace(folder: Path, module: torch.nn.Module, example: np.ndarray) -> None:
    """A model that does not treat samples alike is traced for the example's batch size alone."""
    traced = torch.export.load(str(folder / DATA / GRAPH)).module()
    others = np.concatenate([example, example[:1]])
    try:
        difference = first_difference(by_torch(module), by_torch(traced), [others])
    except (RuntimeError, AssertionError) as error:
        said = first_line(error)
        raise RunforgeError(f"the model can't be recorded for every batch size: {said}") from error
    if difference is not None:
        raise RunforgeError("the model can't be recorded: its traced form predicts otherwise")
