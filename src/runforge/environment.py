"""What a run's process finds: the machine, Python and every installed package."""

from __future__ import annotations

import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path

_QUERY = ("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
_ANSWER_TIMEOUT_S = 20


def cpu() -> str:
    """The processor's name, as the system has it."""
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8", errors="replace") if info.is_file() else ""
    named = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return named[1] if named else platform.processor() or platform.machine()


def gpus() -> tuple[str, ...]:
    """The names of the GPUs; none where there is no program to ask."""
    try:
        done = subprocess.run(_QUERY, capture_output=True, timeout=_ANSWER_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(done.stdout.decode(errors="replace").splitlines())


def versions(names: tuple[str, ...]) -> dict[str, str]:
    """The versions of those packages that are installed."""
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def requirements() -> str:
    """Every installed package as `name==version`, one a line.

    Of one that is there twice, as with a folder of one's own before the environment's, the one
    that Python imports.
    """
    pins = {
        str(one.name): f"{one.name}=={one.version}" for one in [*metadata.distributions()][::-1]
    }
    return "".join(f"{pin}\n" for pin in sorted(pins.values(), key=str.lower))
