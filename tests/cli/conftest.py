import logging

import pytest

from luminoth.cli.main import main


@pytest.fixture
def lumi(capsys):
    """Runs a command in this process; gives (exit status, standard output, standard error)."""

    def run(*arguments):
        level = logging.getLogger().level  # which a command may change for its process, as `--runner beam` does
        try:
            with pytest.raises(SystemExit) as stopped:
                main([str(argument) for argument in arguments])
        finally:
            logging.getLogger().setLevel(level)
        captured = capsys.readouterr()
        return stopped.value.code, captured.out, captured.err

    return run
