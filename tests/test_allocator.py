"""What a process keeps of the memory that it frees; each in a process of its own."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator")

BEGIN = """
import resource, psutil
from runforge import allocator
MB = 1 << 20
def take(): b"x" * (64 * MB)
def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def resident_mb(): return psutil.Process().memory_info().rss / MB
"""
FAULTS = """
take()
before = faults()
for _ in range(5): take()
print(faults() - before)
"""
GIVEN_BACK = """
before = resident_mb()
allocator.keep_freed_memory()
take()
kept = resident_mb() - before
allocator.give_back_freed_memory()
print(kept, resident_mb() - before)
"""


def _printed(*parts: str) -> list[float]:
    script = "".join((BEGIN, *parts))
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return [float(word) for word in done.stdout.split()]


def test_what_is_kept_is_not_filled_again() -> None:
    (without,) = _printed(FAULTS)
    (kept,) = _printed("allocator.keep_freed_memory()", FAULTS)
    # Pages are of 4 to 64 KiB.
    assert without >= 5 * 64 * 2**20 / 2**16
    assert kept < without / 100


def test_what_is_kept_can_be_given_back() -> None:
    kept_mb, left_mb = _printed(GIVEN_BACK)
    assert kept_mb > 60
    assert left_mb < 20
