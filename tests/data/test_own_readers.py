"""Readers of other packages: the example of the documentation as it stands, and packages that do not work."""

import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from luminoth.cli.main import main
from luminoth.data.readers import READERS, open_reader, reader_class, reader_names, recognise_type
from luminoth.data.record_files import find_records, read_classes
from luminoth.data.records import decode_example, read_records
from luminoth.errors import DataError
from tests.data.source_sets import picture_bytes

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "labelled_lines"


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Makes a package as an installer leaves it: modules and a dist-info on Python's path."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)

    def make(package, entry_points, **modules):
        info = site / f"{package.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = "".join(f"{name} = {value}\n" for name, value in entry_points.items())
        (info / "entry_points.txt").write_text(f"[luminoth.readers]\n{lines}")
        for name, source in modules.items():
            (site / f"{name}.py").write_text(source)
            monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.syspath_prepend(site / "later")  # Python's path is another one: it is looked through again

    yield make
    for name in [name for name, module in sys.modules.items() if str(site) in str(getattr(module, "__file__", ""))]:
        del sys.modules[name]


@pytest.fixture
def example(install):
    """The documented package, with the entry points that its pyproject.toml states."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text("utf-8"))
    (module,) = project["tool"]["setuptools"]["py-modules"]
    source = (EXAMPLE / f"{module}.py").read_text("utf-8")
    install(project["project"]["name"], project["project"]["entry-points"]["luminoth.readers"], **{module: source})


@pytest.fixture
def folder(tmp_path):
    """A set in the example's format."""
    (tmp_path / "set" / "pictures").mkdir(parents=True)
    for name in ("street.jpg", "empty.JPG"):
        (tmp_path / "set" / "pictures" / name).write_bytes(picture_bytes())
    lines = "street.jpg: car 4 5 20 25, traffic light 0 0 8 12\n\nempty.jpg:\nmissing.jpg: car 1 2 3\n: car 1 2 3 4\n"
    (tmp_path / "set" / "train.txt").write_text(lines)
    return tmp_path / "set"


def run(*arguments):
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return stopped.value.code


@pytest.mark.parametrize("type", ["lines", "auto"])
def test_the_documented_example_works(example, folder, tmp_path, type, capsys):
    status = run("dataset", "transform", "--type", type, "--data-dir", folder, "--output-dir", tmp_path / "tf")
    out = capsys.readouterr().out
    assert status == 0, out
    assert "train: 2 of 4 pictures, 1 of them without objects, 2 boxes" in out
    assert "annotation cannot be read: 1 (train.txt line 5)" in out
    assert read_classes(tmp_path / "tf") == ["car", "traffic light"]
    street, empty = map(decode_example, read_records(find_records(tmp_path / "tf", "train")))
    np.testing.assert_allclose(street.boxes, [[4, 5, 20, 25], [0, 0, 8, 12]], atol=1e-5)
    assert street.class_ids.tolist() == [0, 1]
    assert (empty.image_id, len(empty.boxes)) == ("empty.jpg", 0)


def test_the_types_of_packages_stand_beside_those_built_in(example, folder, capsys):
    assert reader_names() == [*READERS, "lines"]
    assert recognise_type(folder) == ("lines", "train.txt and pictures/")
    assert open_reader("lines", folder, {"separator": ";"}).settings["separator"] == ";"
    with pytest.raises(DataError, match=r"-o seperator: .*did you mean separator\?"):
        open_reader("lines", folder, {"seperator": ";"})
    with pytest.raises(DataError, match=r"unknown data set type 'line': there are .*lines; did you mean lines\?"):
        reader_class("line")
    assert run("dataset", "transform", "--help") == 0
    assert "lines" in capsys.readouterr().out


def test_without_packages_there_are_those_built_in():
    assert reader_names() == list(READERS)


@pytest.mark.parametrize(
    ("value", "source", "message"),
    [
        (
            "nowhere:Reader",
            None,
            r"package my-reader cannot be loaded from nowhere:Reader \(ModuleNotFoundError: No mod",
        ),
        ("my_reader:Reader", "", r"package my-reader cannot be loaded from my_reader:Reader \(AttributeError"),
        (
            "my_reader:Reader",
            "1 / 0",
            r"cannot be loaded from my_reader:Reader \(ZeroDivisionError: division by zero\)",
        ),
        (
            "my_reader:Reader",
            "class Reader: pass",
            r"package my-reader: my_reader:Reader is no subclass of luminoth.data",
        ),
        ("my_reader:read", "def read(): pass", r"package my-reader: my_reader:read is no subclass of luminoth.data"),
    ],
)
def test_packages_that_do_not_work_are_named(install, tmp_path, value, source, message):
    install("my-reader", {"mine": value}, **({} if source is None else {"my_reader": source}))
    assert "mine" in reader_names()
    with pytest.raises(DataError, match=message):
        reader_class("mine")
    with pytest.raises(DataError, match=message):
        recognise_type(tmp_path)
    assert reader_class("csv").__name__ == "CsvReader"  # the others go on working


def test_names_that_are_taken(install):
    install("first-package", {"csv": "first:Reader", "mine": "first:Reader"}, first="")
    with pytest.raises(
        DataError, match=r"type 'csv' is claimed by package first-package and by Luminoth itself; uninst"
    ):
        reader_class("csv")
    install("second-package", {"mine": "second:Reader"}, second="")
    with pytest.raises(DataError, match=r"type 'mine' is claimed by package \S+ and by package \S+; uninstall"):
        reader_class("mine")
    assert reader_names() == [*READERS, "mine"]
