"""How long the command line takes to answer.

    python -m benchmarks.cli_start [--rounds 9]

Times `lumi --help` and others as whole processes, beside a bare Python.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys

from benchmarks.machine import in_turn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    lumi = shutil.which("lumi") or sys.exit("no `lumi` on the PATH: install the project first")
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "lumi --help": [lumi, "--help"],
        "lumi train --help": [lumi, "train", "--help"],
        "lumi predict --help": [lumi, "predict", "--help"],
        "lumi config show": [lumi, "config", "show"],
    }
    contestants = {
        name: lambda command=command: subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        for name, command in commands.items()
    }
    for name, times in in_turn(contestants, rounds).items():
        print(f"{name:22} {statistics.median(times):6.3f} s   ({min(times):.3f} to {max(times):.3f})")


if __name__ == "__main__":
    main()
