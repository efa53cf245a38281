"""A traced model as MLflow's folder: its signature, example and environment beside the graph.

As `mlflow.pytorch.save_model` writes it, but by the driver, which has MLflow and not torch.
"""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

import numpy as np
import yaml
from mlflow import pyfunc
from mlflow.models import Model, ModelSignature
from mlflow.models.utils import _save_example
from mlflow.types import Schema, TensorSpec
from mlflow.utils.environment import _mlflow_conda_env, _PythonEnv

from runforge.atomic import write_whole
from runforge.tracking.model_notes import DATA, EXAMPLE, NOTES, Notes

MLMODEL = "MLmodel"
"""The file that makes a folder a model; it is written last."""

CONDA, PYTHON = "conda.yaml", "python_env.yaml"


def complete(folder: Path) -> None:
    """Adds to a folder that `model_record` saved what MLflow wants in it; once is enough."""
    if not (folder / MLMODEL).exists():
        notes = Notes.read(folder)
        example = np.load(folder / EXAMPLE, allow_pickle=False)
        _write_environment(folder, [_pinned(name) for name in notes.requirements])
        record = Model(run_id=notes.run_id, signature=_signature(notes, example))
        _save_example(record, example, str(folder))
        _add_flavours(record, notes.torch_version)
        record.model_size_bytes = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
        write_whole(folder / MLMODEL, record.to_yaml())
    for name in (EXAMPLE, NOTES):
        (folder / name).unlink(missing_ok=True)


def _signature(notes: Notes, example: np.ndarray) -> ModelSignature:
    """The batch axis is -1."""
    outputs = TensorSpec(np.dtype(notes.output_dtype), (-1, *notes.output_shape))
    return ModelSignature(
        inputs=Schema([TensorSpec(example.dtype, (-1, *example.shape[1:]))]),
        outputs=Schema([outputs]),
    )


def _add_flavours(record: Model, torch_version: str) -> None:
    record.add_flavor("pytorch", model_data=DATA, pytorch_version=torch_version, code=None)
    pyfunc.add_to_model(
        record,
        loader_module="mlflow.pytorch",
        data=DATA,
        # Named as MLflow does; a graph needs none.
        pickle_module_name="mlflow.pytorch.pickle_module",
        code=None,
        conda_env=CONDA,
        python_env=PYTHON,
        model_config={"device": None},
    )


def _write_environment(folder: Path, pins: list[str]) -> None:
    environment = _mlflow_conda_env(additional_pip_deps=pins)  # type: ignore[no-untyped-call]
    text = yaml.safe_dump(environment, default_flow_style=False)
    (folder / CONDA).write_text(text, encoding="utf-8")
    (folder / "requirements.txt").write_text("\n".join(pins), encoding="utf-8")
    _PythonEnv.current().to_yaml(str(folder / PYTHON))  # type: ignore[no-untyped-call]


def _pinned(name: str) -> str:
    """`name==version`, without the build's own label (`+cpu`), which no index knows."""
    return f"{name}=={re.sub(r'[+].*', '', version(name))}"
