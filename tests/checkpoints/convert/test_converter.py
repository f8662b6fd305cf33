"""From a file to a checkpoint, on a small model that stands in for a published one."""

import hashlib
import json
import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from luminoth import __version__
from luminoth.checkpoints.convert.coco_classes import COCO_90
from luminoth.checkpoints.convert.converter import convert_source, load_source, read_source, read_weights
from luminoth.checkpoints.convert.published import PUBLISHED
from luminoth.checkpoints.folder import hash_files
from luminoth.checkpoints.loading import load_model
from luminoth.checkpoints.store import find_checkpoint
from luminoth.cli.main import main
from luminoth.errors import CheckpointError, OutputError
from luminoth.models.base import named_weights
from tests.checkpoints.convert.small_model import NAME, install_small_model, small_model, small_state
from tests.checkpoints.convert.torch_writer import called, dictionary, state_file, value, whole, zip_file


@pytest.fixture(autouse=True)
def small_configuration(tmp_path, monkeypatch):
    """The small model in the place of the published one; checkpoints go to a home of the test's own."""
    monkeypatch.setenv("LUMI_HOME", str(tmp_path / "home"))
    return install_small_model(monkeypatch, tmp_path)


@pytest.fixture
def model():
    return small_model()


@pytest.fixture
def state(model):
    return small_state(model)


@pytest.fixture
def file(tmp_path, state):
    path = tmp_path / "weights.pth"
    path.write_bytes(state_file(state))
    return path


def published(monkeypatch, file):
    """The file in the place of the published one, by its checksum."""
    start = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
    monkeypatch.setitem(PUBLISHED, NAME, replace(PUBLISHED[NAME], digest_start=start))


def test_a_checkpoint_that_predicting_can_load(tmp_path, monkeypatch, file, state):
    published(monkeypatch, file)
    folder, report = convert_source(read_source(file, NAME))

    found = find_checkpoint(NAME)
    assert folder == found == tmp_path / "home" / "checkpoints" / found.name
    loaded = load_model(found)
    weights = {path: variable.numpy() for path, variable in named_weights(loaded.model).items()}
    assert (loaded.step, loaded.classes) == (0, list(COCO_90))
    np.testing.assert_array_equal(
        weights["backbone/conv1/kernel"], state["backbone.body.conv1.weight"].transpose(2, 3, 1, 0)
    )
    np.testing.assert_array_equal(
        weights["fpn/lateral4/kernel"], state["backbone.fpn.inner_blocks.3.0.weight"].transpose(2, 3, 1, 0)
    )
    np.testing.assert_array_equal(
        weights["box_head/classes/bias"][[89, 90]], state["roi_heads.box_predictor.cls_score.bias"][[90, 0]]
    )
    assert report.tensors == len(weights) == len(state) - 1
    assert report.left_out == ("backbone.body.bn1.num_batches_tracked",)
    statistics = sum(array.size for path, array in weights.items() if "/moving_" in path)
    assert report.parameters == sum(array.size for array in weights.values()) - statistics

    metadata = json.loads((folder / "metadata.json").read_text())
    assert metadata.pop("created")
    assert metadata.pop("files") == hash_files(folder)
    assert metadata.pop("environment") == {}
    assert metadata == {
        "format": 1,
        "description": "",
        "luminoth": __version__,
        "origin": "converted",
        "data": {"name": "COCO", "classes": len(COCO_90)},
        "id": PUBLISHED[NAME].id,
        "model": NAME,
        "url": PUBLISHED[NAME].url,
        "name": f"Faster R-CNN of torchvision: {NAME}",
        "alias": NAME,
        "paper": list(PUBLISHED[NAME].papers),
        "source_file": "weights.pth",
        "source_sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "source": PUBLISHED[NAME].url,
        "licence": PUBLISHED[NAME].licence,
        "scores": {"data_set": "COCO val2017", "AP": 0.37, "measured_by": "the authors of the weights"},
    }
    assert folder.name == PUBLISHED[NAME].id
    assert str(tmp_path) not in (folder / "config.yml").read_text()
    with pytest.raises(OutputError, match="exists already"):
        convert_source(read_source(file, NAME))


def test_other_weights_of_the_architecture_carry_no_scores(tmp_path, file):
    folder, report = convert_source(read_source(file, NAME), tmp_path / "mine")
    metadata = json.loads((folder / "metadata.json").read_text())
    assert folder == tmp_path / "mine"
    assert (metadata["scores"], metadata["licence"]) == ({}, "that of the file it was converted from")
    assert (metadata["alias"], metadata["model"], metadata["id"] == PUBLISHED[NAME].id) == (NAME, NAME, False)
    assert "Not the published file, whose SHA-256 begins with 258fb6c6" in str(report)


