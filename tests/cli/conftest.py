import pytest

from luminoth.cli.main import main


@pytest.fixture
def lumi(capsys):
    """Runs a command in this process; gives (exit status, standard output, standard error)."""

    def run(*arguments):
        with pytest.raises(SystemExit) as stopped:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return stopped.value.code, captured.out, captured.err

    return run
