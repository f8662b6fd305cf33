import pytest
from click.testing import CliRunner

from luminoth.cli.config import config as command
from luminoth.cli.main import main
from luminoth.config import load_config


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(text, name="my.yml"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return name

    return write


def run(arguments, capsys):
    """Status, standard output and standard error of `lumi config ...`."""
    with pytest.raises(SystemExit) as caught:
        main(["config", *arguments])
    output = capsys.readouterr()
    return caught.value.code, output.out, output.err


def test_show_says_where_each_value_comes_from(file, capsys):
    status, shown, said = run(["show", "-c", file("train: {seed: 3}"), "-o", "train.batch_size=2"], capsys)
    assert (status, said) == (0, "")
    lines = [line.split() for line in shown.splitlines()]
    assert ["seed:", "3", "#", "my.yml"] in lines
    assert ["batch_size:", "2", "#", "-o"] in lines
    assert ["job_dir:", "jobs/", "#", "default"] in lines


@pytest.mark.parametrize("flags", [[], ["--plain"]])
def test_what_show_prints_is_a_configuration_file(file, capsys, flags):
    name = file("train: {seed: 3}\nmodel: {network: {num_classes: 4}}")
    _, shown, _ = run(["show", name, *flags], capsys)
    assert load_config([file(shown, "shown.yml")]) == load_config([name])
    assert ("#" in shown) is (flags == [])


def test_show_without_a_file_shows_the_defaults(capsys):
    status, shown, _ = run(["show"], capsys)
    assert status == 0
    assert {line.rpartition("#")[2].strip() for line in shown.splitlines() if "#" in line} == {"default"}


def test_check_says_ok(file, capsys):
    status, said, _ = run(["check", file("train: {seed: 3}"), file("train: {seed: 4}", "mine.yml")], capsys)
    assert (status, said) == (0, "my.yml, mine.yml: OK\n")


def test_check_lists_every_problem_and_fails(file, capsys):
    status, said, complaint = run(["check", "-c", file("train:\n  seed: x\n  sead: 1\n")], capsys)
    assert (status, said) == (1, "")
    assert complaint == (
        "Error: 2 problems in the configuration:\n"
        "  my.yml:2: train.seed is x; accepted: a whole number from 0 to 2147483647 or empty\n"
        "  my.yml:3: train.sead is not a known key; did you mean train.seed?\n"
    )


def test_check_warns_of_keys_without_effect(file, capsys):
    status, said, warned = run(["check", file("train: {tf_debug: true}")], capsys)
    assert (status, said) == (0, "my.yml: OK\n")
    assert warned == "Warning: no effect on TensorFlow 2, ignored: train.tf_debug\n"


@pytest.mark.parametrize(
    ("arguments", "status"), [(["check"], 2), (["show", "--colour"], 2), (["check", "none.yml"], 1), (["nothing"], 2)]
)
def test_wrong_usage_and_failures_have_their_status(tmp_path, monkeypatch, capsys, arguments, status):
    monkeypatch.chdir(tmp_path)
    found, out, error = run(arguments, capsys)
    assert (found, out) == (status, "")
    assert error


@pytest.mark.parametrize("arguments", [["--help"], ["show", "--help"], ["check", "--help"]])
def test_help(arguments):
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0
    assert result.output.startswith("Usage:")
