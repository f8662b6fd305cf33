"""The figures of a data set, worked out by hand on tiny ones; equal for a layout and for its records."""

import dataclasses

import numpy as np
import pytest

from luminoth.data.readers import open_reader
from luminoth.data.readers.checks import make_example
from luminoth.data.record_files import write_classes
from luminoth.data.records import RecordWriter, encode_example
from luminoth.data.source import LayoutSource, RecordSource
from luminoth.data.stats.anchor_fit import InputRule
from luminoth.data.stats.columns import Columns, join_columns, read_columns
from luminoth.data.stats.statistics import Histogram, describe
from luminoth.errors import DataError
from tests.data.source_sets import CAR, Object, Picture, damaged_pictures, good_pictures, picture_bytes, write_set

AS_IT_IS = InputRule()


def columns(sizes, objects, boxes, class_ids, **counts) -> Columns:
    return Columns(
        np.asarray(sizes, np.int32).reshape(-1, 2),
        np.asarray(objects, np.int32),
        np.asarray(boxes, np.float32).reshape(-1, 4),
        np.asarray(class_ids, np.int32),
        **counts,
    )


@pytest.fixture
def three():
    """Three pictures: a small and a large car, nothing, a medium car and two people."""
    return columns(
        [(100, 200), (100, 200), (400, 300)],
        [2, 0, 3],
        [[0, 0, 10, 20], [0, 0, 150, 100], [100, 200, 140, 260], [0, 0, 30, 30], [270, 370, 300, 400]],
        [0, 0, 0, 1, 1],
        crowds=2,
        dropped=4,
    )


def test_counts(three):
    found = describe(three, ["car", "person", "bus"], AS_IT_IS)
    assert (found.pictures, found.pictures_without_objects, found.pictures_dropped) == (3, 1, 4)
    assert (found.boxes, found.crowds) == (5, 2)
    assert [(each.name, each.boxes, each.pictures) for each in found.classes] == [
        ("car", 3, 2),
        ("person", 2, 1),
        ("bus", 0, 0),
    ]
    assert found.objects_per_picture.mean == pytest.approx(5 / 3)
    assert found.histograms["objects_per_picture"] == Histogram([0, 1, 2, 3, 4], [1, 0, 1, 1])


def test_sizes(three):
    found = describe(three, ["car", "person", "bus"], AS_IT_IS)
    sizes = [200**0.5, 15000**0.5, 2400**0.5, 30, 30]
    assert found.box_sizes.median == pytest.approx(np.median(sizes))
    assert found.box_sizes.maximum == pytest.approx(15000**0.5)
    assert found.size_shares == pytest.approx({"small": 3 / 5, "medium": 1 / 5, "large": 1 / 5})
    assert found.classes[0].size_shares == pytest.approx({"small": 1 / 3, "medium": 1 / 3, "large": 1 / 3})
    assert found.classes[1].size_shares == {"small": 1, "medium": 0, "large": 0}
    assert found.classes[2].size_shares is None
    assert found.classes[0].median_size == pytest.approx(2400**0.5)
    assert found.common_sizes == [((100, 200), 2), ((400, 300), 1)]
    assert found.distinct_sizes == 2
    assert (found.widths.minimum, found.widths.maximum, found.heights.median) == (200, 300, 100)
    assert found.image_aspects.maximum == 2
    assert found.box_ratios.maximum == 2


def test_groups_begin_at_their_edges():
    boxes = [[0, 0, 32, 31.9], [0, 0, 32, 32], [0, 0, 96, 95.9], [0, 0, 96, 96]]
    found = describe(columns([(100, 100)], [4], boxes, [0] * 4), ["car"], AS_IT_IS)
    assert found.size_shares == {"small": 0.25, "medium": 0.5, "large": 0.25}


def test_sizes_at_the_networks_input(three):
    found = describe(three, ["car", "person", "bus"], InputRule(min_size=200, max_size=10000))
    # the first picture doubles, the last one shrinks to 267 x 200
    sizes = [20 * 2 * 10 * 2, 200 * 300, 40 * 60 * (267 / 400) * (200 / 300)]
    assert found.input_box_sizes.maximum == pytest.approx(sizes[1] ** 0.5)
    assert found.input_box_sizes.median == pytest.approx(sizes[0] ** 0.5)
    assert found.input_short_sides.maximum == pytest.approx(200)
    assert found.input_short_sides.median == pytest.approx(30 * 200 / 300)


def test_histogram_of_sizes_in_half_octaves():
    boxes = [[0, 0, side, side] for side in (8, 8.5, 11.5, 16, 31)]
    found = describe(columns([(100, 100)], [5], boxes, [0] * 5), ["car"], AS_IT_IS).histograms["box_sizes"]
    np.testing.assert_allclose(found.edges, [8, 128**0.5, 16, 512**0.5, 32])
    assert found.counts == [2, 1, 1, 1]


