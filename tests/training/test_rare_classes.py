"""Rare classes in a training: the length of an epoch, weights that are saved, and that it can be interrupted."""

import pytest

from luminoth.checkpoints.folder import read_checkpoint_config
from luminoth.config import load_config
from luminoth.data.record_files import write_classes
from luminoth.data.sampling import balanced_class_weights
from luminoth.errors import ConfigError
from luminoth.training.class_weights import settle_class_weights
from luminoth.training.events import ClassWeightsChosen, RunOpened, ignore_events
from luminoth.training.fine_tuning import resolve_fine_tuning
from luminoth.training.repeats import labels_of
from luminoth.training.run import open_run
from tests.data.test_sampling import example, write
from tests.training.running import assert_same_tensors, losses_of, of_kind, run, stop_at
from tests.training.tiny import CLASSES, tiny_config, write_tiny_dataset

REPEATED = {"type": "repeat_factor", "threshold": 1.0}


def with_weights(config, weights):
    rcnn = config.model.rcnn.model_copy(update={"class_weights": weights})
    return config.model_copy(update={"model": config.model.model_copy(update={"rcnn": rcnn})})


@pytest.fixture
def rare(tmp_path):
    """Eight pictures: a car in all of them, a person in two; they need no pixels, nothing is decoded."""
    folder = tmp_path / "rare"
    write(folder / "train.tfrecords", *[example([0, 1] if number in (2, 5) else [0]) for number in range(8)])
    write_classes(folder, CLASSES)
    return folder


def test_an_epoch_counts_what_is_shown(rare, tmp_path):
    """With a threshold of 1 a person's pictures have the factor sqrt(1 / (2 / 8)) = 2: an epoch of 6 + 2 * 2."""
    once = open_run(tiny_config(rare, tmp_path, max_steps=None, num_epochs=3, batch_size=2))
    more = open_run(tiny_config(rare, tmp_path, max_steps=None, num_epochs=3, batch_size=2, sampling=REPEATED))
    assert (once.images, once.per_epoch, once.repeats, once.total_steps) == (8, 8, None, 12)
    assert (more.images, more.per_epoch, more.total_steps) == (8, 10, 15)
    assert more.repeats.draw(0, 0).tolist() == [1, 1, 2, 1, 1, 2, 1, 1]


def test_a_run_with_repeats_and_groups_is_resumed_to_the_last_bit(tmp_path, tiny_model):
    """Of seven pictures four have the factor sqrt(7 / 4), three sqrt(7 / 3): ten an epoch, other ones in each."""
    data = write_tiny_dataset(tmp_path / "data", images=7)
    settings = {"max_steps": 6, "sampling": REPEATED, "group_by_aspect_ratio": True}
    whole, events = run(tiny_config(data, tmp_path / "whole", **settings))
    assert of_kind(events, RunOpened)[0].images_per_epoch == 10
    expected, parts = losses_of(events), []
    for last in (4, 6):
        part, events = run(tiny_config(data, tmp_path / "parts", **settings), stop_at(last))
        parts += losses_of(events)
    assert parts == expected
    assert_same_tensors(part.checkpoint, whole.checkpoint)


def test_automatic_weights_become_numbers(rare, tmp_path):
    seen = []
    settled = settle_class_weights(with_weights(tiny_config(rare, tmp_path), "auto"), seen.append)
    # Of ten objects eight are cars: n ** -0.5 is 0.354 and 0.707, of mean 0.424 over the objects.
    assert settled.model.rcnn.class_weights == pytest.approx((0.8333, 1.6667), abs=1e-4)
    assert seen == [ClassWeightsChosen(dict(zip(CLASSES, settled.model.rcnn.class_weights, strict=True)))]
    files = (str(rare / "train.tfrecords"),)
    assert list(settled.model.rcnn.class_weights) == balanced_class_weights(labels_of(files, "any", 2), 2)


def test_weights_by_name_and_by_place(rare, tmp_path):
    config = tiny_config(rare, tmp_path)
    by_name = settle_class_weights(with_weights(config, {"person": 3.0}), ignore_events)
    assert by_name.model.rcnn.class_weights == (1.0, 3.0)
    by_place = settle_class_weights(with_weights(config, (2.0, 3.0)), ignore_events)
    assert by_place.model.rcnn.class_weights == (2.0, 3.0)
    assert settle_class_weights(config, ignore_events) is config
    with pytest.raises(
        ConfigError, match=r"class_weights: no class is called lorry; .*classes\.json names car, person"
    ):
        settle_class_weights(with_weights(config, {"lorry": 3.0}), ignore_events)
    with pytest.raises(ConfigError, match=r"class_weights: has 1 numbers, but .*classes\.json names 2 classes"):
        settle_class_weights(with_weights(config, (3.0,)), ignore_events)


def test_a_run_keeps_the_weights_it_began_with(tmp_path, tiny_model):
    data = write_tiny_dataset(tmp_path / "data", images=7)  # four cars, three persons
    config = with_weights(tiny_config(data, tmp_path, max_steps=1), "auto")
    result, events = run(config)
    weights = read_checkpoint_config(result.checkpoint).model.rcnn.class_weights
    assert weights[0] < 1 < weights[1]
    assert load_config([result.folder / "config.yml"]).model.rcnn.class_weights == weights
    write_tiny_dataset(tmp_path / "data", images=12)  # as many persons as cars now
    longer = config.model_copy(update={"train": config.train.model_copy(update={"max_steps": 2})})
    _, events = run(longer)
    assert tuple(of_kind(events, ClassWeightsChosen)[0].weights.values()) == weights
    # They are of these classes: another training that starts from this one has none of its own accord.
    overrides = ["train.from_checkpoint=this", f"train.job_dir={tmp_path}"]
    other = resolve_fine_tuning([], overrides, find=lambda name: result.checkpoint).config
    assert other.model.rcnn.class_weights is None
