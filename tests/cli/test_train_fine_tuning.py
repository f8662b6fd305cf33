"""`lumi train --from`: one line from another detector to one's own."""

import json
import shutil

import pytest

from luminoth.checkpoints.convert import converter
from luminoth.checkpoints.convert.published import PUBLISHED
from luminoth.checkpoints.transfer import find_start
from luminoth.config import dump_config, load_config
from luminoth.data.record_files import write_classes
from luminoth.training import assembly
from tests.checkpoints.convert.small_model import NAME, install_small_model, small_model, small_state
from tests.checkpoints.convert.torch_writer import state_file
from tests.training.tiny import TinyDetector, tiny_config, write_tiny_dataset


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("LUMI_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.fixture
def tiny_model(monkeypatch):
    monkeypatch.setattr(assembly, "build_model", lambda config, num_classes, **_: TinyDetector(num_classes))
    monkeypatch.setattr(assembly, "load_pretrained_backbone", lambda model, config: "random weights")


@pytest.fixture
def street(tmp_path):
    """A data set, `street`, and the file of a short training on it, `config.yml`."""
    write_tiny_dataset(tmp_path / "street")
    (tmp_path / "config.yml").write_text(dump_config(tiny_config("street", "jobs", max_steps=1)))


@pytest.fixture
def run(tmp_path, lumi, street, tiny_model):
    """That training, `jobs/run`, to start from."""
    status, _, err = lumi("train", "-c", "config.yml")
    assert status == 0, err
    return tmp_path / "jobs" / "run"


def test_one_line_without_a_file(run, tmp_path, lumi):
    line = ["train", "--from", "jobs/run", "--dataset", "street", "-o", "train.max_steps=2"]
    status, out, err = lumi(*line)
    assert (status, out) == (0, "")
    assert "Run folder: jobs/street-from-run\n" in err
    assert "Weights of jobs/run/ckpt-1: conv1 2 of 2 tensors, norm1 4 of 4 tensors" in err
    assert "lumi eval -c jobs/street-from-run/config.yml" in err
    made = load_config([tmp_path / "jobs" / "street-from-run" / "config.yml"])
    before = load_config([run / "config.yml"])
    assert made.model == before.model
    assert made.dataset.image_preprocessing == before.dataset.image_preprocessing
    assert (made.train.batch_size, made.train.warmup_steps, made.train.learning_rate.learning_rate) == (2, 100, 0.0025)

    # The same line goes on, and what it once started from is needed no more.
    shutil.rmtree(run)
    line[-1] = "train.max_steps=3"
    status, _, err = lumi(*line)
    assert status == 0
    assert "Resuming at step 2 (jobs/street-from-run/ckpt-2); jobs/run is where it once started" in err
    assert "Weights of" not in err


def test_a_run_that_started_otherwise_is_not_gone_on_from(run, lumi):
    status, _, err = lumi("train", "-c", "config.yml", "--from", "toytown", "-o", "train.max_steps=2")
    assert status == 1
    assert "jobs/run: holds another training (ckpt-1): train.from_checkpoint was empty, now it is toytown" in err


def test_what_is_stated_goes_before_the_checkpoints(run, tmp_path, lumi):
    (tmp_path / "mine.yml").write_text(
        "train: {run_name: mine, max_steps: 1, batch_size: 1}\ndataset: {dir: street}\n"
        "model: {base_network: {output_stride: 8}}\n"
    )
    status, _, err = lumi("train", "-c", "mine.yml", "--from", "jobs/run", "-o", "model.rpn.num_channels=9")
    assert status == 0
    model = load_config([tmp_path / "jobs" / "mine" / "config.yml"]).model
    assert (model.base_network.width, model.base_network.architecture) == (8, "thin_resnet")  # the checkpoint's
    assert (model.base_network.output_stride, model.anchors.stride, model.rpn.num_channels) == (8, 8, 9)
    assert "Warning: model.base_network.output_stride: is 8, but the weights were trained with 16" in err


def test_another_architecture_is_a_model_of_ones_own(run, tmp_path, lumi):
    (tmp_path / "mine.yml").write_text(
        "train: {run_name: mine, max_steps: 1}\ndataset: {dir: street}\nmodel: {base_network: {architecture: vgg_16}}\n"
    )
    status, _, err = lumi("train", "-c", "mine.yml", "--from", "jobs/run")
    assert status == 0
    model = load_config([tmp_path / "jobs" / "mine" / "config.yml"]).model
    assert (model.base_network.architecture, model.rpn.num_channels) == ("vgg_16", 512)  # nothing of the checkpoint's
    assert "channel_order, channel_means, channel_stds: pixels become (bgr - (103.9, 116.8, 123.7))" in err
    assert "(rgb - (127.5, 127.5, 127.5)) / (127.5, 127.5, 127.5); leave the three keys out" in err


def test_a_published_file_is_converted_once(tmp_path, street, lumi, monkeypatch, home):
    values = dict.fromkeys(("total_loss", "no_reg_loss", "gradient_norm", "stop"), 0.0)
    monkeypatch.setattr(assembly, "make_train_step", lambda *_, **__: lambda *_: dict(values))
    install_small_model(monkeypatch, tmp_path)
    monkeypatch.setattr(converter, "recognise", lambda *_: PUBLISHED[NAME])  # it has fewer units than a real one
    path = tmp_path / f"{NAME}-mine.pth"
    path.write_bytes(state_file(small_state(small_model())))
    write_classes(tmp_path / "street", ["car", "unicorn"])
    status, _, err = lumi(
        "train", "--from", path.name, "--dataset", "street", "-o", "train.max_steps=1", "-o", "train.image_vis=null"
    )
    assert status == 0, err
    [folder] = (path for path in (home / "checkpoints").iterdir() if path.is_dir())
    assert f"Weights of {folder}: backbone " in err
    assert "outputs of the classes: car carried over by name; unicorn start anew" in err
    assert json.loads((tmp_path / "jobs" / f"street-from-{NAME}-mine" / "classes.json").read_text())[1] == "unicorn"

    monkeypatch.setattr(converter, "convert_source", lambda *_: pytest.fail("converted again"))
    assert find_start(path.name) == folder


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--from", "fast", "--offline"], 1, "`fast`"),
        (["--from", "fast"], 1, "with --yes this command does it by itself"),
        (["--from", "nowhere"], 1, "nowhere"),
        (["--from", "toytown"], 1, "dataset.dir: empty"),
        (["--dataset", "street"], 2, "Missing option '-c': name a configuration file, or with --from a detector"),
        (["-c", "config.yml", "--dry-run", "--overfit", "2"], 2, "choose one"),
        (["-c", "config.yml", "--overfit", "0"], 2, "--overfit"),
    ],
)
def test_mistakes_give_one_line(street, lumi, monkeypatch, arguments, status, message):
    monkeypatch.setattr(assembly, "build_model", lambda *_, **__: pytest.fail("a model was built"))
    found, out, err = lumi("train", *arguments)
    assert (found, out) == (status, "")
    assert message in err.splitlines()[-1]
