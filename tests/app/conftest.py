"""The command in this process, and Ctrl-C at a chosen moment."""

import signal

import pytest
import tqdm.auto

from mogp.app.command import main


@pytest.fixture
def run(capsys):
    """Run the command in this process: exit code, standard output, standard error."""

    def run(*arguments):
        with pytest.raises(SystemExit) as caught:
            main(*arguments)
        return caught.value.code or 0, *capsys.readouterr()

    return run


@pytest.fixture
def interrupt(monkeypatch):
    """Ctrl-C during the given piece of work (an epoch, some draws), counted from now on; or never.

    Returns the list of the pieces done, one entry each.
    """
    update, pieces = tqdm.auto.tqdm.update, []

    def interrupt(at):
        def signalled(bar, n=1):
            pieces.append(n)
            if len(pieces) == at:
                signal.raise_signal(signal.SIGINT)
            return update(bar, n)

        monkeypatch.setattr(tqdm.auto.tqdm, "update", signalled)
        return pieces

    return interrupt
