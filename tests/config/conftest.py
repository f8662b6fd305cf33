import pytest


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Writes a file into the current folder and returns its name."""
    monkeypatch.chdir(tmp_path)

    def write(text, name="my.yml"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return name

    return write
