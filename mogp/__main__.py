"""`python -m mogp` is the `mogp` command."""

from mogp.app.command import main

if __name__ == "__main__":
    main()
