"""By what one run is preferred to another: the headline metric on the validation split.

The test split says what the chosen model is worth, and can say so only where it chose nothing. Each
evaluation notes the validation figure of the weights that were handed on, and of which samples: a
figure of other samples can't be held against it. See decision 0024.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

SPLIT = "validation"
"""The split that chooses."""

METRIC = "runforge.selection_metric"
"""The tag that names what a run is chosen by and which way is better: `validation/accuracy:max`."""

PREFIX = "selection/"
"""The metric `selection/accuracy`: its value. `validation/accuracy` is that of each epoch."""

HELD_OUT = "runforge.held_out"
"""The tag that is the same for runs whose figures can be held against one another."""

FILE = "validation.json"
"""In an evaluation: the metric's name → its value; empty where it has none."""


def held_out(target: str, samples: Iterable[tuple[str, str, str]]) -> str:
    """One text for a target and the samples that training does not see: 16 hex digits.

    `samples`: id, split and true label or value; their order and the training split do not matter,
    nor does how a sample is read: its columns, its size.
    """
    kept = sorted(sample for sample in samples if sample[1] != "train")
    text = json.dumps([target, kept], ensure_ascii=False)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
