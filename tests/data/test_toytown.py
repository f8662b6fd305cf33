import csv
import json
from collections import Counter
from pathlib import Path
from random import Random
from xml.etree import ElementTree

import av
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from luminoth.cli.dataset_toytown import toytown
from luminoth.data.readers import open_reader
from luminoth.data.toytown import CLASSES, FORMATS, draw_scene, write_toytown, write_toytown_video
from luminoth.data.toytown.sprite import SUPERSAMPLING, Sprite
from luminoth.data.toytown.street import Street
from luminoth.data.toytown.vehicles import draw_bus, draw_car
from luminoth.data.toytown.visibility import Actor, visible_objects
from luminoth.errors import DataError, OutputError

COUNT = 60


@pytest.fixture(scope="module")
def scenes():
    return [draw_scene(11, index) for index in range(COUNT)]


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """The same small data set in each format, and its summaries."""
    root = tmp_path_factory.mktemp("sets")
    summaries = {form: write_toytown(root / form, images=8, seed=3, format=form, val_fraction=0.25) for form in FORMATS}
    return root, summaries


# --- Scenes ---------------------------------------------------------------------


def test_a_picture_depends_on_seed_and_index_alone(scenes):
    for index in (59, 3):  # in another order than the fixture
        pixels, objects = draw_scene(11, index)
        np.testing.assert_array_equal(pixels, scenes[index][0])
        assert [item.box for item in objects] == [item.box for item in scenes[index][1]]
    assert not np.array_equal(draw_scene(12, 3)[0], scenes[3][0])
    assert not np.array_equal(scenes[4][0], scenes[3][0])


def test_pictures_are_lively_and_of_the_size_asked_for(scenes):
    for pixels, _ in scenes:
        assert pixels.shape == (320, 480, 3)
        assert pixels.dtype == np.uint8
        assert pixels.std() > 15
    pixels, objects = draw_scene(0, 0, (200, 260))
    assert pixels.shape == (200, 260, 3)
    assert all(item.box[2] <= 260 and item.box[3] <= 200 for item in objects)


def test_boxes_are_whole_pixels_inside_the_picture_and_as_tight_as_their_masks(scenes):
    for _, objects in scenes:
        for item in objects:
            x_min, y_min, x_max, y_max = item.box
            assert all(isinstance(side, int) for side in item.box)
            assert 0 <= x_min < x_max <= 480
            assert 0 <= y_min < y_max <= 320
            assert item.mask.shape == (y_max - y_min, x_max - x_min)
            edges = item.mask[0], item.mask[-1], item.mask[:, 0], item.mask[:, -1]
            assert all(edge.any() for edge in edges)


def test_masks_of_different_objects_hardly_overlap(scenes):
    for _, objects in scenes:
        layers = np.zeros((320, 480), int)
        for item in objects:
            x_min, y_min, x_max, y_max = item.box
            layers[y_min:y_max, x_min:x_max] += item.mask
        # a pixel that two things halve belongs to both
        assert (layers > 1).sum() <= 0.02 * max((layers > 0).sum(), 1) + 4
        assert layers.max(initial=0) <= 2


def test_the_scenes_have_all_classes_in_balance_and_some_have_no_object(scenes):
    labels = Counter(item.label for _, objects in scenes for item in objects)
    assert set(labels) == set(CLASSES)
    assert max(labels.values()) < 3 * min(labels.values())
    counts = [len(objects) for _, objects in scenes]
    assert 1 <= counts.count(0) <= 0.2 * COUNT
    filled = [count for count in counts if count]
    assert all(2 <= count <= 8 for count in filled)
    assert sum(count >= 3 for count in filled) >= 0.9 * len(filled)


def test_objects_are_large_enough_to_be_found(scenes):
    whole = [item for _, objects in scenes for item in objects if not item.truncated and item.visible > 0.95]
    longer = np.array([max(x1 - x0, y1 - y0) for x0, y0, x1, y1 in (item.box for item in whole)])
    assert ((longer >= 20) & (longer <= 200)).mean() > 0.85
    lights = [item.box[2] - item.box[0] for item in whole if item.label == "traffic light"]
    assert min(lights) >= 10


