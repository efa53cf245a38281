"""Who runs this process: a container may give it a number that no user has."""

from __future__ import annotations

import getpass
import os
import sys
import tempfile
from pathlib import Path


def make_known() -> None:
    """Gives this process, and what it starts, a home folder and a user's name where it has none.

    MLflow and DVC ask for both, and end with a traceback where the user's number is in no list and
    the variables are not set.
    """
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = tempfile.gettempdir()
        told = f"warning: this user has no home folder: {os.environ['HOME']} is taken; set HOME"
        print(told, file=sys.stderr)
    if not os.access(Path.home(), os.W_OK):
        # matplotlib would tell at each start that it can't keep its list of fonts there.
        fonts = Path(tempfile.gettempdir(), f"matplotlib-{os.getuid()}")
        os.environ.setdefault("MPLCONFIGDIR", str(fonts))
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["USER"] = str(os.getuid())
