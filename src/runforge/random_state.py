"""The states of all random generators of a process, as plain values and tensors.

Nothing of runforge's own draws from them while it trains: they are for networks that do.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def random_state() -> dict[str, Any]:
    """The states of Python's, NumPy's and torch's generators, and of this process's GPU's."""
    _, words, position, has_gauss, gauss = np.random.get_state(legacy=True)
    numpy_words = torch.from_numpy(np.asarray(words).astype(np.int64))
    gpu = torch.cuda.is_available()
    return {
        "python": random.getstate(),
        "numpy": (numpy_words, int(position), int(has_gauss), float(gauss)),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if gpu else None,
    }


def set_random_state(state: dict[str, Any]) -> None:
    """The inverse of `random_state`."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    numpy_words, *rest = state["numpy"]
    np.random.set_state(("MT19937", numpy_words.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
