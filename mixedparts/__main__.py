"""`python -m mixedparts`, the same as the command `mixedparts`."""

from mixedparts.cli import main

if __name__ == "__main__":
    main()
