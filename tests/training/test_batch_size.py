"""`train.batch_size: auto`: the search, and that a run keeps what was found."""

import numpy as np
import pytest
import tensorflow as tf

from luminoth.config import load_config
from luminoth.data.glance import Glance
from luminoth.errors import TrainingError
from luminoth.training import assembly, loop
from luminoth.training.events import BatchSizeChosen, StepDone
from luminoth.training.trials import batch_size
from luminoth.training.trials.batch_size import largest_batch
from tests.training.tiny import TinyDetector, tiny_config, write_tiny_dataset


def on_gpu(most_that_fits, most=64):
    tried = []

    def try_size(size):
        tried.append(size)
        if size > most_that_fits:
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    return *batch_size._largest_on_gpu(try_size, most), tried


def test_a_gpu_is_filled_until_it_gives_out():
    assert on_gpu(7) == (6, "the GPU's memory holds 6 of the largest pictures, and not 8", [1, 2, 3, 4, 6, 8])
    assert on_gpu(10**6)[:2] == (64, "the most that is tried; state a number for more than 64")
    assert on_gpu(10**6, most=5) == (4, "more would leave fewer than 8 steps an epoch", [1, 2, 3, 4])
    with pytest.raises(TrainingError, match="not even one picture fits"):
        on_gpu(0)


def on_host(monkeypatch, free, fixed, each, most=64):
    tried = []

    def try_size(size):
        tried.append(size)
        return fixed + each * size

    monkeypatch.setattr(batch_size, "available_host_memory", lambda: free)
    return *batch_size._largest_on_host(try_size, most), tried


def test_main_memory_is_computed_and_never_filled(monkeypatch):
    gb = 10**9
    # 70 % of 20 GB: 2 + 1.5 n <= 14, so n <= 8
    size, reason, tried = on_host(monkeypatch, 20 * gb, 2 * gb, 1.5 * gb)
    assert (size, tried) == (8, [1, 2, 4])
    assert reason == (
        "a step with 8 of the largest pictures takes 14.0 GB, and 20.0 GB of memory are free, of which 70% are used"
    )
    # One picture takes 5 GB, all of which might be due to it: two are not dared with 8.4 GB allowed.
    size, reason, tried = on_host(monkeypatch, 12 * gb, 4 * gb, 1 * gb)
    assert (size, tried) == (1, [1])
    assert reason.startswith("a step with 1 of the largest pictures takes 5.0 GB, and 12.0 GB of memory are free")
    size, reason, tried = on_host(monkeypatch, 1000 * gb, gb, gb, most=3)
    assert (size, reason, tried) == (3, "more would leave fewer than 8 steps an epoch", [1, 2])
    assert on_host(monkeypatch, None, gb, gb)[0] == 1
    with pytest.raises(TrainingError, match="not even one picture fits"):
        on_host(monkeypatch, gb, gb, gb)


def test_the_largest_batch_has_the_largest_picture_and_most_objects(tmp_path):
    config = tiny_config(tmp_path, tmp_path)  # 24 to 32 pixels
    seen = Glance(
        3,
        np.array([[48, 64], [64, 48], [100, 100]], np.int32),
        np.zeros((4, 4), np.float32),
        np.zeros(4, np.int32),
        np.array([0, 2, 2, 2]),
        {0: "a"},
    )
    batch = largest_batch(config, seen, 2)
    assert batch.images.shape == (2, 32, 32, 3)  # lying and standing pictures share a batch
    assert batch.gt_boxes.shape == (2, 3, 4)
    assert batch.image_sizes.numpy().tolist() == [[32, 32], [32, 32]]
    boxes = batch.gt_boxes.numpy()
    assert (boxes[..., 2:] > boxes[..., :2]).all()
    assert boxes.max() <= 32


def test_a_run_keeps_what_was_found_when_it_began(tmp_path, monkeypatch):
    monkeypatch.setattr(assembly, "build_model", lambda config, num_classes, **_: TinyDetector(num_classes))
    monkeypatch.setattr(assembly, "load_pretrained_backbone", lambda model, config: "none")
    dataset = write_tiny_dataset(tmp_path / "street", images=24)

    def run(**settings):
        events = []
        config = tiny_config(dataset, tmp_path / "jobs", batch_size="auto", **settings)
        result = loop.train(config, on_event=events.append)
        return result, [event for event in events if isinstance(event, BatchSizeChosen | StepDone)]

    result, (chosen, *steps) = run(max_steps=2)
    assert chosen == BatchSizeChosen(3, "more would leave fewer than 8 steps an epoch")
    assert len(steps) == 2
    assert load_config([result.checkpoint / "config.yml"]).train.batch_size == 3

    monkeypatch.setattr(batch_size, "_try", lambda *_: pytest.fail("tried again"))
    result, (chosen, *steps) = run(max_steps=3)
    assert chosen == BatchSizeChosen(3, "as when the run began")
    assert [step.step for step in steps] == [3]
