"""`python -m runforge`: the same as the command `runforge`."""

import sys

from runforge.cli import main

if __name__ == "__main__":
    sys.exit(main())
