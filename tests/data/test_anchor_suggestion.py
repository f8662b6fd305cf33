"""Suggested anchors and sizes of pictures: found where they are known, no worse than the configured ones, loadable."""

from pathlib import Path

import numpy as np
import pytest

from luminoth.config import load_config
from luminoth.data.stats.anchor_fit import AnchorGrid, InputRule, best_anchor_overlap
from luminoth.data.stats.anchor_search import fit_score, search_anchors
from luminoth.data.stats.anchor_suggestion import Objects, as_yaml, measure_fit, suggest, suggest_input
from luminoth.data.stats.configured import network_view
from luminoth.data.toytown import draw_scene

AS_IT_IS = InputRule()
TOYTOWN = Path(__file__).parents[2] / "configs" / "toytown.yml"


def objects_of(shapes, count=40, size=(400, 600), seed=0) -> Objects:
    """`count` objects of each (width, height), anywhere in pictures of one size."""
    random = np.random.default_rng(seed)
    sides = np.repeat(np.asarray(shapes, np.float32), count, axis=0)
    corners = random.uniform(0, 1, sides.shape) * (np.asarray(size[::-1]) - sides)
    boxes = np.concatenate([corners, corners + sides], axis=1).astype(np.float32)
    return Objects(boxes, np.tile(size, (len(boxes), 1)))


# --- The search ------------------------------------------------------------


def test_finds_the_shapes_that_objects_have():
    shapes = [(side / ratio**0.5, side * ratio**0.5) for side in (20, 64) for ratio in (0.5, 2)]
    found = search_anchors(*objects_of(shapes).at_input(AS_IT_IS), AnchorGrid([[100, 200]], [0.7, 1.5], [4]))
    assert found == AnchorGrid([[20, 64]], [0.5, 2], [4])


def test_fewer_anchors_where_fewer_do():
    found = search_anchors(*objects_of([(40, 40)]).at_input(AS_IT_IS), AnchorGrid([[16, 100, 300]], [0.5, 1, 2], [4]))
    assert found == AnchorGrid([[40]], [1], [4])


def test_coarser_maps_have_the_larger_anchors():
    grid = AnchorGrid([[32], [64], [128]], [0.5, 1, 2], [4, 8, 16])
    found = search_anchors(*objects_of([(20, 20), (100, 100), (50, 50)]).at_input(AS_IT_IS), grid)
    assert found.sides == [[20], [48], [96]]
    assert found.strides == [4, 8, 16]


@pytest.mark.parametrize("seed", range(4))
def test_is_no_worse_than_the_configured_anchors(seed):
    random = np.random.default_rng(seed)
    objects = objects_of(random.lognormal(3.8, 0.6, (60, 2)).clip(4, 390), count=5, seed=seed)
    boxes, sizes = objects.at_input(AS_IT_IS)
    grid = AnchorGrid([[19.2, 64, 150]], [0.45, 1, 2], [16])  # not numbers that the search would think of
    before, after = (
        fit_score(best_anchor_overlap(boxes, sizes, each, 0.0), 0.7)
        for each in (grid, search_anchors(boxes, sizes, grid, 0.0))
    )
    assert after >= before - 0.005


def test_a_score_by_hand():
    assert fit_score(np.asarray([0.4, 0.6, 0.8, 0.2]), 0.7) == pytest.approx((2 / 4 + 1 / 4 + 0.5) / 3)


# --- The size of pictures ------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "size", "stride", "configured", "suggested"),
    [
        (6, (1200, 1600), 16, (600, 1000), (900, 1500)),  # 3 pixels: as much larger as may be
        (31, (1200, 1600), 16, (600, 1000), (620, 1040)),  # 15.5 pixels: a little larger
        (34, (1200, 1600), 16, (600, 1000), (600, 1000)),  # 17 pixels
        (10, (500, 700), 8, (600, 1000), (600, 1000)),  # 12 pixels are enough for a stride of 8
        (3, (300, 400), 16, (600, 1000), (600, 1000)),  # enlarged to twice their size already
        (3, (400, 500), 16, (600, 1000), (800, 1340)),  # up to twice their size
        (40, (320, 480), 4, (600, 1000), (320, 540)),  # enlarged for nothing
        (14, (320, 480), 4, (600, 1000), (380, 640)),  # enlarged more than needed
        (400, (1200, 1600), 16, (600, 1000), (600, 1000)),  # large objects are no reason to shrink pictures
        (6, (1200, 1600), 16, (600, None), (900, None)),
    ],
)
def test_size_of_pictures(side, size, stride, configured, suggested):
    objects = objects_of([(side, 2 * side)], size=size)
    assert suggest_input(objects, InputRule(*configured), stride) == InputRule(*suggested)