def test_flags_follow_what_can_be_seen(scenes):
    objects = [item for _, objects in scenes for item in objects]
    assert all(0.25 <= item.visible <= 1 for item in objects)
    assert all(item.difficult == (item.visible < 0.5) for item in objects)
    for item in objects:
        x_min, y_min, x_max, y_max = item.box
        if item.truncated:
            assert x_min == 0 or x_max == 480 or y_min == 0 or y_max == 320 or item.visible < 0.9
    assert 0 < sum(item.truncated for item in objects) < 0.4 * len(objects)
    assert 0 < sum(item.difficult for item in objects) < 0.25 * len(objects)


def block(label: str, x: float, ground: float, width: int, height: int, lift: float = 0.0) -> Actor:
    """A filled rectangle of `width` x `height` pixels of the final picture."""
    sprite = Sprite(width, height, SUPERSAMPLING)
    sprite.colour = Image.new("RGBA", (width * SUPERSAMPLING, height * SUPERSAMPLING), (255, 0, 0, 255))
    sprite.glow = Image.new("RGB", sprite.colour.size)
    return Actor(label, sprite, x * SUPERSAMPLING, ground * SUPERSAMPLING - 1, lift * SUPERSAMPLING)


def test_visibility_by_hand():
    # a car of 40 x 20 pixels; a person in front hides its right 10 columns
    car = block("car", 40, 50, 40, 20)
    person = block("person", 60, 60, 20, 40)
    seen_car, seen_person = visible_objects([person, car], (100, 200))
    assert (seen_car.label, seen_car.box) == ("car", (20, 30, 50, 50))
    assert seen_car.visible == pytest.approx(0.75)
    assert not seen_car.truncated
    assert not seen_car.difficult
    assert (seen_person.label, seen_person.box, seen_person.visible) == ("person", (50, 20, 70, 60), 1.0)


def test_visibility_at_the_edge_and_behind_clutter():
    half_out = block("bus", 0, 50, 40, 20)
    (seen,) = visible_objects([half_out], (100, 200))
    assert (seen.box, seen.truncated, seen.visible) == ((0, 30, 20, 50), True, 0.5)
    hedge = block(None, 10, 60, 20, 25)  # hides what is left of it but for the top 5 rows
    assert visible_objects([half_out, hedge], (100, 200)) == []
    lower_hedge = block(None, 10, 60, 20, 18)  # hides 8 of 20 rows of it
    (seen,) = visible_objects([half_out, lower_hedge], (100, 200))
    assert (seen.box, seen.visible, seen.difficult) == ((0, 30, 20, 42), pytest.approx(0.3), True)
    assert visible_objects([block("car", -50, 50, 40, 20)], (100, 200)) == []
    assert visible_objects([block("car", 300, 50, 40, 20)], (100, 200)) == []


def test_a_flipped_sprite_is_the_mirror_image():
    sprite = draw_car(40.0, Random(1), lamps_on=True)
    flipped = sprite.flipped()
    np.testing.assert_array_equal(flipped.alpha, sprite.alpha[:, ::-1])
    np.testing.assert_array_equal(np.asarray(flipped.glow), np.asarray(sprite.glow)[:, ::-1])
    width = sprite.alpha.shape[1]
    assert flipped.foot == (width - sprite.foot[1], width - sprite.foot[0])
    assert flipped.flipped().area == sprite.area


def test_lamps_only_shine_when_they_are_on():
    assert np.asarray(draw_bus(40.0, Random(1), lamps_on=True).glow).any()
    assert not np.asarray(draw_bus(40.0, Random(1), lamps_on=False).glow).any()


