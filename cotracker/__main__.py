"""`python -m cotracker` is the command `cotracker`."""

import sys

from cotracker.cli import main

if __name__ == "__main__":
    sys.exit(main())
