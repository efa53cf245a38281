"""The most memory that preparing takes, measured in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.odd.cases import Case, make_project

PROGRAM = """
import re, sys
from pathlib import Path
from runforge.cli import main
code = main(["stage", "prepare"])
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
print(code, int(peak[1]) // 1024)
"""
"""The process asks for its own peak: what its parent would be told includes the parent's."""


def peak_mib(case: Case, folder: Path) -> tuple[int, int]:
    """Exit code and largest resident memory in MiB of `runforge stage prepare`."""
    make_project(folder, case)
    program = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(program, cwd=folder, capture_output=True, text=True, timeout=120)
    code, peak = done.stdout.split()
    return int(code), int(peak)