# --- Data sets ------------------------------------------------------------------


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def voc_boxes(folder: Path, split: str) -> dict[str, list]:
    """Image id -> [(label, continuous box)], as a VOC file states them."""
    boxes = {}
    for name in (folder / "ImageSets/Main" / f"{split}.txt").read_text().split():
        root = ElementTree.parse(folder / "Annotations" / f"{name}.xml").getroot()
        assert root.findtext("filename") == f"{name}.jpg"
        assert [root.findtext(f"size/{side}") for side in ("width", "height", "depth")] == ["480", "320", "3"]
        boxes[name] = []
        for element in root.iter("object"):
            x0, y0, x1, y1 = (int(element.findtext(f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax"))
            boxes[name].append((element.findtext("name"), (x0 - 1, y0 - 1, x1, y1)))
    return boxes


def coco_boxes(folder: Path, split: str) -> dict[str, list]:
    contents = json.loads((folder / "annotations" / f"instances_{split}2017.json").read_text())
    names = {category["id"]: category["name"] for category in contents["categories"]}
    assert tuple(names.values()) == CLASSES
    ids = {image["id"]: Path(image["file_name"]).stem for image in contents["images"]}
    boxes = {name: [] for name in ids.values()}
    for annotation in contents["annotations"]:
        x, y, width, height = annotation["bbox"]
        assert annotation["area"] == width * height
        boxes[ids[annotation["image_id"]]].append((names[annotation["category_id"]], (x, y, x + width, y + height)))
    assert len({annotation["id"] for annotation in contents["annotations"]}) == len(contents["annotations"])
    return boxes


def csv_boxes(folder: Path, split: str) -> dict[str, list]:
    boxes = {path.stem: [] for path in sorted((folder / split).iterdir())}
    with open(folder / f"{split}.csv", newline="") as file:
        for row in csv.DictReader(file):
            box = tuple(int(row[side]) for side in ("xmin", "ymin", "xmax", "ymax"))
            boxes[Path(row["image_id"]).stem].append((row["label"], box))
    return boxes


BOXES = {"pascal": voc_boxes, "coco": coco_boxes, "csv": csv_boxes}


@pytest.mark.parametrize("form", FORMATS)
def test_files_hold_exactly_what_was_drawn(sets, form):
    root, summaries = sets
    found = BOXES[form](root / form, "train") | BOXES[form](root / form, "val")
    for index in range(8):
        _, objects = draw_scene(3, index)
        assert found[f"toytown_3_{index:06d}"] == [(item.label, item.box) for item in objects]
    labels = Counter(label for boxes in found.values() for label, _ in boxes)
    assert summaries[form].boxes == {name: labels[name] for name in CLASSES}
    assert summaries[form].images == {"train": 6, "val": 2}
    assert summaries[form].empty_images == sum(not boxes for boxes in found.values())


def test_pictures_are_the_same_in_every_format_and_near_what_was_drawn(sets):
    root, _ = sets
    one = (root / "pascal/JPEGImages/toytown_3_000007.jpg").read_bytes()
    assert one == (root / "coco/val2017/toytown_3_000007.jpg").read_bytes()
    assert one == (root / "csv/val/toytown_3_000007.jpg").read_bytes()
    decoded = np.asarray(Image.open(root / "csv/val/toytown_3_000007.jpg"), float)
    assert np.abs(decoded - draw_scene(3, 7)[0]).mean() < 6


@pytest.mark.parametrize("form", FORMATS)
def test_our_readers_read_it(sets, form):
    root, _ = sets
    reader = open_reader(form, root / form, {})
    assert sorted(reader.splits()) == ["train", "val"]
    images = list(reader.images("train"))
    assert len(images) == 6
    for image in images:
        index = int(Path(image.image_id).stem.split("_")[-1]) if form != "coco" else int(image.path.stem[-6:])
        expected = [(item.label, tuple(map(float, item.box))) for item in draw_scene(3, index)[1]]
        assert [(box.label, tuple(map(float, box.corners))) for box in image.boxes] == expected
        assert image.path.is_file()


def test_pascal_keeps_the_flags(sets):
    root, _ = sets
    for index in range(8):
        objects = draw_scene(3, index)[1]
        annotation = ElementTree.parse(root / "pascal/Annotations" / f"toytown_3_{index:06d}.xml").getroot()
        stated = [(e.findtext("truncated"), e.findtext("difficult")) for e in annotation.iter("object")]
        assert stated == [(str(int(item.truncated)), str(int(item.difficult))) for item in objects]


@pytest.mark.parametrize("form", FORMATS)
def test_equal_arguments_give_equal_bytes(sets, form, tmp_path):
    root, _ = sets
    write_toytown(tmp_path / "again", images=8, seed=3, format=form, val_fraction=0.25)
    assert tree(tmp_path / "again") == tree(root / form)


@pytest.mark.parametrize(
    ("images", "fraction", "expected"),
    [
        (4, 0.0, {"train": 4}),
        (4, 1.0, {"val": 4}),
        (4, 0.01, {"train": 3, "val": 1}),
        (4, 0.99, {"train": 1, "val": 3}),
        (1, 0.2, {"train": 1}),
    ],
)
def test_splits(tmp_path, images, fraction, expected):
    summary = write_toytown(tmp_path / "set", images=images, val_fraction=fraction, image_size=(80, 120))
    assert summary.images == expected
    listed = {path.stem: len(path.read_text().split()) for path in (tmp_path / "set/ImageSets/Main").iterdir()}
    assert listed == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"images": 0}, "images: got 0"),
        ({"format": "yolo"}, "pascal, coco, csv"),
        ({"val_fraction": 1.5}, "val_fraction: got 1.5"),
        ({"val_fraction": float("nan")}, "val_fraction: got nan"),
        ({"image_size": (20, 30)}, "30 x 20"),
        ({"image_size": (100, 900)}, "900 x 100"),
    ],
)
def test_wrong_arguments(tmp_path, arguments, message):
    with pytest.raises(DataError, match=message):
        write_toytown(tmp_path / "set", **{"images": 1, **arguments})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(OutputError, match="not empty"):
        write_toytown(tmp_path / "mine", images=1)
    (tmp_path / "file").write_text("keep")
    with pytest.raises(OutputError, match="file"):
        write_toytown(tmp_path / "file", images=1)
    with pytest.raises(OutputError, match="file/set: cannot be written"):
        write_toytown(tmp_path / "file" / "set", images=1)
    assert tree(tmp_path) == {"mine/notes.txt": b"keep", "file": b"keep"}


