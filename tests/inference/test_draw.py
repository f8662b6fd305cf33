import time

import numpy as np
import pytest
from PIL import Image

from luminoth.inference.draw import class_colour, draw_line, draw_objects, vis_objects
from luminoth.types import Detections

GREY = 100


def grey(height, width):
    return np.full((height, width, 3), GREY, np.uint8)


def test_the_line_lies_on_the_inner_side_of_the_box():
    drawn = np.asarray(
        vis_objects(grey(100, 100), [{"bbox": [20, 40, 60, 80], "label": "car", "prob": 0.9}], labels=False, fill=0)
    )
    colour = list(class_colour("car"))
    # Two pixels wide on a small picture: 20 and 21, 58 and 59.
    assert drawn[60, [19, 20, 21, 22]].tolist() == [[GREY] * 3, colour, colour, [GREY] * 3]
    assert drawn[60, [57, 58, 59, 60]].tolist() == [[GREY] * 3, colour, colour, [GREY] * 3]
    assert drawn[[39, 40, 41, 42], 40].tolist() == [[GREY] * 3, colour, colour, [GREY] * 3]
    assert drawn[[77, 78, 79, 80], 40].tolist() == [[GREY] * 3, colour, colour, [GREY] * 3]
    assert (drawn[:, :20] == GREY).all()


def test_fill_tints_the_inside():
    drawn = vis_objects(
        grey(100, 100), [{"bbox": [20, 20, 80, 80], "label": "x"}], {"x": (255, 0, 100)}, labels=False, fill=51
    )
    # 51 of 255 is a fifth: 100 + (255 - 100) / 5, 100 - 100 / 5, 100.
    assert drawn.getpixel((50, 50)) == (131, 80, 100)
    assert drawn.getpixel((10, 50)) == (GREY, GREY, GREY)


def test_lines_grow_with_the_picture_and_with_scale():
    def line_width(side, scale):
        box = [side // 4, side // 4, side * 3 // 4, side * 3 // 4]
        drawn = vis_objects(grey(side, side), {"bbox": box, "label": "x"}, lambda name: (255, 0, 0), False, scale, 0)
        row = np.asarray(drawn)[side // 2, : side // 2]
        return int((row == [255, 0, 0]).all(axis=1).sum())

    assert [line_width(100, 1), line_width(1140, 1), line_width(1140, 2)] == [2, 3, 6]


def test_the_input_is_not_changed_and_frames_are():
    pixels, objects = grey(50, 50), [{"bbox": [10, 10, 40, 40], "label": "x", "prob": 0.5}]
    shown = vis_objects(pixels, objects)
    assert isinstance(shown, Image.Image)
    assert (pixels == GREY).all()
    draw_objects(pixels, objects)
    assert (pixels != GREY).any()


def test_tags_stay_in_the_picture_and_show_their_text():
    colour = class_colour("car")
    for box in ([0, 0, 40, 30], [180, 0, 200, 30], [180, 130, 200, 150], [0, 0, 200, 150]):
        pixels = grey(150, 200)
        draw_objects(pixels, [{"bbox": box, "label": "car", "prob": 0.91}])
        plain = grey(150, 200)
        draw_objects(plain, [{"bbox": box, "label": "car", "prob": 0.91}], labels=False)
        ys, xs = np.nonzero((pixels != plain).any(axis=2))
        tag = pixels[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
        # Wholly there, wherever the box is: as wide as its text needs, mostly of the class's colour, with dark text.
        assert 40 < tag.shape[1] < 80
        assert (tag == colour).all(axis=2).mean() > 0.5
        assert tag.sum(axis=2).min() < 200


def test_tags_make_way_for_each_other():
    box = [50, 60, 150, 120]
    objects = [{"bbox": box, "label": name, "prob": prob} for name, prob in (("car", 0.9), ("bus", 0.8), ("cat", 0.7))]
    pixels = grey(200, 200)
    draw_objects(pixels, objects)
    for name in ("car", "bus", "cat"):
        assert (pixels == class_colour(name)).all(axis=2).sum() > 300


def test_colours_stay_with_the_class_and_differ_between_common_ones():
    assert class_colour("car") == (255, 15, 165)  # a change would recolour everybody's pictures
    names = ["car", "bus", "truck", "person", "bicycle", "traffic light"]
    colours = np.array([class_colour(name) for name in names], int)
    distances = np.abs(colours[:, None] - colours[None]).sum(axis=2) + 999 * np.eye(len(names), dtype=int)
    assert distances.min() > 100


def test_detections_and_dicts_look_the_same():
    found = Detections(
        np.array([[10, 10, 40, 40]], np.float32), np.array([0.8], np.float32), np.array([1]), ["a", "b"], (50, 50)
    )
    assert vis_objects(grey(50, 50), found) == vis_objects(grey(50, 50), found.to_dicts())


@pytest.mark.parametrize(
    "bbox",
    [[-30, -30, 500, 500], [49, 49, 60, 60], [20, 20, 20, 20], [30, 30, 10, 10], [90, 90, 99, 99], [0, 0, 1, 50]],
)
def test_odd_boxes_do_no_harm(bbox):
    vis_objects(grey(50, 50), [{"bbox": bbox, "label": "a name much longer than the picture is wide", "prob": 1.0}])


def test_a_tiny_picture():
    vis_objects(grey(3, 2), [{"bbox": [0, 0, 2, 3], "label": "x", "prob": 1.0}])


def test_a_hundred_boxes_on_a_frame_are_fast():
    random = np.random.default_rng(0)
    corners = random.uniform(0, 900, (100, 2))
    objects = [
        {"bbox": [x, y, x + 150, y + 120], "label": f"class {index % 20}", "prob": 0.5 + index % 50 / 100}
        for index, (x, y) in enumerate(corners)
    ]
    pixels = grey(1080, 1920)
    draw_objects(pixels, objects)  # renders the tags
    started = time.process_time()
    for _ in range(5):
        draw_objects(pixels, objects)
    assert (time.process_time() - started) / 5 < 0.06  # 7 ms where it was written


def test_a_crowd_is_dashed():
    box = {"bbox": [10, 20, 90, 80], "label": "x", "is_crowd": True}
    drawn = np.asarray(vis_objects(grey(100, 100), box, lambda name: (255, 0, 0), labels=False, fill=0))
    is_line = (drawn == [255, 0, 0]).all(axis=2)
    # Lines are two pixels wide, dashes and gaps six long.
    assert is_line[20, 10:34].tolist() == ([True] * 6 + [False] * 6) * 2
    assert is_line[22:26, 10].all()
    assert not is_line[26:32, 10].any()
    assert not is_line[30:70, 20:80].any()


def test_a_note_stands_behind_the_name():
    plain, noted = ({"bbox": [10, 30, 90, 80], "label": "car", "note": note} for note in ("", "(crowd)"))
    colour = class_colour("car")
    widths = [
        (np.asarray(vis_objects(grey(100, 100), found, fill=0))[:30] == colour).all(axis=2).any(axis=0).sum()
        for found in (plain, noted)
    ]
    assert widths[1] > widths[0] + 20


def test_a_line_by_hand():
    pixels = np.full((20, 30, 3), 100, np.uint8)
    draw_line(pixels, (-5, 10), (40, 10), colour=(255, 0, 0), line_width=2)
    assert (pixels[9:11] == (255, 0, 0)).all()
    assert (pixels[[8, 11]] == 0).all()
    assert (np.delete(pixels, [8, 9, 10, 11], axis=0) == 100).all()
