"""`python -m hushar`, and the console script."""

import sys

from hushar.cli import main

if __name__ == "__main__":
    sys.exit(main())
