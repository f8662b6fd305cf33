"""Tracking on sequences whose answer is known."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luminoth.errors import ConfigError
from luminoth.inference.tracking import UNTRACKED, CountLine, ObjectCounts, Tracker
from luminoth.inference.tracking import motion as kalman
from luminoth.inference.tracking.assignment import cheapest_pairs
from luminoth.types import Detections

NAMES = ["car", "person"]


def detections(*objects: tuple[float, float, float, int]) -> Detections:
    """40 x 40 boxes at (x, y), with score and class."""
    boxes = np.array([[x, y, x + 40, y + 40] for x, y, *_ in objects], np.float32).reshape(-1, 4)
    scores = np.array([score for _, _, score, _ in objects], np.float32)
    return Detections(boxes, scores, np.array([cls for *_, cls in objects], np.int32), NAMES, (480, 640))


def follow(tracker: Tracker, frames: list[Detections]) -> list[list[int]]:
    return [tracker.update(frame).tolist() for frame in frames]


@given(
    st.integers(0, 4).flatmap(
        lambda rows: st.integers(0, 4).flatmap(
            lambda columns: st.lists(
                st.one_of(st.floats(0, 1), st.just(np.inf)), min_size=rows * columns, max_size=rows * columns
            ).map(lambda values: np.array(values, float).reshape(rows, columns))
        )
    ),
    st.floats(0.05, 1),
)
@settings(max_examples=60, deadline=None)
def test_pairs_cost_as_little_as_the_best_of_all_choices(costs, limit):
    def total(pairs):
        return sum(costs[pair] for pair in pairs) + limit * (costs.shape[0] - len(pairs))

    rows, columns = costs.shape
    choices = permutations([*range(columns), *[None] * rows], rows)
    best = min(total([(row, column) for row, column in enumerate(choice) if column is not None]) for choice in choices)
    found = cheapest_pairs(costs, limit)
    assert len({column for _, column in found}) == len(found) == len({row for row, _ in found})
    assert all(costs[pair] <= limit for pair in found)
    assert total(found) == pytest.approx(best)


def test_a_box_at_constant_speed_is_expected_where_it_will_be():
    boxes = np.array([[[100.0 + 5 * t, 50, 140 + 5 * t, 130]] for t in range(30)])
    believed = kalman.begin(boxes[0])
    for box in boxes[1:]:
        believed = kalman.correct(kalman.predict(believed), box)
    np.testing.assert_allclose(kalman.boxes_of(kalman.predict(believed)), [[250, 50, 290, 130]], atol=0.5)


def test_correcting_is_the_textbook_formula():
    random = np.random.default_rng(0)
    believed = kalman.predict(kalman.begin(np.array([[10.0, 20, 50, 100]])))
    spread = random.normal(size=(8, 8))
    believed = believed._replace(covariance=believed.covariance + (spread @ spread.T)[None])
    corrected = kalman.correct(believed, np.array([[14.0, 18, 56, 104]]))

    look, covariance = np.eye(4, 8), believed.covariance[0]
    height = believed.mean[0, 3]
    noise = np.diag(np.square([height / 20, height / 20, 0.1, height / 20]))
    gain = covariance @ look.T @ np.linalg.inv(look @ covariance @ look.T + noise)
    seen = np.array([35, 61, 42 / 86, 86])
    np.testing.assert_allclose(corrected.mean[0], believed.mean[0] + gain @ (seen - look @ believed.mean[0]))
    np.testing.assert_allclose(corrected.covariance[0], (np.eye(8) - gain @ look) @ covariance, atol=1e-8)


def test_two_objects_that_cross_keep_their_ids():
    frames = [detections((10 + 9 * t, 100, 0.9, 0), (280 - 9 * t, 112, 0.9, 0)) for t in range(30)]
    ids = follow(Tracker(), frames)
    assert ids == [[1, 2]] * 30


def test_a_hidden_object_is_followed_by_its_doubtful_detections():
    scores = [0.9] * 5 + [0.2] * 5 + [0.9] * 5
    frames = [detections((10 + 6 * t, 100, score, 0)) for t, score in enumerate(scores)]
    assert follow(Tracker(), frames) == [[1]] * 15


def test_an_object_that_was_gone_comes_back_under_its_id_within_the_patience():
    def frames(gone: int) -> list[Detections]:
        seen = [detections((10 + 4 * t, 100, 0.9, 0)) for t in range(10)]
        back = [detections((10 + 4 * t, 100, 0.9, 0)) for t in range(10 + gone, 15 + gone)]
        return [*seen, *[detections()] * gone, *back]

    assert [row for row in follow(Tracker(patience=8), frames(8)) if row] == [[1]] * 15
    late = [row for row in follow(Tracker(patience=8), frames(12)) if row]
    assert late == [[1]] * 10 + [[UNTRACKED]] + [[2]] * 4


def test_what_flickers_once_gets_no_id_and_what_is_doubtful_begins_no_track():
    still = (300, 300, 0.9, 0)
    frames = [detections(still), detections(still, (50, 50, 0.9, 0)), detections(still), detections(still)]
    assert follow(Tracker(), frames) == [[1], [1, UNTRACKED], [1], [1]]
    assert follow(Tracker(), [detections((50, 50, 0.4, 0))] * 5) == [[UNTRACKED]] * 5


def test_classes_do_not_mix():
    frames = [detections((50, 50, 0.9, 0)), detections((50, 50, 0.9, 1)), detections((50, 50, 0.9, 1))]
    assert follow(Tracker(), frames) == [[1], [UNTRACKED], [2]]


def test_ids_do_not_depend_on_the_order_of_a_frame():
    frames = [detections((10 + 9 * t, 100, 0.9, 0), (280 - 9 * t, 200, 0.8, 0)) for t in range(8)]
    turned = [frame.select([1, 0]) if t % 2 else frame for t, frame in enumerate(frames)]
    assert follow(Tracker(), turned) == [[1, 2] if t % 2 == 0 else [2, 1] for t in range(8)]


def test_objects_are_counted_once():
    tracker, counts = Tracker(), ObjectCounts()
    for t in range(12):
        frame = detections((10 + 6 * t, 100, 0.9, 0), (300, 300, 0.9, 1), (500, 20 + 5 * t, 0.9, 1))
        counts.update(frame, tracker.update(frame))
    assert counts.by_class() == {"person": 2, "car": 1}


@pytest.mark.parametrize(
    ("line", "places", "expected"),
    [
        # Looking up the picture (from its lower end), what goes right crosses to the right.
        (((200, 400), (200, 0)), [100, 150, 250, 300], {"to_right": {"car": 1}, "to_left": {}}),
        (((200, 0), (200, 400)), [100, 150, 250, 300], {"to_right": {}, "to_left": {"car": 1}}),
        (((200, 400), (200, 0)), [100, 250, 100, 250], {"to_right": {"car": 2}, "to_left": {"car": 1}}),
        # Trembling on the line is no crossing; passing beyond its end neither.
        (((200, 400), (200, 0)), [100, 180, 181, 179, 181, 179, 250], {"to_right": {"car": 1}, "to_left": {}}),
        (((200, 400), (200, 300)), [100, 150, 250, 300], {"to_right": {}, "to_left": {}}),
    ],
)
def test_crossings_of_a_line(line, places, expected):
    counting = CountLine(*line)
    for x in places:
        counting.update(detections((x, 100, 0.9, 0)), np.array([7]))
    assert counting.by_direction() == expected


def test_what_has_no_track_is_not_counted():
    counting, counts = CountLine((200, 400), (200, 0)), ObjectCounts()
    for x in (100, 300):
        counting.update(detections((x, 100, 0.9, 0)), np.array([UNTRACKED]))
        counts.update(detections((x, 100, 0.9, 0)), np.array([UNTRACKED]))
    assert counting.by_direction() == {"to_right": {}, "to_left": {}}
    assert counts.by_class() == {}


def test_a_line_needs_two_points():
    with pytest.raises(ConfigError, match="two different points"):
        CountLine((5, 5), (5, 5))
