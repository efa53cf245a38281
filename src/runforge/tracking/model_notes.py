"""What a worker notes beside a traced model (`notes.json`), for the driver's `model_folder`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

DATA, GRAPH = "data", "model.pt2"
"""Where MLflow's flavour `pytorch` looks for the graph."""

EXAMPLE, NOTES = "example.npy", "notes.json"
"""Packed samples of the model's input; the notes."""


@dataclass(frozen=True, slots=True)
class Notes:
    """What is known where the model was traced."""

    run_id: str
    requirements: tuple[str, ...]
    """Names of installed packages."""
    torch_version: str
    output_dtype: str
    output_shape: tuple[int, ...]
    """Of one sample."""

    def write(self, folder: Path) -> None:
        """Beside the model."""
        (folder / NOTES).write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Notes:
        """Reads what `write` wrote."""
        values = json.loads((folder / NOTES).read_text(encoding="utf-8"))
        lists = {name: tuple(values[name]) for name in ("requirements", "output_shape")}
        return cls(**{**values, **lists})
