"""Every `--help` answers at once, and says how the command is used."""

import json
import subprocess
import sys
from importlib.metadata import version

import pytest

import luminoth

HEAVY = ("tensorflow", "keras", "flask", "av", "google", "h5py", "hotcoco", "numpy", "PIL", "rich")

# Asks every command and subcommand for its help in one process, and after each what has been loaded.
WALK = """
import contextlib, io, json, sys
from luminoth.cli.main import lumi, main

def run(*arguments):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(list(arguments))
        except SystemExit as ended:
            status = ended.code
    return {"status": status, "out": out.getvalue(), "err": err.getvalue(), "loaded": sorted(sys.modules)}

def walk(command, path):
    yield path
    for name, sub in sorted(getattr(command, "commands", {}).items()):
        yield from walk(sub, (*path, name))

paths = [()]
for name in lumi.list_commands(None):
    paths += walk(lumi.get_command(None, name), (name,))
found = {" ".join(path): run(*path, "--help") for path in paths}
found["-h"] = run("train", "-h")
found["nothing"] = run()
found["version"] = run("--version")
found["unknown"] = run("detect")
found["unknown below"] = run("dataset", "shrink")
json.dump(found, sys.stdout)
"""


@pytest.fixture(scope="module")
def found():
    """What came of each call: status, out, err, loaded (names of modules)."""
    done = subprocess.run([sys.executable, "-c", WALK], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def helps(found):
    return {path: each for path, each in found.items() if each["out"].startswith("Usage:") and path != "nothing"}


def test_all_commands_are_there(helps):
    groups = {"dataset": ["merge", "toytown", "transform"], "config": ["check", "show"]}
    below = [f"{group} {name}" for group, names in groups.items() for name in names]
    assert {"", "train", "eval", "predict", *groups, *below} <= set(helps)


def test_help_loads_nothing_heavy(helps):
    for path, each in helps.items():
        assert set(HEAVY) & set(each["loaded"]) == set(), path


def test_help_exits_0_with_examples(helps):
    for path, each in helps.items():
        assert (each["status"], each["err"]) == (0, ""), path
        text = each["out"]
        assert "Examples:\n" in text, path
        example = text.partition("Examples:\n")[2].splitlines()[0]
        assert example.startswith(f"    lumi {path}".rstrip()) or path == "-h", (path, example)


def test_help_fits_the_terminal(helps):
    for path, each in helps.items():
        assert max(map(len, each["out"].splitlines())) <= 120, path


def test_h_is_help(found):
    assert found["-h"]["out"] == found["train"]["out"]


def test_lumi_alone_shows_its_help(found):
    shown = found["nothing"]
    assert shown["status"] == 2  # nothing was done
    assert shown["out"] + shown["err"] == found[""]["out"]


def test_version(found):
    assert found["version"]["out"] == f"lumi, version {luminoth.__version__}\n"
    assert version("luminoth") == luminoth.__version__


def test_unknown_commands_exit_2(found):
    for name, word in (("unknown", "detect"), ("unknown below", "shrink")):
        assert (found[name]["status"], found[name]["out"]) == (2, "")
        assert found[name]["err"].splitlines()[-1] == f"Error: No such command '{word}'."
