"""What who uses a model must know of it: what goes in and what comes out, as plain JSON values."""

from __future__ import annotations

from typing import Any

from runforge.bundle_file import Bundle
from runforge.predictions import PROBABILITY

INPUT, OUTPUT = "packed", "predictions"
"""What an exported model calls them."""
AXES = {1: "features", 3: "height, width, channels"}
"""By the number of a packed sample's axes."""


def contract(bundle: Bundle) -> dict[str, Any]:
    """Input and output of a bundle's model, and how a raw sample becomes a packed one.

    `modality` is the node that says how a raw sample is decoded (for pictures: size, mode,
    background; stretched with an antialiasing filter), `layout` what of that was found in the data
    (a picture's height, width, mode and levels that are null there) and the columns and categories
    of a table: packed are the numbers in their order, each less its origin in `origins` if it has
    one (NaN: missing), then the index of each category's value (-1: unknown). Scaling and
    standardizing are part of the model.
    """
    schema = bundle.schema
    names = [PROBABILITY + name for name in schema.classes] or ["value"]
    return {
        "format": 1,
        "run_id": bundle.run_id,
        "runforge": bundle.version,
        "weights_hash": bundle.weights_hash,
        "data_fingerprint": schema.fingerprint,
        "input": {
            "name": INPUT,
            "dtype": schema.packed_dtype,
            "shape": ["batch", *schema.packed_shape],
            "axes": f"batch, {AXES.get(len(schema.packed_shape), 'as packed')}",
        },
        "output": {"name": OUTPUT, "dtype": "float32", "shape": ["batch", len(names)]},
        "columns": names,
        "classes": list(schema.classes),
        "target": schema.target_name,
        "modality": schema.modality,
        "layout": schema.layout,
    }
