"""Who may import whom, what stays light, how long a file may be: docs/architecture.md, held by reading the source."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import luminoth

ROOT = Path(luminoth.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
LONGEST_FILE = 500

# A part is a folder or a file at the top of the package. Each may import itself and these others.
MAY_IMPORT = {
    "errors": "",
    "types": "",
    "fonts": "",
    "page": "",
    "web": "",
    "storage": "web",
    "image": "errors",
    "resize": "errors types image",
    "config": "errors types storage",
    "boxes": "errors types",
    "backbones": "errors types web boxes",
    "models": "errors types config boxes backbones",
    "data": "errors types fonts page web storage image resize config boxes",
    "checkpoints": "errors types web storage image resize config boxes models",
    "inference": "errors types fonts web image resize config boxes backbones models checkpoints",
    "evaluation": "errors types page image resize config boxes models checkpoints inference data",
    "training": "errors types image resize config boxes backbones models checkpoints inference data evaluation",
    "server": "errors types image inference",
    "cloud": "errors",
    "cli": "errors types web storage image resize config boxes models checkpoints inference data evaluation training "
    "server cloud",
}

# What these import at the top of a file besides Python's own library: they are loaded for every `--help`, or by
# someone who only wants a type. Other parts import what they need.
LIBRARIES_AT_TOP = {
    "__init__": "",
    "errors": "",
    "types": "numpy",
    "fonts": "PIL",
    "web": "",
    "image": "numpy PIL",
    "config": "pydantic pydantic_core yaml",
    "checkpoints": "numpy",
    "storage": "",
    "cloud": "",
    "cli": "click",
}


class Import(NamedTuple):
    line: int
    name: str  # of the module, as in luminoth.boxes.nms
    at_top: bool  # runs when the file is imported


def imports_of(tree: ast.AST, at_top: bool = True) -> Iterator[Import]:
    """All imports that run, wherever they stand; those under `if TYPE_CHECKING:` do not."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (Import(node.lineno, alias.name, at_top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute here"
            # `from luminoth import boxes` names a module too
            names = [f"luminoth.{alias.name}" for alias in node.names] if node.module == "luminoth" else [node.module]
            yield from (Import(node.lineno, name, at_top) for name in names)
        elif isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            yield from imports_of(ast.Module(node.orelse, []), at_top)
        else:
            is_body = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            yield from imports_of(node, at_top and not is_body)


def imports_in(file: Path) -> list[Import]:
    return list(imports_of(ast.parse(file.read_text(encoding="utf-8"))))


def part_of(file: Path) -> str:
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


def part_imported(name: str) -> str | None:
    """`luminoth.boxes.nms` -> `boxes`; None for other libraries and for what luminoth/__init__.py itself defines."""
    package, _, rest = name.partition(".")
    part = rest.partition(".")[0]
    is_part = (ROOT / part).is_dir() or (ROOT / f"{part}.py").is_file()
    return part if package == "luminoth" and part and is_part else None


def test_reading_imports():
    source = """
import numpy as np, luminoth.boxes.nms
from luminoth import __version__, errors
if TYPE_CHECKING:
    from luminoth.models.base import DetectionModel
else:
    import av
def body():
    if True:
        from luminoth.cli.main import main
class Thing:
    import keras
"""
    found = {(each.name, each.at_top) for each in imports_of(ast.parse(source))}
    assert found == {
        ("numpy", True),
        ("luminoth.boxes.nms", True),
        ("luminoth.__version__", True),
        ("luminoth.errors", True),
        ("av", True),
        ("luminoth.cli.main", False),
        ("keras", True),
    }
    assert part_imported("luminoth.boxes.nms") == "boxes"
    assert part_imported("luminoth.errors") == "errors"
    assert part_imported("luminoth.__version__") is None
    assert part_imported("numpy") is None


def test_every_part_has_its_rule():
    parts = {part_of(file) for file in FILES} - {"__init__"}
    assert parts == set(MAY_IMPORT), "state above, and in docs/architecture.md, what a new part may import"


@pytest.mark.parametrize("part", sorted(MAY_IMPORT))
def test_who_may_import_whom(part):
    allowed = {part, *MAY_IMPORT[part].split()}
    for file in (file for file in FILES if part_of(file) == part):
        for each in imports_in(file):
            imported = part_imported(each.name)
            assert imported is None or imported in allowed, f"{file}:{each.line} imports {each.name}"


def test_the_rules_have_no_circle():
    names = list(MAY_IMPORT)
    for position, part in enumerate(names):
        assert set(MAY_IMPORT[part].split()) <= set(names[:position]), part


def test_only_build_knows_the_configuration_in_models():
    readers = {file.name for file in FILES if part_of(file) == "models" and _sees(file, "config")}
    assert readers <= {"build.py"}


def test_commands_import_the_library_in_their_bodies():
    for file in (file for file in FILES if part_of(file) == "cli"):
        at_top = {part_imported(each.name) for each in imports_in(file) if each.at_top} - {None}
        assert at_top <= {"cli", "errors"}, file


@pytest.mark.parametrize("part", sorted(LIBRARIES_AT_TOP))
def test_light_parts(part):
    allowed = {"luminoth", *LIBRARIES_AT_TOP[part].split()}
    for file in (file for file in FILES if part_of(file) == part):
        for each in imports_in(file):
            library = each.name.partition(".")[0]
            is_light = library in sys.stdlib_module_names or library in allowed
            assert is_light or not each.at_top, f"{file}:{each.line} imports {each.name} at its top"


def test_only_commands_print_ask_and_exit():
    for file in (file for file in FILES if part_of(file) != "cli"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("print", "input", "exit", "sys.exit", "os._exit"), f"{file}:{node.lineno}"


def test_files_are_short():
    lines = {str(file.relative_to(ROOT)): len(file.read_text(encoding="utf-8").splitlines()) for file in FILES}
    too_long = {name: count for name, count in lines.items() if count > LONGEST_FILE}
    assert not too_long, "a file is one idea: which two are in these?"


def test_public_names_resolve():
    for name in luminoth.__all__:
        assert getattr(luminoth, name) is not None
    assert set(luminoth.__all__) == set(dir(luminoth)) == {*luminoth._PUBLIC_NAMES, "__version__"}
    with pytest.raises(AttributeError, match="no attribute 'Detecter'"):
        luminoth.Detecter  # noqa: B018


def test_no_module_hides_a_function_of_the_checkpoints_api():
    """Importing `luminoth.checkpoints.x` sets `x` on the package, over a function of that name."""
    tree = ast.parse((ROOT / "checkpoints" / "__init__.py").read_text(encoding="utf-8"))
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert {"load", "download", "list"} <= functions
    assert not functions & {path.stem for path in (ROOT / "checkpoints").iterdir()}


def test_importing_luminoth_imports_nothing_else():
    program = (
        "import sys\nbefore = set(sys.modules)\nimport luminoth\n"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) - set(sys.stdlib_module_names) == {"luminoth"}


def _sees(file: Path, part: str) -> bool:
    return any(part_imported(each.name) == part for each in imports_in(file))


def names_in(path: Path) -> set[str]:
    """What can be imported from a file, as far as it is written down there."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_imported_is_there(path):
    """Also inside functions, where it would show only when they run."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("luminoth."):
            place = ROOT.joinpath(*node.module.split(".")[1:])
            file = place.with_suffix(".py") if place.with_suffix(".py").exists() else place / "__init__.py"
            there = (
                names_in(file) | {each.stem for each in place.glob("*.py")} | {each.name for each in place.glob("*/")}
            )
            assert {alias.name for alias in node.names} <= there, f"line {node.lineno}"
