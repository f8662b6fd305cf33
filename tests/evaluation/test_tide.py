"""TIDE's kinds of errors: each by hand with what it costs, and all of them against hotcoco."""

import contextlib
import io

import numpy as np
import pytest

from luminoth.evaluation.matching import match_detections
from luminoth.evaluation.metrics import coco_metrics
from luminoth.evaluation.tide import KINDS, analyse_errors
from tests.evaluation.cases import CLASSES, found, random_case, truth

BOX, OTHER, FAR = [0, 0, 100, 100], [200, 200, 300, 300], [400, 0, 500, 100]


def errors(truths, detections):
    return analyse_errors(match_detections(truths, detections, len(CLASSES)), CLASSES)


def counts_and_costs(truths, detections):
    return {each.name: (each.count, each.cost) for each in errors(truths, detections).kinds if each.count or each.cost}


def test_perfect_detections():
    result = errors([truth([BOX])], [found([BOX], [0.9])])
    assert pytest.approx(1) == result.AP50
    assert [(each.count, each.cost) for each in result.kinds] == [(0, 0)] * 6
    assert [each.name for each in result.kinds] == list(KINDS)


# Each detection alone finds nothing: AP50 is 0, and 1 when it is mended.
@pytest.mark.parametrize(
    ("box", "class_id", "expected"),
    [
        pytest.param([0, 0, 40, 100], 0, {"localisation": (1, 1)}, id="a bad place"),
        pytest.param([0, 0, 10, 100], 0, {"localisation": (1, 1)}, id="just near enough"),
        pytest.param([0, 0, 90, 100], 1, {"classification": (1, 1)}, id="another class"),
        pytest.param([0, 0, 40, 100], 1, {"both": (1, 0), "missed": (1, 1)}, id="both"),
        pytest.param([0, 0, 9, 100], 0, {"background": (1, 0), "missed": (1, 1)}, id="hardly near"),
        pytest.param(FAR, 0, {"background": (1, 0), "missed": (1, 1)}, id="nothing there"),
    ],
)
def test_one_wrong_detection(box, class_id, expected):
    got = counts_and_costs([truth([BOX])], [found([box], [0.9], [class_id])])
    assert got == {name: (count, pytest.approx(cost)) for name, (count, cost) in expected.items()}


def test_duplicate():
    # Duplicate first: precision 1, 1 / 2, 2 / 3 and full recall. Without it AP50 is 1.
    result = counts_and_costs([truth([BOX, OTHER])], [found([BOX, BOX, OTHER], [0.9, 0.8, 0.7])])
    assert result == {"duplicate": (1, pytest.approx(1 - (51 + 50 * 2 / 3) / 101))}


def test_background_before_all():
    result = counts_and_costs([truth([BOX])], [found([FAR, BOX], [0.9, 0.8])])
    assert result == {"background": (1, pytest.approx(1 / 2))}


def test_missed():
    result = errors([truth([BOX, OTHER])], [found([BOX], [0.9])])
    assert {each.name: (each.count, each.cost) for each in result.kinds if each.count} == {
        "missed": (1, pytest.approx(1 - 51 / 101))
    }
    assert result.is_missed.tolist() == [False, True]


def test_the_best_of_several_is_mended():
    # Two bad places for one object: the better is mended, the other taken away; the object is not missed.
    result = counts_and_costs([truth([BOX])], [found([[0, 0, 40, 100], [60, 0, 100, 100]], [0.8, 0.9])])
    assert result == {"localisation": (2, pytest.approx(1))}


def test_a_bad_place_beside_what_was_found():
    # There is nothing to be found there any more: it is taken away.
    result = counts_and_costs([truth([BOX])], [found([[0, 0, 40, 100], BOX], [0.9, 0.8])])
    assert result == {"localisation": (1, pytest.approx(1 / 2))}


def test_kinds_by_detection_and_class():
    truths = [truth([BOX, OTHER], [0, 1])]
    detections = [found([BOX, OTHER, FAR], [0.9, 0.8, 0.7], [0, 2, 2])]
    result = errors(truths, detections)
    assert [None if kind < 0 else KINDS[kind] for kind in result.of_found] == [None, "classification", "background"]
    by_class = {each.name: each.by_class for each in result.kinds if each.count}
    assert by_class == {"classification": [0, 0, 1], "background": [0, 0, 1]}
    values = result.to_dict()
    assert list(values["kinds"]) == list(KINDS)
    assert values["kinds"]["background"] == {"count": 1, "cost": 0.0, "by_class": [0, 0, 1]}


def test_crowds_are_no_objects():
    # One within the region, which is ignored, and one on its rim, which is background and not a bad place.
    truths = [truth([BOX, [200, 0, 400, 400]], is_crowd=[0, 1])]
    detections = [found([[210, 10, 300, 100], [370, 0, 470, 400], BOX], [0.9, 0.8, 0.7])]
    assert counts_and_costs(truths, detections) == {"background": (1, pytest.approx(1 / 2))}


def test_nothing_to_measure():
    result = errors([truth()], [found([BOX], [0.9])])
    assert result.AP50 is None
    assert {each.name: (each.count, each.cost) for each in result.kinds}["background"] == (1, None)


NAMES_OF_HOTCOCO = dict(zip(KINDS, ("Cls", "Loc", "Both", "Dupe", "Bkg", "Miss"), strict=True))


def errors_by_hotcoco(truths, detections):
    import hotcoco

    def joined(rows):
        rows = [[image, *row] for image, each in enumerate(rows) for row in each]
        return np.array(rows, float).reshape(len(rows), -1)

    def widths(boxes):
        boxes = boxes.astype(float)
        return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)

    expected = joined([np.column_stack([widths(each.boxes), each.class_ids]) for each in truths])
    got = joined([np.column_stack([widths(each.boxes), each.scores, each.class_ids]) for each in detections])
    images = [{"id": index, "height": 480, "width": 640} for index in range(len(truths))]
    names = [{"id": index, "name": name} for index, name in enumerate(CLASSES)]
    truth_set = hotcoco.COCO.from_arrays(
        images, names, expected[:, 0].astype(int), expected[:, 5].astype(int), expected[:, 1:5].copy()
    )
    evaluation = hotcoco.COCOeval(truth_set, truth_set.load_res(got), "bbox")
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.run()
    return evaluation.tide_errors()


@pytest.mark.parametrize("seed", range(12))
def test_without_crowds_and_ties_hotcoco_says_the_same(seed):
    truths, detections = random_case(seed + 201)
    random = np.random.default_rng(seed)
    truths = [truth(each.boxes, each.class_ids) for each in truths]
    detections = [found(each.boxes, random.random(len(each)), each.class_ids) for each in detections]
    assert any(len(each) for each in detections)
    ours, reference = errors(truths, detections), errors_by_hotcoco(truths, detections)
    assert pytest.approx(coco_metrics(truths, detections, CLASSES).figures["AP50"], abs=1e-12) == ours.AP50
    assert {each.name: each.count for each in ours.kinds} == {
        name: reference["counts"][other] for name, other in NAMES_OF_HOTCOCO.items()
    }
    matching = match_detections(truths, detections, 3)
    missed = np.bincount(matching.truth_class_ids[ours.is_missed], minlength=3)
    for each in ours.kinds:
        # A class of which all objects are missed counts 1 here when they are taken off; there it counts 0.
        if each.name != "missed" or not ((missed == matching.objects) & (missed > 0)).any():
            assert each.cost == pytest.approx(reference["delta_ap"][NAMES_OF_HOTCOCO[each.name]], abs=1e-9)