def test_many_counts_share_bins():
    found = describe(columns([(9, 9)] * 3, [0, 1, 61], np.zeros((62, 4)), [0] * 62), ["car"], AS_IT_IS)
    histogram = found.histograms["objects_per_picture"]
    assert histogram.edges[:3] == [0, 3, 6]
    assert histogram.counts[0] == 2
    assert histogram.counts[20] == 1  # 60 to 62
    assert len(histogram.edges) == len(histogram.counts) + 1


def test_centres(three):
    cells = np.asarray(describe(three, ["car", "person", "bus"], AS_IT_IS).centres)
    assert cells.sum() == 5
    assert cells[23 - 0, 22] == 1  # (285, 385) of 300 x 400: 0.95 across, 0.9625 down
    assert cells[2, 0] == 1  # (5, 10) of 200 x 100


def test_boxes_without_area_have_no_ratio():
    found = describe(columns([(50, 50)], [2], [[1, 1, 1, 9], [0, 0, 5, 10]], [0, 0]), ["car"], AS_IT_IS)
    assert found.box_ratios.maximum == 2
    assert found.box_sizes.minimum == 0


def test_nothing_to_count():
    found = describe(columns([(50, 60)], [0], [], []), ["car"], InputRule(min_size=600))
    assert found.box_sizes is None
    assert found.size_shares is None
    assert found.widths.median == 60
    assert describe(columns([], [], [], []), ["car"], AS_IT_IS).widths is None


# --- One pass over a data set ------------------------------------------------------------


def records_of(reader, folder):
    """The data set as records, written with the parts that a transform uses."""
    classes = reader.classes(reader.splits())
    for split in reader.splits():
        with RecordWriter(folder / f"{split}.tfrecords") as writer:
            for image in reader.images(split):
                checked = make_example(image, {name: index for index, name in enumerate(classes)})
                if checked.example is not None:
                    writer.write(encode_example(checked.example, classes))
    write_classes(folder, classes)
    return RecordSource(folder)


@pytest.mark.parametrize("format", ["pascal", "coco"])
def test_figures_agree_before_and_after_a_transform(format, tmp_path):
    folder = write_set(format, tmp_path / "set", train=damaged_pictures(), val=good_pictures())
    reader = open_reader(format, folder)
    before, after = LayoutSource(reader), records_of(reader, tmp_path / "tf")
    assert before.classes == after.classes
    for split in ("train", "val"):
        first, second = read_columns(before, split), read_columns(after, split)
        np.testing.assert_array_equal(first.image_sizes, second.image_sizes)
        np.testing.assert_array_equal(first.objects, second.objects)
        np.testing.assert_array_equal(first.class_ids, second.class_ids)
        np.testing.assert_allclose(first.boxes, second.boxes, atol=1e-4)
        found, again = (describe(each, before.classes, InputRule(60, 100)) for each in (first, second))
        assert dataclasses.asdict(found.box_sizes) == pytest.approx(dataclasses.asdict(again.box_sizes))
        assert (found.boxes, found.centres, found.common_sizes) == (again.boxes, again.centres, again.common_sizes)
    damaged = read_columns(before, "train")
    assert (len(damaged.objects), damaged.dropped, damaged.boxes_dropped) == (12, 5, 4)


def test_crowds_are_only_counted(tmp_path):
    crowd = Object("car", (1.0, 1.0, 30.0, 20.0), crowd=True)
    folder = write_set("coco", tmp_path, train=[Picture("a.jpg", picture_bytes(), [crowd, CAR])])
    found = read_columns(LayoutSource(open_reader("coco", folder)), "train")
    assert found.crowds == 1
    assert found.boxes.tolist() == [[4, 5, 20, 25]]
    assert found.objects.tolist() == [1]


def test_every_picture_is_announced(tmp_path):
    folder = write_set("pascal", tmp_path, train=damaged_pictures())
    steps = []
    read_columns(LayoutSource(open_reader("pascal", folder)), "train", on_progress=steps.append)
    assert steps == [1] * 17


def test_a_label_without_a_name(tmp_path):
    folder = write_set("pascal", tmp_path / "set", train=good_pictures())
    records_of(open_reader("pascal", folder), tmp_path / "tf")
    write_classes(tmp_path / "tf", ["car", "person"])
    with pytest.raises(DataError, match=r"a record of train has the label 3, but classes.json names 2 classes"):
        read_columns(RecordSource(tmp_path / "tf"), "train")


def test_joined_splits(three):
    both = join_columns([three, three])
    assert (len(both.objects), len(both.boxes), both.crowds, both.dropped) == (6, 10, 4, 8)
    assert both.image_of_box.tolist() == [0, 0, 2, 2, 2, 3, 3, 5, 5, 5]
