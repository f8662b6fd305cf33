"""README and docs are true: their commands parse, links lead somewhere, Python runs, YAML loads.

Nothing is trained or converted here; commands are held against the real command tree without running them.
"""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
import pytest
import yaml
from PIL import Image

from luminoth.checkpoints.store import find_checkpoint
from luminoth.cli.main import lumi
from luminoth.config import load_config
from luminoth.data.readers import reader_class, reader_names
from luminoth.data.toytown import draw_scene, write_toytown_video

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

# What the pages call "not there yet". A command that has come since fails a test here: then the pages must change.
NOT_THERE_YET = ("export", "benchmark", "doctor")

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`(lumi [^`\n]+)`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
# Our commands with what may stand in front (`pip install . &&`, `$`, `CUDA_VISIBLE_DEVICES=1`), up to a pipe or `&&`.
_COMMAND = re.compile(r"(?:^|&& |^\$ )(?:[A-Z_]+=\S+ )?(lumi .+?)(?= && | \| |$)", re.MULTILINE)


class Block(NamedTuple):
    """A fenced block: language, text, and the line it starts at."""

    language: str
    text: str
    line: int


def blocks_of(page: Path) -> list[Block]:
    """All fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    return [Block(found[1], found[2], text[: found.start()].count("\n") + 2) for found in _FENCE.finditer(text)]


def in_all_pages(*languages: str) -> list:
    """The blocks in these languages of all pages, as parameters whose ids say where they are."""
    return [
        pytest.param(block.text, id=f"{page.name}:{block.line}")
        for page in PAGES
        for block in blocks_of(page)
        if block.language in languages
    ]


def commands_of(page: Path) -> list[str]:
    """The `lumi ...` lines in blocks without output, and those that examples of output suggest."""
    text = "\n".join(block.text for block in blocks_of(page) if block.language in ("bash", "sh", ""))
    return [found.strip() for found in _COMMAND.findall(text.replace("\\\n", " "))]


def inline_commands_of(page: Path) -> list[str]:
    """The commands named in running text; they may be shortened."""
    return _INLINE.findall(_FENCE.sub("", page.read_text(encoding="utf-8")))


def words_of(command: str) -> list[str]:
    """Its words after `lumi`, without `--debug`, which may stand anywhere."""
    return [word for word in shlex.split(command, comments=True)[1:] if word != "--debug"]


def find_command(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that words lead to, and what is left of them.

    Raises:
        AssertionError: there is no such command.
    """
    command, rest = lumi, list(words)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        below = command.get_command(click.Context(command), name)
        assert below is not None, f"no command {name!r} in `lumi {' '.join(words)}`"
        command = below
    return command, rest


def parse(command: str) -> tuple[click.Command, dict]:
    """Parses a command line as click would, without running it; the values of its options."""
    found, rest = find_command(words_of(command))
    try:
        return found, found.make_context(found.name, rest).params
    except click.exceptions.Exit:  # --help, --version
        return found, {}
    except click.UsageError as error:
        raise AssertionError(f"`{command}`: {error.format_message()}") from error


ALL_COMMANDS = [(page, command) for page in PAGES for command in dict.fromkeys(commands_of(page))]


@pytest.mark.parametrize("command", [pytest.param(each, id=f"{page.name}: {each}") for page, each in ALL_COMMANDS])
def test_commands_exist_with_their_options(command):
    _, values = parse(command)
    files = [str(file) for file in values.get("files", values.get("configs", ()))]
    for file in files:  # a recipe that is named must be there
        assert not file.startswith("configs/") or (ROOT / file).is_file(), file
    if "reader_type" in values:
        names = reader_names() if values["reader_type"] in (None, "auto") else [values["reader_type"]]
        known = {option for name in names for option in reader_class(name).all_options()}
        assert {override.partition("=")[0] for override in values["overrides"]} <= known
    elif "overrides" in values:
        load_config([ROOT / file for file in files if file.startswith("configs/")], values["overrides"])


def test_the_commands_are_found_at_all():
    """Guards the test above against a pattern that finds nothing."""
    found = {page.name: len(commands_of(page)) for page in PAGES}
    expected = {"README.md": 6, "datasets.md": 10, "training.md": 4, "evaluation.md": 6, "prediction.md": 6}
    assert all(found[name] >= least for name, least in expected.items()), found
    assert any(command.startswith("lumi predict docs/media/") for command in commands_of(ROOT / "README.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_running_text_exist(page):
    for command in inline_commands_of(page):
        words = words_of(command)
        if words[0] in NOT_THERE_YET or " ".join(words[:2]) in NOT_THERE_YET:
            continue
        found, rest = find_command([word for word in words if word not in ("...", "|")])
        options = {name for option in found.params for name in (*option.opts, *option.secondary_opts)}
        used = {word.partition("=")[0] for word in rest if word.startswith("-")}
        assert used <= options | {"--help"}, f"`{command}`: no option {', '.join(used - options)}"


@pytest.mark.parametrize("name", NOT_THERE_YET)
def test_what_is_not_there_yet_is_not_there(name):
    with pytest.raises(AssertionError, match="no command"):
        find_command(name.split())


@pytest.mark.parametrize("command", ["", *lumi.list_commands(click.Context(lumi))])
def test_examples_of_the_help_parse(command):
    def walk(found: click.Command) -> Iterator[str]:
        yield from re.findall(r"^ +(lumi .+?)(?: >.*)?$", found.help or "", re.MULTILINE)
        for below in getattr(found, "commands", {}).values():
            yield from walk(below)

    examples = list(walk(find_command(command.split())[0]))
    assert examples
    for example in examples:
        _, values = parse(example)
        for file in values.get("files", ()):
            assert not str(file).startswith("configs/") or (ROOT / file).is_file(), example


# --- Links ------------------------------------------------------------


def anchors_of(page: Path) -> set[str]:
    """The anchors that forges and mkdocs make of a page's headings."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    broken = []
    for target in _LINK.findall(_FENCE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue  # another site's
        name, _, anchor = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        if not linked.exists():
            broken.append(f"{target}: there is no such file")
        elif anchor and anchor not in anchors_of(linked):
            broken.append(f"{target}: there is no such heading")
    assert not broken


def test_the_navigation_names_every_page():
    navigation = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    named = [name for entry in navigation for name in entry.values()]
    assert sorted(named) == sorted(page.name for page in PAGES[1:])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_installs_are_from_the_source_tree(page):
    """The package index has the predecessor under our name."""
    assert not re.search(r"pip install [\"']?luminoth", page.read_text(encoding="utf-8"))


# --- Snippets ------------------------------------------------------------


@pytest.mark.parametrize("text", in_all_pages("yaml"))
def test_yaml_is_a_configuration_file(text, tmp_path):
    path = tmp_path / "snippet.yml"
    path.write_text(text, encoding="utf-8")
    load_config([path])


@pytest.mark.parametrize("text", in_all_pages("python"))
def test_imports_resolve(text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module.partition(".")[0] == "luminoth":
            module = importlib.import_module(node.module)
            for name in node.names:
                assert hasattr(module, name.name), f"{node.module} has no {name.name}"
        elif isinstance(node, ast.Import):
            for name in node.names:
                if name.name.partition(".")[0] == "luminoth":
                    importlib.import_module(name.name)


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """The folder that the page about Python speaks of, with the checkpoint in the package as a run of its own."""
    monkeypatch.chdir(tmp_path)
    pixels, _ = draw_scene(1, 16)
    Image.fromarray(pixels).save("street.jpg")
    Path("photos").mkdir()
    for index in range(2):
        Image.fromarray(pixels[:, index * 40 :]).save(f"photos/{index}.jpg")
    write_toytown_video("street.mp4", seconds=0.2, fps=10, image_size=(160, 240))
    shutil.copytree(find_checkpoint("toytown"), "jobs/first-try/ckpt-2000")
    Path("config.yml").write_text("train: {run_name: first-try}", encoding="utf-8")
    return tmp_path


@pytest.mark.slow
def test_the_page_about_python_runs_as_it_stands(workspace, capsys):
    names: dict = {}
    for block in blocks_of(ROOT / "docs" / "python-api.md"):
        if block.language == "python":
            exec(compile(block.text, f"python-api.md:{block.line}", "exec"), names)
    printed = capsys.readouterr().out
    assert "missing.jpg: there is no such file" in printed
    assert "backbone/conv1/kernel (7, 7, 3," in printed
    assert {each["label"] for each in names["detector"].predict("street.jpg")} <= set(names["detector"].class_names)
    assert {path.name for path in workspace.glob("*.png")} == {"out.png", "all.png", "bus.png"}
