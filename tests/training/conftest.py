import pytest

from luminoth.training import assembly
from tests.training.tiny import TinyDetector, write_tiny_dataset


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    """Records of six small pictures; not to be changed."""
    return write_tiny_dataset(tmp_path_factory.mktemp("street"))


@pytest.fixture
def tiny_model(monkeypatch):
    """Training builds the tiny detector, whatever is configured."""
    monkeypatch.setattr(assembly, "build_model", lambda config, num_classes, **_: TinyDetector(num_classes))
    monkeypatch.setattr(assembly, "load_pretrained_backbone", lambda model, config: "none")
