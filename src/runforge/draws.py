"""Random numbers as a function of (seed, pass, sample id) alone.

A counter goes through a mixing function, SplitMix64's (Steele, Lea and Flood 2014, "Fast
Splittable Pseudorandom Number Generators"), instead of a generator's state being carried along:
so neither batches nor worker processes nor an interruption can matter. N samples.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]

GOLDEN = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1

ORDER_STREAM, AUGMENTATION_STREAM, DROPOUT_STREAM = 1, 2, 3


def sample_keys(ids: Sequence[str]) -> Keys:
    """64 bits of a hash of each id [N]."""
    digests = b"".join(hashlib.blake2b(i.encode(), digest_size=8).digest() for i in ids)
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def order(keys: Keys, *, seed: int, pass_number: int) -> NDArray[np.int64]:
    """A permutation of 0..N−1; samples of equal id keep their order among themselves."""
    mixed = _mixed(keys, _counter(seed, pass_number, ORDER_STREAM))
    return np.argsort(mixed, kind="stable").astype(np.int64)


def uniform(keys: Keys, *, seed: int, pass_number: int, count: int) -> NDArray[np.float32]:
    """`count` numbers in [0, 1) for each sample [N, count]."""
    if count == 0:
        return np.empty((len(keys), 0), np.float32)
    mixed = _mixed(keys, _counter(seed, pass_number, AUGMENTATION_STREAM))
    steps = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(GOLDEN)
    bits = _mix(mixed[:, None] + steps)
    # The upper 24 bits are all that a float32 in [0, 1) holds: rounding can't make it 1.
    return (bits >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)


def stream_keys(keys: Keys, *, seed: int, pass_number: int) -> NDArray[np.int64]:
    """The key of each sample's dropout in a pass [N]: 64 mixed bits, signed as torch has them."""
    return _mixed(keys, _counter(seed, pass_number, DROPOUT_STREAM)).view(np.int64)


def _counter(seed: int, pass_number: int, stream: int) -> np.uint64:
    """One number for the three; each is mixed in turn, so that none can cancel another."""
    mixed = np.zeros(1, dtype=np.uint64)
    for part in (seed, pass_number, stream):
        mixed = _mix(mixed + np.uint64((part * GOLDEN + GOLDEN) & MASK))
    return np.uint64(mixed[0])


def _mixed(keys: Keys, counter: np.uint64) -> Keys:
    return _mix(_mix(keys) ^ counter)


def _mix(values: Keys) -> Keys:
    """The finaliser of SplitMix64; arrays of uint64 wrap round without a warning."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
