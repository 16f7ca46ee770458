"""`python -m mogp` is the `mogp` command."""

from mogp.cli import main

if __name__ == "__main__":
    main()
