import numpy as np
import pytest
import tensorflow as tf

from luminoth.config import config_from_dict
from luminoth.data.record_files import find_records
from luminoth.inference.draw import class_colour
from luminoth.models.build import build_model
from luminoth.resize import ResizeRule
from luminoth.training.watching.pictures import PictureRows, choose_pictures
from tests.training.tiny import CLASSES, TinyDetector, tiny_config, write_tiny_dataset

RESIZE = ResizeRule(min_size=24, max_size=32)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_tiny_dataset(tmp_path_factory.mktemp("street"))


@pytest.fixture(scope="module")
def shown(dataset):
    return choose_pictures(find_records(str(dataset), "train"), RESIZE, len(CLASSES))


def has_colour(pixels, colour, tolerance=2):
    return bool((np.abs(pixels.astype(int) - colour).max(axis=-1) <= tolerance).any())


def test_the_first_pictures_with_objects_are_shown(shown):
    assert [each.image_id for each in shown] == ["picture-0", "picture-1", "picture-2", "picture-3"]
    assert all(each.batch.images.shape == (1, 24, 32, 3) for each in shown)


def test_a_row_shows_ground_truth_beside_detections(shown):
    """The tiny detector always finds a car, wherever; picture-1 shows a person."""
    rows = PictureRows(TinyDetector(), shown, CLASSES, seed=0, with_samples=False)
    drawn = dict(rows.draw(7))
    assert list(drawn) == [each.image_id for each in shown]
    row = drawn["picture-1"]
    half = row.shape[1] // 2
    assert 2 * 256 < row.shape[1] < 2 * 360 + 100  # two panels: there is no first stage
    left, right = row[:, :half], row[:, half:]
    assert has_colour(left, class_colour("person"))
    assert not has_colour(left, class_colour("car"))
    assert has_colour(right, class_colour("car"))
    assert not has_colour(right, class_colour("person"))


def test_the_box_stands_where_the_object_is(shown):
    rows = PictureRows(TinyDetector(), shown[:1], CLASSES, seed=0, with_samples=False)
    ((_, row),) = rows.draw(0)
    middle = row[row.shape[0] // 2]
    is_around = (middle == 255).all(axis=-1) | (middle == (236, 238, 241)).all(axis=-1)  # paper, empty cell
    starts, ends = (
        np.flatnonzero(np.diff(is_around.astype(int)) == -1) + 1,
        np.flatnonzero(np.diff(is_around) & ~is_around[:-1]) + 1,
    )
    panel_width = ends[0] - starts[0]
    assert panel_width == 8 * 32
    pixels = row[:, starts[0] : ends[0]].astype(int)
    is_line = np.abs(pixels - class_colour("car")).max(axis=-1) <= 2
    # The tag on the box is wider than high: a column full of the colour is the box's left or right edge.
    tall = np.flatnonzero(is_line.sum(axis=0) > 0.25 * panel_width)
    x_min, _, x_max, _ = shown[0].batch.gt_boxes.numpy()[0, 0] * panel_width / 32
    assert tall.min() == pytest.approx(x_min, abs=3)
    assert tall.max() == pytest.approx(x_max, abs=3)


def test_proposals_and_what_is_sampled(dataset, shown):
    config = tiny_config(dataset, dataset)
    model = build_model(config, len(CLASSES))
    plain = next(PictureRows(model, shown, CLASSES, seed=1, with_samples=False).draw(0))[1]
    rows = PictureRows(model, shown, CLASSES, seed=1, with_samples=True)
    debug = next(rows.draw(0))[1]
    assert debug.shape[1] / plain.shape[1] == pytest.approx(5 / 3, rel=0.05)  # two more beside three
    np.testing.assert_array_equal(next(rows.draw(0))[1], debug)
    assert any("rpn" in node.name for node in rows.graph.as_graph_def().node)


def test_samples_are_what_the_losses_count(dataset, shown):
    """The gauges of a batch are shares of the samples drawn for it."""
    model = build_model(tiny_config(dataset, dataset), len(CLASSES))
    seed = tf.constant([5, 6])
    for each in shown[:2]:
        losses, gauges = model.observe(each.batch, training=False, seed=seed)
        plain = model.compute_losses(each.batch, training=False, seed=seed)
        assert {name: float(value) for name, value in losses.items()} == {
            name: float(value) for name, value in plain.items()
        }
        samples = model.samples(each.batch, seed=seed)
        rois, anchors = samples["RoIs"], samples["positive anchors"]
        is_object = (rois.class_ids.numpy() == 0) & rois.is_valid.numpy()
        assert float(gauges["positive_rois"]) == pytest.approx(is_object.sum() / rois.is_valid.numpy().sum())
        assert 0 < is_object.sum() < rois.is_valid.numpy().sum()
        # Every object has a RoI on it: ground truth is among the candidates.
        sampled = rois.boxes.numpy()[0][is_object[0]]
        assert np.abs(sampled - each.batch.gt_boxes.numpy()[0, 0]).max(axis=1).min() < 1e-3
        assert anchors.is_valid.numpy().sum() > 0
        assert 0 < float(gauges["positive_anchors"]) <= 1
        assert 1 <= float(gauges["proposals"]) <= 10


def test_the_first_stage_alone_has_its_gauge(dataset, shown):
    config = tiny_config(dataset, dataset)
    raw = config.model_dump(mode="json")
    raw["model"]["network"]["with_rcnn"] = False
    model = build_model(config_from_dict(raw), len(CLASSES))
    seed = tf.constant([5, 6])
    _, gauges = model.observe(shown[0].batch, training=False, seed=seed)
    assert list(gauges) == ["positive_anchors"]
    assert list(model.samples(shown[0].batch, seed=seed)) == ["positive anchors"]
