from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from PIL import Image

from luminoth.errors import OutputError
from luminoth.inference.crops import Crops

PIXELS = np.zeros((40, 60, 3), np.uint8)
PIXELS[10:20, 20:40] = (250, 0, 0)
PIXELS[30:, 50:] = (0, 250, 0)
OBJECTS = [{"bbox": [20, 10, 40, 20], "label": "red/thing"}, {"bbox": [50, 30, 60, 40], "label": "green"}]


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_each_object_by_class_file_and_number(tmp_path):
    crops = Crops(tmp_path, 0)
    for name in ("a.jpg", "a.png", "sub/a.jpg"):
        crops.save(crops.begin(PurePosixPath(name), is_video=False), PIXELS, OBJECTS)
    begin = crops.begin(PurePosixPath("a.mp4"), is_video=True)
    crops.save(begin, PIXELS, OBJECTS[:1], 7)
    crops.save(begin, PIXELS, OBJECTS, 1234567)
    assert files(tmp_path) == [
        *("green/a-2-2.jpg", "green/a-2.jpg", "green/a.mp4/1234567-2.jpg", "green/sub/a-2.jpg"),
        *("red_thing/a-1.jpg", "red_thing/a-2-1.jpg", "red_thing/a.mp4/000007-1.jpg"),
        *("red_thing/a.mp4/1234567-1.jpg", "red_thing/sub/a-1.jpg"),
    ]
    for path in tmp_path.rglob("*.jpg"):
        height, width, colour = (10, 20, (250, 0, 0)) if "red" in str(path) else (10, 10, (0, 250, 0))
        crop = np.asarray(Image.open(path))
        assert crop.shape == (height, width, 3)
        np.testing.assert_allclose(crop[height // 2, width // 2], colour, atol=6)


@pytest.mark.parametrize(
    ("bbox", "margin", "expected"),
    [
        ([20, 10, 40, 20], 0.5, (10, 5, 50, 25)),
        ([50, 30, 60, 40], 1.0, (40, 20, 60, 40)),
        ([-9, -9, 5, 5], 0.0, (0, 0, 5, 5)),
        ([60, 40, 60, 40], 0.0, (59, 39, 60, 40)),  # nothing of it is on the picture
    ],
)
def test_margins_end_with_the_picture(bbox, margin, expected):
    x, y = np.meshgrid(np.arange(60), np.arange(40))
    cut = Crops(Path("unused"), margin)._cut(np.stack([x, y, y], axis=-1), bbox)
    assert (cut[0, 0, 0], cut[0, 0, 1], cut[-1, -1, 0] + 1, cut[-1, -1, 1] + 1) == expected


def test_where_nothing_can_be_written(tmp_path):
    (tmp_path / "green").write_text("")
    crops = Crops(tmp_path, 0)
    with pytest.raises(OutputError, match=r"green/a-1\.jpg: cannot be written"):
        crops.save(crops.begin(PurePosixPath("a.jpg"), is_video=False), PIXELS, OBJECTS[1:])