def test_an_empty_folder_is_filled_and_missing_parents_are_made(tmp_path):
    (tmp_path / "empty").mkdir()
    write_toytown(tmp_path / "empty", images=1, image_size=(80, 120))
    write_toytown(tmp_path / "a/b", images=1, image_size=(80, 120))
    assert tree(tmp_path / "empty") == tree(tmp_path / "a/b") != {}


def test_an_interrupted_run_leaves_nothing(tmp_path):
    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_toytown(tmp_path / "set", images=2, image_size=(80, 120), progress=interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_toytown_video(tmp_path / "film.mp4", seconds=0.2, image_size=(80, 120), progress=interrupt)
    assert list(tmp_path.iterdir()) == []


# --- Films ----------------------------------------------------------------------


def test_a_film_has_the_frames_and_the_size_asked_for(tmp_path):
    truth = write_toytown_video(tmp_path / "film.mp4", seconds=1.2, fps=10, seed=4, image_size=(160, 240))
    with av.open(str(tmp_path / "film.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.average_rate == 10
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(frames) == len(truth) == 12
    assert frames[0].shape == (160, 240, 3)
    assert {item.label for objects in truth for item in objects} <= set(CLASSES)
    assert all(objects for objects in truth)
    assert np.abs(frames[0].astype(int) - frames[-1]).max() > 50  # something moved
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


def test_a_film_is_the_same_again(tmp_path):
    for name in ("one.mp4", "two.mp4"):
        write_toytown_video(tmp_path / name, seconds=0.3, fps=10, seed=4, image_size=(80, 120))
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()


@pytest.mark.parametrize("seed", range(4))
def test_vehicles_never_run_into_one_another_and_stop_at_red(seed):
    street = Street(Random(seed), (160, 240))
    stopped = 0
    for _ in range(24 * 12):  # 24 seconds, more than two rounds of the light
        street.advance(1 / 12)
        for lane in street._lanes:
            for leader, follower in zip(lane.vehicles, lane.vehicles[1:], strict=False):
                gap = leader.travelled - leader.length / 2 - follower.travelled - follower.length / 2
                assert gap > 0.3
            stopped += any(vehicle.speed < 0.05 for vehicle in lane.vehicles)
    assert stopped > 24


def test_people_cross_only_while_the_traffic_has_red():
    street = Street(Random(1), (160, 240))
    crossed = 0
    far, near = street._stage.road
    for _ in range(24 * 12):
        street.advance(1 / 12)
        state, _ = street._signal()
        crossing = [walker for walker in street._walkers if far < walker.y < near]
        crossed += bool(crossing)
        assert state == "red" or not crossing
    assert crossed > 24


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"seconds": 0}, DataError, "seconds: got 0"),
        ({"seconds": float("inf")}, DataError, "seconds: got inf"),
        ({"fps": 0}, DataError, "fps: got 0"),
        ({"image_size": (81, 120)}, DataError, "even"),
    ],
)
def test_wrong_film_arguments(tmp_path, arguments, error, message):
    with pytest.raises(error, match=message):
        write_toytown_video(tmp_path / "film.mp4", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_film_needs_a_known_suffix_and_a_new_name(tmp_path):
    with pytest.raises(OutputError, match=r"\.mp4"):
        write_toytown_video(tmp_path / "film.gif", seconds=1)
    (tmp_path / "film.mp4").write_text("keep")
    with pytest.raises(OutputError, match="already"):
        write_toytown_video(tmp_path / "film.mp4", seconds=1)
    assert (tmp_path / "film.mp4").read_text() == "keep"
    with pytest.raises(OutputError, match=r"film\.mp4/film\.mp4: cannot be written"):
        write_toytown_video(tmp_path / "film.mp4" / "film.mp4", seconds=1)


# --- The command ----------------------------------------------------------------


def invoke(*arguments):
    return CliRunner().invoke(toytown, [str(argument) for argument in arguments])


def test_command_writes_a_data_set_and_says_what_to_type_next(tmp_path):
    folder = tmp_path / "my set"
    result = invoke("--output-dir", folder, "--images", 3, "--format", "coco", "--val-fraction", 0.34, "--seed", 9)
    assert result.exit_code == 0, result.output
    assert f"{folder}: 3 pictures (train 2, val 1)" in result.stdout
    assert f"lumi dataset transform --type coco --data-dir '{folder}' --output-dir '{folder}-tf'" in result.stdout
    assert (folder / "train2017/toytown_9_000000.jpg").is_file()
    objects = sum(len(draw_scene(9, index)[1]) for index in range(3))
    boxes = next(line for line in result.stdout.splitlines() if "boxes:" in line)
    assert sum(int(part.rsplit(" ", 1)[1]) for part in boxes.split(", ")) == objects


def test_command_draws_a_film_of_the_size_asked_for(tmp_path):
    result = invoke("--video", tmp_path / "f.mp4", "--seconds", 0.4, "--fps", 5, "--width", 120, "--height", 80)
    assert result.exit_code == 0, result.output
    assert "2 frames, 0.4 s, 120 x 80 pixels" in result.stdout
    assert (tmp_path / "f.mp4").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--output-dir"),
        (["--images", "0", "--output-dir", "d"], "--images"),
        (["--val-fraction", "2", "--output-dir", "d"], "--val-fraction"),
        (["--format", "yolo", "--output-dir", "d"], "--format"),
        (["--video", "f.mp4", "--images", "5"], "--images is of no use"),
        (["--output-dir", "d", "--seconds", "5"], "--seconds is of no use"),
        (["--video", "f.mp4", "--seconds", "0"], "--seconds"),
    ],
)
def test_wrong_usage_exits_2_and_writes_nothing(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_film_that_cannot_be_written_is_noticed_before_the_pictures_are_drawn(tmp_path):
    (tmp_path / "f.mp4").write_text("keep")
    result = invoke("--output-dir", tmp_path / "set", "--images", 1, "--video", tmp_path / "f.mp4")
    assert isinstance(result.exception, OutputError)
    assert [path.name for path in tmp_path.iterdir()] == ["f.mp4"]


def test_formats_of_the_command_are_those_of_the_library():
    (option,) = (parameter for parameter in toytown.params if parameter.name == "format")
    assert tuple(option.type.choices) == FORMATS
