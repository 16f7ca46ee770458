"""The `mogp` command in a process of its own; `python -m mogp` is the same."""

import os
import signal
from typing import Any


def main() -> None:
    """Run the command; a signal while its modules are loaded, which takes seconds, ends it."""

    def end(number: int, _: Any) -> None:  # an exception would break off a module anywhere
        os.write(2, b"mogp: interrupted; nothing was begun\n")
        os._exit(128 + number)

    asked = signal.SIGINT, signal.SIGTERM
    old = {
        each: signal.signal(each, end)
        for each in asked
        if signal.getsignal(each) is not signal.SIG_IGN
    }
    from mogp.app.command import main as command

    for each, handler in old.items():
        signal.signal(each, handler)
    command()


if __name__ == "__main__":
    main()