def test_a_model_is_left_as_it_was_by_weights_that_do_not_fit(tmp_path, model, state):
    del state["rpn.head.cls_logits.bias"]
    state["stranger"] = np.ones(2, np.float32)
    path = tmp_path / "weights.pth"
    path.write_bytes(state_file(state))
    before = [variable.numpy() for variable in model.variables]
    with pytest.raises(CheckpointError) as caught:
        load_source(read_source(path, NAME), model)
    assert str(caught.value) == (
        f"{path} ({NAME}): does not fit the model: 1 (rpn.head.cls_logits.bias) of its tensors are missing; "
        "1 (stranger) are left over"
    )
    for value_before, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value_before)
    with pytest.raises(CheckpointError, match="does not fit the model"):
        convert_source(read_source(path, NAME))
    assert not (tmp_path / "home").exists()


def test_the_form_of_a_file_is_told_by_its_content(tmp_path):
    arrays = {"a": np.arange(3, dtype=np.float32)}
    for name, content in (("a.pkl", state_file(arrays)), ("a.pth", pickle.dumps({"model": arrays}, 2))):
        (tmp_path / name).write_bytes(content)
        np.testing.assert_array_equal(read_weights(tmp_path / name)["a"], arrays["a"])


# --- The command --------------------------------------------------------------------------------------------------


def lumi(capsys, *arguments):
    """Runs `lumi checkpoint convert ...`: (exit status, standard output, standard error)."""
    with pytest.raises(SystemExit) as ended:
        main(["checkpoint", "convert", *map(str, arguments)])
    said = capsys.readouterr()
    return ended.value.code, said.out, said.err


def test_the_command(tmp_path, monkeypatch, capsys, file):
    published(monkeypatch, file)
    status, out, err = lumi(capsys, file, "--as", NAME)
    assert status == 0
    assert out == f"{find_checkpoint(NAME)}\n"
    lines = err.splitlines()
    assert lines[0].startswith(f"{NAME}: ")
    assert lines[0].endswith(" parameters")
    assert lines[1] == f"SHA-256 {hashlib.sha256(file.read_bytes()).hexdigest()}"
    assert lines[2] == "The published file: box AP 37.0 on COCO val2017"
    assert lines[3].startswith("Licence: BSD-3-Clause")
    assert lines[4:] == [f"Use it: lumi predict IMAGE --checkpoint {NAME}"]

    status, out, err = lumi(capsys, file, "--as", NAME, "--output", tmp_path / "mine")
    assert (status, out) == (0, f"{tmp_path / 'mine'}\n")
    assert err.splitlines()[-1] == f"Use it: lumi predict IMAGE --checkpoint {tmp_path / 'mine'}"
    status, out, err = lumi(capsys, file, "--as", NAME, "--output", tmp_path / "mine")
    assert (status, out) == (1, "")
    assert "exists already" in err


def test_bad_files_exit_1_with_one_line(tmp_path, capsys, file, state):
    ran = tmp_path / "was_run"
    call = called("posix", "system", value(f"touch {ran}"))
    bad = {
        "cut.pth": (file.read_bytes()[:-100], "is cut short or damaged"),
        "runs.pth": (zip_file(dictionary({"model": call}), {}), "asks for `posix.system`"),
        "runs.pkl": (whole(dictionary({"model": call})), "asks for `posix.system`"),
        "other.pth": (state_file({"fc.weight": np.zeros(3, np.float32)}), "is a classifier, by its tensors"),
        "text.pth": (b"<html>404</html>", "is neither a pickle nor a file of torch"),
        "empty.pth": (b"", "is neither a pickle nor a file of torch"),
    }
    for name, (content, said) in bad.items():
        (tmp_path / name).write_bytes(content)
        status, out, err = lumi(capsys, tmp_path / name)
        assert (status, out) == (1, "")
        assert err.startswith(f"Error: {tmp_path / name}: {said}")
        assert err.count("\n") == 1
    assert not ran.exists()
    assert lumi(capsys, tmp_path / "absent.pth") == (1, "", f"Error: {tmp_path / 'absent.pth'}: no such file\n")
    status, _, err = lumi(capsys, file, "--as", "yolo")
    assert (status, err.count("\n")) == (1, 1)
    assert err.startswith("Error: `yolo` is no model that can be converted; there are: fasterrcnn_resnet50_fpn, ")
    assert not (tmp_path / "home").exists()


def test_bad_files_are_refused_before_tensorflow_is_imported(tmp_path):
    (tmp_path / "bad.pth").write_bytes(b"PK\x03\x04")
    program = (
        "import sys\nfrom luminoth.cli.main import main\n"
        f"try:\n    main(['checkpoint', 'convert', {str(tmp_path / 'bad.pth')!r}])\n"
        "finally:\n    print('tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "False\n")
