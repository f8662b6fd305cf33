"""`lumi checkpoint` on this machine: the commands as they are typed, and Luminoth's tutorial."""

import json
import re
import subprocess
import sys

import pytest

from luminoth.cli import checkpoint_list, checkpoint_options
from tests.checkpoints.light import EMBEDDED_ID, evaluated, light_run


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    """A folder with a trained run and its configuration, and a home of the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LUMI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "80")
    light_run(tmp_path / "jobs" / "traffic-run", 1000, 2000)
    (tmp_path / "config.yml").write_text("train: {job_dir: jobs, run_name: traffic-run}\ndataset: {dir: tf}\n")


@pytest.fixture
def lumi(lumi):
    """Runs `lumi checkpoint ...`: (exit status, standard output, standard error)."""
    return lambda *arguments: lumi("checkpoint", *arguments)


@pytest.fixture
def made(lumi):
    """The id of a checkpoint `traffic`."""
    status, out, _ = lumi("create", "config.yml", "-e", "name=OpenImages Traffic", "-e", "alias=traffic")
    assert status == 0
    return re.fullmatch(r"Checkpoint ([0-9a-f]{12}) created successfully.\n", out)[1]


def test_the_tutorial_of_luminoth_as_it_is_typed(lumi, monkeypatch, tmp_path):
    status, out, err = lumi("create", "config.yml", "-e", "name=OpenImages Traffic", "-e", "alias=traffic")
    assert (status, err.splitlines()[0]) == (0, "Creating checkpoint for given configuration...")
    identity = re.fullmatch(r"Checkpoint ([0-9a-f]{12}) created successfully.\n", out)[1]

    status, out, _ = lumi("list")
    assert status == 0
    assert re.search(rf"^{identity}  traffic  OpenImages Traffic .* LOCAL ", out, re.MULTILINE)
    assert re.search(r"accurate .*NOT_DOWNLOADED  46\.7", out)
    assert (tmp_path / "home" / "checkpoints" / identity / "config.yml").is_file()

    status, out, err = lumi("export", identity)
    assert (status, out, err) == (0, f"{identity}.tar\n", f"Checkpoint {identity} exported successfully.\n")
    monkeypatch.setenv("LUMI_HOME", str(tmp_path / "elsewhere"))
    status, out, err = lumi("import", f"{identity}.tar")
    assert (status, out) == (0, f"Checkpoint {identity} imported successfully.\n")
    assert err == "Use it: lumi predict IMAGE --checkpoint traffic\n"
    status, out, err = lumi("import", f"{identity}.tar")
    assert (status, out, err) == (0, "", f"Checkpoint {identity} is there already, with the same content.\n")
    assert lumi("delete", identity, "--yes")[:2] == (0, f"Checkpoint {identity} deleted successfully.\n")
    assert lumi("import", f"{identity}.tar")[0] == 0


def test_the_list(lumi, made):
    lines = lumi("list", "--local")[1].splitlines()
    assert lines[0].split() == ["id", "alias", "name", "status", "AP", "MB"]
    assert [line.split()[0] for line in lines[2:]] == [made, EMBEDDED_ID]
    rows = json.loads(lumi("list", "--json")[1])
    assert [(row["id"], row["status"]) for row in rows[:2]] == [(made, "LOCAL"), (EMBEDDED_ID, "LOCAL")]
    assert {row["status"] for row in rows[2:]} == {"NOT_DOWNLOADED"}
    assert (rows[0]["name"], rows[0]["data"]["classes"], rows[2]["folder"]) == ("OpenImages Traffic", 2, None)


def test_the_list_fits_a_terminal(lumi, made, monkeypatch):
    monkeypatch.setattr(checkpoint_list, "_is_terminal", lambda: True)
    lumi("edit", made, "-e", "name=" + "x" * 100 + "漢字")
    out = lumi("list")[1]
    assert max(map(len, out.splitlines())) <= 80
    assert re.search(rf"^{made}  traffic  x+…  LOCAL", out, re.MULTILINE)


def test_what_cannot_be_read_is_said(lumi, tmp_path, made):
    (tmp_path / "home" / "checkpoints" / made / "metadata.json").write_text('{"format": 5}')
    status, out, err = lumi("list", "--local")
    assert (status, made in out) == (0, False)
    assert re.fullmatch(rf"Warning: left out: .*{made}: its metadata.json is of format 5, .*: update Luminoth\n", err)


def test_create(lumi, tmp_path):
    run = tmp_path / "jobs" / "traffic-run"
    evaluated(run, 1000, 0.5)
    evaluated(run, 2000, 0.4)
    evaluated(run, 1500, 0.9)
    status, out, err = lumi(
        "create", "-c", "config.yml", "--checkpoint", "best", "--half", "--json", "-e", "licence=CC0"
    )
    assert status == 0
    entry = json.loads(out)
    assert (entry["scores"], entry["licence"]) == ({"data_set": "val", "AP": 0.5, "AP50": 1.0}, "CC0")
    assert "The best of 3 evaluated on val: step 1000, AP 0.5000\n" in err
    assert "Warning: better ones are not kept any more: step 1500" in err
    assert lumi("create", "jobs/traffic-run", "--checkpoint", "2000")[0] == 0
    assert lumi("create", "jobs/traffic-run/ckpt-1000")[0] == 0
    assert lumi("create", "-c", "config.yml", "-o", "train.run_name=absent")[::2] == (
        1, "Error: jobs/absent: no checkpoint in there (looked for ckpt-<step>); is this a run's folder?\n",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "state the run: its configuration files, or its folder"),
        (["jobs/traffic-run", "config.yml"], "state either one folder or configuration files"),
        (["jobs/traffic-run/ckpt-1000", "--checkpoint", "best"], "is one checkpoint: --checkpoint goes with a run"),
        (["config.yml", "-e", "alias"], "must be field=value"),
        (["config.yml", "-e", "alias=a", "-e", "alias=b"], "alias is stated twice"),
    ],
)
def test_wrong_usage_of_create(lumi, arguments, said):
    status, _, err = lumi("create", *arguments)
    assert (status, said in err) == (2, True)


def test_info(lumi, made):
    status, out, err = lumi("info", "traffic", "--check")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"OpenImages Traffic ({made}, traffic)"
    assert "Classes       2: car, bus" in lines
    assert "Source        trained as traffic-run, step 2000" in lines
    assert "Trained on    30 images" in lines
    assert "Files         all as published" in lines
    assert "run_name: null" in lumi("info", "traffic", "-c")[1]
    values = json.loads(lumi("info", "toytown", "--json")[1])
    assert (values["id"], values["class_names"][0], values["is_embedded"]) == (EMBEDDED_ID, "bicycle", True)
    remote = lumi("info", "accurate")[1]
    assert "Status        NOT_DOWNLOADED" in remote
    assert "AP 46.7 on COCO val2017" in remote
    assert "BSD-3-Clause" in remote
    assert max(map(len, lumi("info", "toytown")[1].splitlines()[:-1])) <= 80


def test_damage_is_found(lumi, made, tmp_path):
    with (tmp_path / "home" / "checkpoints" / made / "classes.json").open("a") as file:
        file.write(" ")
    status, out, _ = lumi("info", "traffic", "--check")
    assert (status, "Files         damaged: classes.json" in out) == (1, True)
    assert lumi("export", "traffic")[::2][0] == 1


def test_edit(lumi, made):
    assert lumi("edit", "traffic", "-e", "alias=street", "-e", "description=a=b") == (
        0, f"Checkpoint {made} edited successfully.\n", "",
    )  # fmt: skip
    values = json.loads(lumi("edit", "street", "-e", "name=", "--json")[1])
    assert (values["alias"], values["description"], values["name"]) == ("street", "a=b", "")
    assert lumi("edit", "street")[0] == 2
    status, _, err = lumi("edit", "street", "-e", "id=3")
    assert (status, err.startswith("Error: id: no field that can be set")) == (1, True)


def test_two_of_one_alias(lumi, made):
    newest = json.loads(lumi("create", "config.yml", "-e", "alias=traffic", "--json")[1])["id"]
    _, out, err = lumi("info", "traffic", "--json")
    taken = json.loads(out)["id"]
    other = ({made, newest} - {taken}).pop()
    assert err == f"`traffic` is the alias of 2 checkpoints; {taken} is taken, not {other}.\n"
    status, _, err = lumi("delete", "traffic", "--yes")
    assert (status, err.count("\n")) == (1, 1)
    assert "delete one by its id" in err


def test_delete_asks_on_a_terminal_only(lumi, made, monkeypatch):
    status, _, err = lumi("delete", "traffic")
    assert (status, "say so with --yes" in err) == (2, True)
    asked = []
    monkeypatch.setattr(checkpoint_options, "_is_terminal", lambda: True)
    monkeypatch.setattr("click.confirm", lambda question, err: asked.append(question))
    assert lumi("delete", "traffic") == (1, "", "Nothing was deleted.\n")
    assert asked[0].startswith(f"Delete checkpoint {made} (traffic, OpenImages Traffic), 0.0 MB?")
    monkeypatch.setattr("click.confirm", lambda question, err: True)
    assert lumi("delete", "traffic")[0] == 0
    assert lumi("delete", "traffic", "--yes")[::2] == (
        1, "Error: no checkpoint has the id or alias `traffic`; available: toytown\n",
    )  # fmt: skip


def test_export_and_import(lumi, made, tmp_path):
    assert lumi("export", "traffic", "--output", "shared")[1] == f"shared/{made}.tar\n"
    assert json.loads(lumi("export", "traffic", "--output", "mine.tar", "--json")[1])["file"] == "mine.tar"
    status, _, err = lumi("export", "traffic", "--output", "shared")
    assert (status, err) == (1, f"Error: shared/{made}.tar: exists already; remove it or choose another destination\n")
    values = json.loads(lumi("import", "mine.tar", "--new-id", "--json")[1])
    assert values["is_new"]
    assert values["id"] != made
    (tmp_path / "junk.tar").write_bytes(b"<html>" * 999)
    assert lumi("import", "junk.tar")[::2] == (
        1, "Error: junk.tar: is no tar file, or damaged or compressed; give the .tar that was exported\n",
    )  # fmt: skip
    assert lumi("export", "toytown")[1] == f"{EMBEDDED_ID}.tar\n"


def test_diff(lumi, made):
    status, out, _ = lumi("diff", "traffic", "jobs/traffic-run/ckpt-2000")
    assert status == 0
    assert "Configuration: 2 keys differ\n" in out or "Configuration: the same\n" in out
    assert "Classes: the same\n" in out
    assert "Weights: all 32 numbers are the same\n" in out
    assert "  alias\n    A  traffic\n" in out
    out = lumi("diff", "traffic", "toytown")[1]
    assert "  only in B: bicycle, person, traffic light, truck\n" in out
    values = json.loads(lumi("diff", "traffic", "toytown", "--json")[1])
    assert (values["classes_only_b"][0], values["tensors_only_a"]) == (
        "bicycle",
        ["backbone/conv1/bias", "head/kernel"],
    )


def test_none_of_these_commands_loads_tensorflow(tmp_path):
    program = """
import contextlib, io, sys
from luminoth.cli.main import main
def lumi(*arguments):
    said = io.StringIO()
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(said):
        main(["checkpoint", *arguments])
    return said.getvalue()
lumi("create", "config.yml", "-e", "alias=traffic")
lumi("edit", "traffic", "-e", "name=Traffic")
lumi("list")
lumi("info", "traffic")
lumi("export", "traffic", "--output", "a.tar")
lumi("diff", "traffic", "toytown")
lumi("delete", "traffic", "--yes")
assert "imported successfully" in lumi("import", "a.tar")
assert not {"tensorflow", "keras"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
