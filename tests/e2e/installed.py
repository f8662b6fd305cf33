"""Runs the installed `lumi` as its users do: as a process of its own."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path


class Result:
    """What a command left: its exit status, standard output, and the lines on standard error."""

    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err.splitlines()


class Lumi:
    """Runs the installed command in a folder; checks what holds for every call.

    Args:
        folder: the working directory of the commands.
        home: for `$LUMI_HOME`; by default below `folder`.
        environment: more variables.
    """

    def __init__(self, folder, home=None, environment=None):
        self.folder = folder
        beside = Path(sys.executable).with_name("lumi")
        self._program = str(beside) if beside.exists() else shutil.which("lumi")
        assert self._program, "lumi is not installed: pip install ."
        # As in a fresh terminal: nothing that the suite sets to keep TensorFlow quiet.
        self._environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("TF_", "ABSL_", "LUMI_"))
        } | {"CUDA_VISIBLE_DEVICES": "-1", "LUMI_HOME": str(home or folder / "home"), **(environment or {})}

    def __call__(self, *arguments, status=0):
        done = subprocess.run(
            self._command(arguments), cwd=self.folder, env=self._environment, capture_output=True, text=True
        )
        return self._checked(Result(done.returncode, done.stdout, done.stderr), status)

    def interrupt(self, *arguments, at):
        """Runs a command until a line on standard error starts with `at`; then Ctrl-C."""
        process = subprocess.Popen(
            self._command(arguments), cwd=self.folder, env=self._environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        lines = []
        for line in process.stderr:
            lines.append(line)
            if line.startswith(at):
                process.send_signal(signal.SIGINT)
        out = process.stdout.read()
        return self._checked(Result(process.wait(timeout=60), out, "".join(lines)), 130)

    def _command(self, arguments):
        return [self._program, *map(str, arguments)]

    def _checked(self, result, status):
        everything = "\n".join([result.out, *result.err])
        assert result.status == status, everything
        for chatter in ("oneDNN", "absl", "WARNING", "Traceback", "cuda", "I0000", "retracing"):
            assert chatter not in everything, everything
        return result
