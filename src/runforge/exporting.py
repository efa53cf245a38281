"""A bundle's model as ONNX or pt2, held against the trained one before it is handed on.

B is the batch, which stays free in both forms.
"""

from __future__ import annotations

import json
import logging
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch.export import Dim, ExportedProgram

from runforge.agreement import Predict, by_torch, first_difference
from runforge.atomic import write_whole
from runforge.contract import INPUT, OUTPUT
from runforge.errors import ConfigError, GateRefused, RunforgeError, first_line, of_the_machine

Format = Literal["onnx", "pt2"]

PREDICTED_AT_ONCE = 256
BATCH_SIZES = (1, 2, 7, 64)
"""One is traced apart by careless exporters, the others by none."""


@dataclass(frozen=True, slots=True, eq=False)
class Export:
    """What is exported: a model on the CPU, packed samples [N, ...] to hold it against, what who
    uses it must know."""

    model: torch.nn.Module
    rows: np.ndarray
    contract: dict[str, Any]

    def write(self, output: Path, form: Format) -> None:
        """Writes the model and `<output>.json`; nothing where its outputs differ.

        Raises `GateRefused` there, and `RunforgeError` where it can't be exported for every batch.
        """
        # In the same folder as its target: a rename can't cross file systems.
        beside = output.with_name(f".{output.name}-{uuid.uuid4().hex[:8]}.{form}")
        write, load = (_write_onnx, _load_onnx) if form == "onnx" else (_write_pt2, _load_pt2)
        try:
            with _quiet():
                write(self, beside)
                self._check(load(beside), form)
            text = json.dumps(self.contract, indent=2, ensure_ascii=False)
            write_whole(contract_path(output), f"{text}\n")
            beside.replace(output)
        finally:
            beside.unlink(missing_ok=True)

    def largest_difference(self, expected: np.ndarray) -> float:
        """By how much what it predicts as pt2 for `rows` misses `expected` [N, C] at most.

        nan or infinite where a number is not finite.
        """
        with tempfile.TemporaryDirectory() as folder, _quiet():
            path = Path(folder) / "model.pt2"
            _write_pt2(self, path)
            predict, parts = _load_pt2(path), range(0, len(self.rows), PREDICTED_AT_ONCE)
            found = [predict(self.rows[part : part + PREDICTED_AT_ONCE]) for part in parts]
        return float(np.abs(np.concatenate(found) - expected).max())

    def _check(self, exported: Predict, form: Format) -> None:
        batches = (np.resize(self.rows, (n, *self.rows.shape[1:])) for n in BATCH_SIZES)
        try:
            found = first_difference(by_torch(self.model), exported, batches)
        except Exception as error:
            if of_the_machine(error):
                raise
            line = first_line(error)
            raise GateRefused(f"the {form} model does not run: {line}; none is written") from error
        if found is not None:
            raise GateRefused(
                f"the {form} model differs from the trained one by up to {found.largest:.2g}"
                f" on a batch of {found.batch_size}; none is written"
            )


def contract_path(output: Path) -> Path:
    """Beside the exported model."""
    return output.with_name(f"{output.name}.json")


def require(form: Format) -> None:
    """Raises `ConfigError` where what the format needs is not installed."""
    if form != "onnx":
        return
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        mend = "pip install 'runforge[export]', or take --format pt2"
        raise ConfigError(f"{error.name} is not installed", where="onnx", mend=mend) from error


def _traced(export: Export) -> ExportedProgram:
    # Two at least: a batch of one would be taken for a constant.
    example = torch.from_numpy(np.resize(export.rows, (2, *export.rows.shape[1:])))
    try:
        return torch.export.export(export.model, (example,), dynamic_shapes=_shapes())
    except Exception as error:
        if of_the_machine(error):
            raise
        line = first_line(error)
        raise RunforgeError(f"the model can't be exported for every batch size: {line}") from error


def _shapes() -> tuple[dict[int, Dim]]:
    return ({0: Dim("batch")},)


def _write_pt2(export: Export, path: Path) -> None:
    extra = {"contract.json": json.dumps(export.contract)}
    torch.export.save(_traced(export), path, extra_files=extra)


def _load_pt2(path: Path) -> Predict:
    return by_torch(torch.export.load(path).module())


def _write_onnx(export: Export, path: Path) -> None:
    program = torch.onnx.export(
        _traced(export),
        dynamo=True,
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_shapes=_shapes(),
        verbose=False,
    )
    assert program is not None
    told = {"contract": export.contract, "classes": export.contract["classes"]}
    program.model.metadata_props.update(
        {name: json.dumps(value, ensure_ascii=False) for name, value in told.items()}
    )
    program.save(path)


def _load_onnx(path: Path) -> Predict:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda batch: np.asarray(session.run([OUTPUT], {INPUT: batch})[0])


@contextmanager
def _quiet() -> Iterator[None]:
    """Exporting warns of torch's own deprecations, and that torchvision is not there."""
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)