@pytest.mark.parametrize("rule", [InputRule(fixed_height=300, fixed_width=300), InputRule(max_size=800), InputRule()])
def test_other_rules_stay(rule):
    assert suggest_input(objects_of([(3, 3)]), rule, 16) == rule


# --- Both ------------------------------------------------------------


def test_anchors_that_fit_are_left_alone():
    grid = AnchorGrid([[20, 60]], [1], [4])
    found = suggest(objects_of([(20, 20), (60, 60)]), AS_IT_IS, grid)
    assert not found.changes
    assert found.suggested == found.configured
    assert found.grid is grid


def test_figures_of_a_fit():
    objects = Objects(np.asarray([[8, 8, 24, 24], [8, 8, 24, 40]], np.float32), np.tile((64, 64), (2, 1)))
    fit = measure_fit(objects, AS_IT_IS, AnchorGrid([[16]], [1], [16], offset=0.0), foreground=0.7)
    assert (fit.anchors, fit.recall_half, fit.recall_foreground, fit.mean_overlap) == (1, 1.0, 0.5, 0.75)
    assert fit.small_side == 16
    assert fit.score == 0.75


@pytest.mark.parametrize(
    ("overrides", "lines"),
    [
        ([], "model:\n  anchors: {base_size: 64, scales: [1, 3], ratios: [0.5, 2]}\n"),
        (["model.network.features=fpn"], "sizes: [["),
    ],
)
def test_is_written_as_a_configuration_that_loads(overrides, lines, tmp_path):
    overrides = [*overrides, "dataset.image_preprocessing={min_size: 400, max_size: 700}"]
    shapes = [(side / ratio**0.5, side * ratio**0.5) for side in (64, 192) for ratio in (0.5, 2)]
    config = load_config([], [*overrides, "model.base_network.output_stride=8"])
    view = network_view(config)
    found = suggest(objects_of(shapes), view.rule, view.grid, border=view.border)
    text = as_yaml(found, sizes=config.model.anchors.sizes is not None)
    assert lines in text
    (tmp_path / "suggested.yml").write_text(text)
    again = network_view(load_config([tmp_path / "suggested.yml"], [*overrides, "model.base_network.output_stride=8"]))
    assert again.rule == found.rule
    np.testing.assert_allclose(again.grid.shapes(), found.grid.shapes())


def test_a_suggested_size_of_pictures_loads(tmp_path):
    config = load_config()
    view = network_view(config)
    found = suggest(objects_of([(6, 12), (40, 40)], size=(1200, 1600)), view.rule, view.grid)
    (tmp_path / "suggested.yml").write_text(as_yaml(found, sizes=False))
    assert found.rule == InputRule(min_size=900, max_size=1540)
    assert network_view(load_config([tmp_path / "suggested.yml"])).rule == found.rule


def test_toytowns_own_anchors_are_matched_at_the_same_size():
    boxes = np.asarray([each.box for index in range(30) for each in draw_scene(1, index)[1]], np.float32)
    objects = Objects(boxes, np.tile((320, 480), (len(boxes), 1)))
    view = network_view(load_config([TOYTOWN]))
    grid = search_anchors(*objects.at_input(view.rule), view.grid, view.border, view.foreground)
    by_hand, found = (measure_fit(objects, view.rule, each, view.border) for each in (view.grid, grid))
    assert found.anchors <= by_hand.anchors
    assert found.recall_half >= by_hand.recall_half
    assert found.recall_foreground > by_hand.recall_foreground + 0.1
    assert found.mean_overlap > by_hand.mean_overlap
