"""Which pictures are the worst, and how what is wrong in them is drawn; by hand."""

import numpy as np
import pytest

from luminoth.data.records import RecordWriter, encode_example
from luminoth.errors import DataError
from luminoth.evaluation.analysis import analyse
from luminoth.evaluation.drawing import draw_comparison, draw_errors, what_is_wrong
from luminoth.evaluation.tide import KINDS
from luminoth.evaluation.worst import choose_worst, class_errors, read_pictures
from luminoth.image import encode_png
from luminoth.inference.draw import class_colour
from luminoth.types import Example
from tests.evaluation.cases import CLASSES, found, random_case, truth

CAR, BUS, PERSON = [10, 10, 110, 110], [200, 10, 300, 110], [400, 10, 500, 110]


@pytest.fixture(scope="module")
def analysis():
    """Errors by picture and class: a car, two persons; none; a bus and a person; a bus."""
    truths = [
        truth([CAR, PERSON, BUS], [0, 2, 2]),
        truth([CAR, BUS], [0, 1]),
        truth([BUS, PERSON, CAR], [1, 2, 0], [False, False, True]),
        truth([CAR], [0]),
    ]
    detections = [
        found([[10, 310, 110, 410]], [0.9], [0]),
        found([CAR, BUS], [0.95, 0.95], [0, 1]),
        found([CAR], [0.95], [0]),  # within a crowd region: counts neither way
        found([CAR, [300, 300, 340, 340]], [0.95, 0.99], [0, 1]),
    ]
    return analyse(truths, detections, CLASSES, resamples=2)


def test_errors_by_class(analysis):
    assert analysis.thresholds.limits()[:2] == pytest.approx([0.925, 0.95])
    # There the false car of the first picture does not count, but the car that is there is missed.
    assert class_errors(analysis).tolist() == [[1, 0, 2], [0, 0, 0], [0, 1, 1], [0, 1, 0]]


@pytest.mark.parametrize("seed", range(5))
def test_errors_by_class_sum_to_those_of_the_pictures(seed):
    result = analyse(*random_case(seed), CLASSES, resamples=2)
    assert class_errors(result).sum(axis=1).tolist() == result.pictures.errors.tolist()


@pytest.mark.parametrize(
    ("per_class", "most", "expected"),
    [
        (10, 60, [0, 2, 3]),  # all that have an error, those with the most first
        (1, 60, [0, 2]),  # over all and for car and person the first, for bus the third, which has more errors in all
        (2, 60, [0, 2, 3]),
        (10, 1, [0]),
        (0, 60, []),
    ],
)
def test_the_worst_pictures(analysis, per_class, most, expected):
    assert choose_worst(analysis, per_class=per_class, most=most) == expected


def write_pictures(path, encoded):
    no = np.zeros(0, bool)
    with RecordWriter(path) as writer:
        for number, each in enumerate(encoded):
            example = Example(str(number), each, (4, 6), np.zeros((0, 4)), np.zeros(0, np.int32), no, no, no)
            writer.write(encode_example(example, CLASSES))


def test_only_chosen_pictures_are_read(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 6, 3), np.uint8)
    damaged = encode_png(pixels[0])[:-30]
    paths = [tmp_path / "a.tfrecords", tmp_path / "b.tfrecords"]
    write_pictures(paths[0], [damaged, encode_png(pixels[1])])
    write_pictures(paths[1], [encode_png(pixels[2]), damaged])
    pictures = read_pictures(paths, [2, 1])
    assert sorted(pictures) == [1, 2]
    assert all((pictures[number] == pixels[number]).all() for number in pictures)
    assert read_pictures(paths, []) == {}
    with pytest.raises(DataError, match="missing"):
        read_pictures([tmp_path / "missing.tfrecords"], [0])


@pytest.mark.parametrize(
    ("box", "class_id", "kind", "text"),
    [
        (CAR, 0, "duplicate", "duplicate"),
        ([300, 300, 340, 340], 0, "background", "background"),
        (BUS, 0, "classification", "is bus"),
        ([10, 10, 110, 40], 0, "localisation", "IoU 0.30"),
        ([200, 10, 300, 40], 0, "both", "is bus, IoU 0.30"),
    ],
)
def test_what_is_wrong(box, class_id, kind, text):
    truths, detections = truth([CAR, BUS], [0, 1]), found([CAR, box], [0.9, 0.9], [0, class_id])
    findings = analyse([truths], [detections], CLASSES, resamples=1).explain(0)
    (index,) = np.flatnonzero(findings.found == 1)
    assert KINDS[findings.kinds[index]] == kind
    assert what_is_wrong(truths, detections, CLASSES, 1, int(findings.kinds[index])) == text
    right = int(findings.kinds[findings.found == 0][0])
    assert what_is_wrong(truths, detections, CLASSES, 0, right) == ""


def test_what_is_wrong_stands_in_the_light():
    image = np.full((480, 640, 3), 200, np.uint8)
    truths = truth([CAR, BUS], [0, 1])
    detections = found([CAR, [400, 300, 500, 400]], [0.9, 0.9], [0, 2])
    findings = analyse([truths], [detections], CLASSES, resamples=1).explain(0)
    findings = type(findings)(
        np.array([0, 1]), np.array([-1, KINDS.index("background")]), np.zeros(2, bool), np.array([0, -1]),
        np.array([False, True]),
    )  # fmt: skip
    drawn = draw_comparison(image, truths, detections, CLASSES, findings, side=640)
    assert drawn.shape == (480, 640 + 8 + 640, 3)
    assert drawn.dtype == np.uint8
    left, right = drawn[:, :640], drawn[:, 648:]
    dim, bright = [90] * 3, [200] * 3  # 0.45 of the brightness
    assert left[60, 60].tolist() == dim
    assert right[60, 60].tolist() == dim
    assert left[60, 250].tolist() == bright
    assert right[60, 250].tolist() == dim
    assert left[350, 450].tolist() == dim
    assert right[350, 450].tolist() == bright
    assert left[60, 10].tolist() == right[60, 10].tolist() == list(class_colour("car"))
    assert left[60, 200].tolist() == left[60, 201].tolist() == list(class_colour("bus"))
    assert (image == 200).all()
    both = draw_errors(image, truths, detections, CLASSES, findings, side=640)
    assert both[60, 250].tolist() == both[350, 450].tolist() == bright
    assert both[60, 60].tolist() == dim
    small = draw_comparison(image, truths, detections, CLASSES, findings, side=320)
    assert small.shape == (240, 648, 3)
    assert small[30, 125].tolist() == bright
