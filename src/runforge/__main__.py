"""`python -m runforge`: the same as the command `runforge`."""

import sys

if not sys.flags.safe_path:
    # `-m` puts the working directory first: a user's `queue.py` there would be taken for Python's.
    del sys.path[0]

from runforge.cli import main

if __name__ == "__main__":
    sys.exit(main())
