"""Whether the same numbers come out each time, on one kind of device and so many of them.

On a CPU torch's kernels are deterministic for a fixed number of threads; on a GPU that must be
asked for, and some kernels are slower then.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

_CUBLAS = "CUBLAS_WORKSPACE_CONFIG"


def settle() -> None:
    """For what is evaluated in this process: deterministic kernels, wherever torch has them."""
    os.environ.setdefault(_CUBLAS, ":4096:8")
    torch.backends.cudnn.benchmark = False
    # `use_deterministic_algorithms` does the same, and imports torch's compiler for half a second.
    torch.set_deterministic_debug_mode("warn")
    spare_filling()
    round_products(False)


def round_products(rounded: bool) -> None:
    """Whether a GPU multiplies 32-bit floats as TensorFloat-32, of which 10 bits are fraction."""
    if torch.cuda.is_available():  # the CPUs that have something like it are left alone
        torch.set_float32_matmul_precision("high" if rounded else "highest")
        torch.backends.cudnn.allow_tf32 = rounded


def spare_filling() -> None:
    """Lets torch not fill memory that it is about to write: a search aid, which costs photographs
    3 to 5% of a step's processor time and changes no value."""
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


@contextmanager
def any_order() -> Iterator[None]:
    """Inside, torch may count in any order: of whole numbers the sum is the same.

    Where algorithms are to be deterministic, torchmetrics counts a confusion matrix of C classes by
    N · C² comparisons: 4 GB and 3 s for 256 samples of 1,000 classes.
    """
    before = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("default")
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(before)


def described() -> str:
    """How this process is set, as the tag of a run."""
    algorithms = torch.are_deterministic_algorithms_enabled()
    told = [
        f"deterministic={'true' if algorithms else 'false'}",
        f"cudnn.benchmark={'true' if torch.backends.cudnn.benchmark else 'false'}",
    ]
    if torch.cuda.is_available():
        told.append(f"tf32={'true' if torch.backends.cudnn.allow_tf32 else 'false'}")
        told.append(f"{_CUBLAS}={os.environ.get(_CUBLAS, 'not set')}")
    return ", ".join(told)


def weights_text(weights: Mapping[str, Tensor]) -> str:
    """One text for the weights of a network, bit for bit: their names, types, shapes and values."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{tensor.dtype}\0{list(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
