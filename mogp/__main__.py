"""`python -m mogp` is the `mogp` command."""

import sys

if __name__ == "__main__":
    try:
        from mogp.app.command import main
    except KeyboardInterrupt:  # while modules are loaded, which takes seconds
        sys.stderr.write("mogp: interrupted; nothing was begun\n")
        sys.exit(130)
    main()
