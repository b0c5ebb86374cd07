"""``python -m dpbench`` is ``dpbench``."""

import sys

from dpbench.cli.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
