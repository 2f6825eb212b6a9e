"""`python -m heldout.data.frequency count|law`."""

import sys

from heldout.data.frequency.command import run

if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
