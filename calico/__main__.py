"""`python -m calico COMMAND`, the same as the command `calico-COMMAND`."""

import sys

from calico.cli import main

if __name__ == "__main__":
    sys.exit(main())
