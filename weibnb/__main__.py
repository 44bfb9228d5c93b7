"""`python -m weibnb`: the command line, where the script `weibnb` is not on the path."""

import sys

from weibnb.cli import main

if __name__ == "__main__":
    sys.exit(main())
