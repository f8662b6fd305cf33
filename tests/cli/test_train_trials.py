"""`lumi train --dry-run` and `lumi train --overfit N`."""

import os
import re

import numpy as np
import pytest
import tensorflow as tf

from luminoth.config import dump_config
from luminoth.training import assembly
from luminoth.training.state import checkpoint_bytes, count_parameters
from luminoth.training.trials.overfit import NEAR_ZERO
from tests.training.tiny import TinyDetector, tiny_config, write_tiny_dataset


@pytest.fixture
def config(tmp_path, monkeypatch):
    """The file of a run that would make 600 steps."""
    monkeypatch.setattr(assembly, "build_model", lambda config, num_classes, **_: TinyDetector(num_classes))
    monkeypatch.setattr(assembly, "load_pretrained_backbone", lambda model, config: "random weights")
    dataset = write_tiny_dataset(tmp_path / "street")
    file = tmp_path / "config.yml"
    file.write_text(dump_config(tiny_config(dataset, tmp_path / "jobs", max_steps=600)))
    return file


def rows(out):
    return {line[:12].strip(): line[12:].strip() for line in out.splitlines()}


def everything_below(folder):
    return sorted(os.path.join(place, name) for place, _, names in os.walk(folder) for name in names)


def test_a_dry_run_says_what_the_run_takes_and_writes_nothing(config, lumi):
    before = everything_below(config.parent)
    status, out, err = lumi("train", "-c", config, "--dry-run")
    assert status == 0, err
    found = rows(out)
    assert found["device"].startswith("CPU")
    assert found["data set"] == "6 images, 2 classes (car, person)"
    assert "all trained" in found["model"]
    assert found["schedule"].startswith("600 steps of 2 images (200 epochs); momentum, rate 0.02, constant, warm-up 2")
    assert float(found["first loss"]) > 0
    assert re.fullmatch(r"\d+\.\d\d images/s, \d+\.\d\d s a step", found["speed"])
    assert found["whole run"].startswith("600 steps, about ")
    assert re.match(r"\d+(\.\d)? [MG]B of main memory at most, ", found["memory"])
    assert found["disk"].endswith(f"are free for {config.parent / 'jobs' / 'run'}")
    assert "Dry run: nothing was written" in err
    assert everything_below(config.parent) == before
    assert not (config.parent / "jobs").exists()


def test_a_dry_run_of_a_run_that_is_under_way_counts_what_is_left(config, lumi):
    assert lumi("train", "-c", config, "-o", "train.max_steps=3")[0] == 0
    before = everything_below(config.parent)
    for max_steps, left in ((600, "597"), (2, "0")):
        status, out, _ = lumi("train", "-c", config, "--dry-run", "-o", f"train.max_steps={max_steps}")
        assert status == 0
        assert rows(out)["whole run"].startswith(f"{left} steps from step 3, about ")
    assert everything_below(config.parent) == before


def test_a_checkpoint_holds_weights_statistics_and_slots():
    model = TinyDetector()
    state = assembly.TrainingState(model, tf.keras.optimizers.SGD(momentum=0.9))
    state.optimizer.build(model.trainable_variables)
    trained = count_parameters(model)[1]
    statistics = sum(np.prod(each.shape) for each in model.non_trainable_variables)
    # weights and as many slots; iterations (8 bytes) and rate (4)
    assert checkpoint_bytes(state) == 4 * (2 * trained + statistics) + 12
    assert count_parameters(model) == (trained, trained)


def test_a_few_pictures_are_learnt_by_heart(config, lumi, tmp_path):
    before = everything_below(tmp_path)
    status, out, err = lumi("train", "-c", config, "--overfit", "2")
    assert status == 0, err
    assert out.splitlines()[0] == "pictures  2"
    steps = int(re.search(r"^steps +([\d,]+)$", out, re.MULTILINE).group(1).replace(",", ""))
    first, last = map(float, re.search(r"^loss +(\S+) at first, (\S+) in the end", out, re.MULTILINE).groups())
    assert 20 <= steps < 1000
    assert last <= NEAR_ZERO < first
    assert re.search(r"^AP +\d\.\d{3}, AP50 \d\.\d{3}, on these pictures$", out, re.MULTILINE)
    assert out.endswith("They are known by heart: data and model fit together\n")
    assert everything_below(tmp_path) == before


def test_what_cannot_be_learnt_ends_with_status_1(config, lumi):
    rate = "train.learning_rate.learning_rate=1.0e-9"
    status, out, _ = lumi("train", "-c", config, "--overfit", "2", "-o", rate, "-o", "train.max_steps=25")
    assert status == 1
    assert "steps     25\n" in out
    assert "Not learnt: a longer training will not do it either" in out


def test_out_of_memory_names_the_settings_to_lower(config, lumi, monkeypatch):
    def make(*_, **__):
        def step(*_):
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[4,800,1088,64]")

        return step

    monkeypatch.setattr(assembly, "make_train_step", make)
    for flags in ([], ["--dry-run"]):
        status, _, err = lumi("train", "-c", config, *flags)
        assert status == 1
        assert "Error: out of memory at step 1, on 2 images of 24 x 32: lower train.batch_size" in err.splitlines()[-1]
