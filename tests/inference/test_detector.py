import io
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from luminoth.checkpoints import runs
from luminoth.errors import CheckpointError, ConfigError, ImageError
from luminoth.inference import detector as detector_module
from luminoth.inference.detector import Detector
from luminoth.inference.thresholds import read_thresholds
from luminoth.types import Detections, DetectorOutput
from tests.inference.bright_rectangle import CLASSES, install, picture


def test_predict_gives_luminoths_form_in_original_pixels(monkeypatch):
    model = install(monkeypatch, min_size=80, max_size=200)  # 40 x 60 becomes 80 x 120
    objects = Detector("any").predict(picture(40, 60, (10, 5, 30, 25), (0, 230, 0)))
    assert objects == [{"bbox": [10, 5, 30, 25], "label": "green thing", "prob": 0.902}]
    assert [type(value) for value in objects[0]["bbox"]] == [int] * 4
    assert model.batch_shapes == [(1, 80, 120, 3)]


def test_boxes_are_scaled_by_each_axis_own_factor_and_clipped(monkeypatch):
    # 50 x 200 stretched to 100 x 100: x halves, y doubles.
    install(monkeypatch, fixed_height=100, fixed_width=100)
    found = Detector("any").detect(picture(50, 200, (40, 10, 200, 50)))
    np.testing.assert_allclose(found.boxes, [[40, 10, 200, 50]], atol=1e-4)
    assert found.image_size == (50, 200)
    assert found.boxes.dtype == np.float32
    assert found.class_ids.tolist() == [0]


def test_boxes_outside_the_picture_are_clipped(monkeypatch):
    model = install(monkeypatch)
    inside = model.detect

    def outside(*arguments, **keywords):
        output = inside(*arguments, **keywords)
        return output._replace(boxes=output.boxes + tf.constant([-20.0, -20.0, 30.0, 30.0]))

    model.detect = outside
    found = Detector("any").detect(picture(40, 60, (10, 30, 50, 35)))
    assert found.boxes.tolist() == [[0, 10, 60, 40]]


def test_prob_reaches_the_model_and_may_change(monkeypatch):
    install(monkeypatch)
    dim = picture(20, 20, (5, 5, 15, 15), (102, 0, 0))  # 0.4
    detector = Detector("any", prob=0.3)
    assert [found["prob"] for found in detector.predict(dim)] == [0.4]
    detector.prob = 0.5
    assert detector.predict(dim) == []


def test_a_list_gives_a_list_in_order_whatever_the_sizes(monkeypatch):
    model = install(monkeypatch)
    sizes = [(30, 40), (40, 30), (30, 40), (30, 40), (20, 20), (40, 30)]
    pictures = [picture(*size, (index, 2, index + 5, 9)) for index, size in enumerate(sizes)]
    detector = Detector("any", batch_size=2)
    found = detector.predict(pictures)
    assert [objects[0]["bbox"] for objects in found] == [[index, 2, index + 5, 9] for index in range(6)]
    # Only pictures of one size go together, and at most `batch_size` of them.
    assert sorted(model.batch_shapes) == [(1, 20, 20, 3), (1, 30, 40, 3), (2, 30, 40, 3), (2, 40, 30, 3)]
    assert model.traces == 1
    assert detector.predict([]) == []


def test_pictures_of_one_canvas_share_a_batch(monkeypatch):
    """The canvas is what the network pads to anyway; each picture keeps its own size in it."""
    model = install(monkeypatch)
    model.size_multiple = 16
    sizes = [(30, 40), (17, 48), (32, 33), (33, 48)]
    pictures = [picture(*size, (index, 2, index + 5, 9)) for index, size in enumerate(sizes)]
    found = Detector("any").predict(pictures)
    assert [objects[0]["bbox"] for objects in found] == [[index, 2, index + 5, 9] for index in range(4)]
    assert sorted(model.batch_shapes) == [(1, 48, 48, 3), (3, 32, 48, 3)]
    assert sorted(model.picture_sizes) == [[[30, 40], [17, 48], [32, 33]], [[33, 48]]]


def test_precision_and_xla_reach_the_model_which_is_frozen(monkeypatch):
    model = install(monkeypatch)
    Detector("any")
    assert model.loaded_with == {"precision": None, "xla": None}
    assert model.is_frozen
    Detector("any", precision="bfloat16", xla=True)
    assert model.loaded_with == {"precision": "bfloat16", "xla": True}
    with pytest.raises(ConfigError, match="precision is 'float8'; accepted: float32, bfloat16, float16"):
        Detector("any", precision="float8")


def test_originals_of_different_sizes_share_a_batch_when_the_network_sees_one_size(monkeypatch):
    model = install(monkeypatch, min_size=60, max_size=90)
    large, small = picture(120, 180, (30, 60, 120, 90)), picture(60, 90, (30, 15, 60, 30))
    found = Detector("any").predict([large, small])
    assert [objects[0]["bbox"] for objects in found] == [[30, 60, 120, 90], [30, 15, 60, 30]]
    assert model.batch_shapes == [(2, 60, 90, 3)]


def test_waiting_pictures_are_bounded(monkeypatch):
    model = install(monkeypatch)
    monkeypatch.setattr(detector_module, "_MAX_WAITING_PIXELS", 1500)
    pictures = [picture(height, 20, (1, 1, 9, 9)) for height in (20, 30, 40, 50)]
    found = Detector("any", batch_size=4).predict(pictures)
    assert [objects[0]["bbox"] for objects in found] == [[1, 1, 9, 9]] * 4
    assert model.batch_shapes == [(1, 20, 20, 3), (1, 30, 20, 3), (1, 40, 20, 3), (1, 50, 20, 3)]


def test_every_kind_of_source_gives_the_same(monkeypatch, tmp_path):
    install(monkeypatch)
    pixels = picture(24, 32, (4, 6, 12, 20))
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    sources = [pixels, path, str(path), Image.open(path), io.BytesIO(path.read_bytes()), path.read_bytes()]
    for objects in Detector("any").predict(sources):
        assert objects == [{"bbox": [4, 6, 12, 20], "label": "red thing", "prob": 1.0}]


def test_boxes_belong_to_the_upright_picture(monkeypatch, tmp_path):
    install(monkeypatch)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned clockwise: the stored top left is the shown top right
    path = tmp_path / "phone.png"
    Image.fromarray(picture(20, 40, (0, 0, 10, 4))).save(path, exif=exif)
    found = Detector("any").detect(path)
    assert found.image_size == (40, 20)
    assert found.boxes.tolist() == [[16, 0, 20, 10]]


def test_grey_and_transparent_arrays(monkeypatch):
    install(monkeypatch)
    grey = picture(20, 20, (5, 5, 10, 10), (200, 200, 200))[..., 0]
    assert Detector("any").predict(grey)[0]["bbox"] == [5, 5, 10, 10]


def test_classes_and_ignored_classes(monkeypatch):
    install(monkeypatch)
    red, blue = picture(20, 20, (5, 5, 9, 9)), picture(20, 20, (5, 5, 9, 9), (0, 0, 255))
    only_blue = Detector("any", classes=["blue thing"])
    assert [len(objects) for objects in only_blue.predict([red, blue])] == [0, 1]
    assert only_blue.classes == ["blue thing"]
    assert only_blue.class_names == CLASSES
    assert Detector("any", ignore_classes=["blue thing"]).classes == ["red thing", "green thing"]


def test_an_unknown_class_names_the_known(monkeypatch):
    install(monkeypatch)
    with pytest.raises(ConfigError) as error:
        Detector("any", classes=["Blue thing"])
    assert str(error.value) == (
        "the checkpoint knows no class `Blue thing` (did you mean `blue thing`?); it knows: "
        "red thing, green thing, blue thing"
    )


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((4, 4, 3), np.float32), "uint8"),
        (np.zeros((4, 4, 2), np.uint8), r"\(4, 4, 2\)"),
        (np.zeros((0, 4, 3), np.uint8), "at least one pixel"),
        ("/nowhere/at/all.jpg", "/nowhere/at/all.jpg: there is no such file"),
    ],
)
def test_bad_images(monkeypatch, bad, message):
    install(monkeypatch)
    with pytest.raises(ImageError, match=message):
        Detector("any").predict(bad)


def test_which_checkpoint_is_taken(monkeypatch, tmp_path):
    install(monkeypatch)
    assert str(Detector().checkpoint) == "accurate"
    assert str(Detector("toytown").checkpoint) == "toytown"
    config = tmp_path / "run.yml"
    config.write_text(f"train: {{job_dir: {tmp_path}/jobs, run_name: first}}\n")
    with pytest.raises(CheckpointError, match=r"jobs/first: the run of .*run\.yml has no checkpoint yet; .*lumi train"):
        Detector(config=config)
    newest = tmp_path / "jobs/first/ckpt-7"
    monkeypatch.setattr(runs, "latest_checkpoint", lambda run: newest if run == newest.parent else None)
    assert Detector(config=str(config)).checkpoint == newest
    assert Detector(config=[config]).checkpoint == newest
    with pytest.raises(ConfigError, match="not both"):
        Detector("toytown", config=config)


def test_prob_must_be_a_probability(monkeypatch):
    install(monkeypatch)
    with pytest.raises(ConfigError, match="between 0 and 1; got 70"):
        Detector("any", prob=70)


def test_an_iterator_streams_and_is_read_no_further_than_a_batch(monkeypatch):
    install(monkeypatch)
    taken = []

    def pictures():
        for index in range(5):
            taken.append(index)
            yield picture(30, 40, (index, 2, index + 5, 9))

    found = Detector("any", batch_size=2).predict(pictures())
    assert taken == []
    assert next(found)[0]["bbox"] == [0, 2, 5, 9]
    assert taken == [0, 1]
    assert [objects[0]["bbox"][0] for objects in found] == [1, 2, 3, 4]


def test_classes_have_thresholds_of_their_own(monkeypatch):
    install(monkeypatch)
    detector = Detector("any", prob=0.6, class_probs={"red thing": 0.3, "blue thing": 0.9})

    def reports(colour):
        return bool(detector.predict(picture(20, 20, (5, 5, 15, 15), colour)))

    assert [reports((grey, 0, 0)) for grey in (102, 60)] == [True, False]  # 0.4 and 0.235
    assert [reports((0, grey, 0)) for grey in (204, 102)] == [True, False]
    assert [reports((0, 0, grey)) for grey in (250, 204)] == [True, False]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"class_probs": {"cat": 0.5}}, "no class `cat`"),
        ({"class_probs": {"red thing": 2}}, r"class_probs\['red thing'\] must lie between 0 and 1; got 2"),
        ({"agnostic_nms": -1}, "agnostic_nms must lie"),
    ],
)
def test_impossible_thresholds(monkeypatch, arguments, message):
    install(monkeypatch)
    with pytest.raises(ConfigError, match=message):
        Detector("any", **arguments)


def test_agnostic_suppression_keeps_the_surest_of_all_classes(monkeypatch):
    model = install(monkeypatch)

    def three(images, image_sizes, *, min_score=None):
        boxes = tf.constant([[[0.0, 0, 10, 10], [0, 0, 10, 9], [12, 0, 20, 10]]])
        return DetectorOutput(boxes, tf.constant([[0.9, 0.8, 0.75]]), tf.constant([[0, 1, 1]]), tf.fill((1, 3), True))

    model.detect = three
    image = picture(20, 20, (0, 0, 10, 10))
    assert [found["prob"] for found in Detector("any").predict(image)] == [0.9, 0.8, 0.75]
    assert [found["prob"] for found in Detector("any", agnostic_nms=0.5).predict(image)] == [0.9, 0.75]


def test_threads_share_a_detector(monkeypatch):
    install(monkeypatch)
    detector = Detector("any", batch_size=2)

    def ask(index):
        size = (30 + index % 3, 40)
        return detector.predict(picture(*size, (index % 20, 2, index % 20 + 5, 9)))[0]["bbox"]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, range(24)))
    assert found == [[index % 20, 2, index % 20 + 5, 9] for index in range(24)]


def test_supervisions_form(monkeypatch):
    found = Detections(
        np.array([[1, 2, 3, 4]], np.float32), np.array([0.5], np.float32), np.array([1], np.int32), CLASSES, (9, 9)
    )
    monkeypatch.setitem(sys.modules, "supervision", SimpleNamespace(Detections=lambda **fields: fields))
    fields = found.to_supervision()
    assert fields["xyxy"].tolist() == [[1, 2, 3, 4]]
    assert fields["confidence"].tolist() == [0.5]
    assert fields["class_id"].tolist() == [1]
    assert fields["data"]["class_name"].tolist() == ["green thing"]
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ImportError, match="pip install supervision"):
        found.to_supervision()


def test_thresholds_of_an_evaluation(tmp_path):
    file = tmp_path / "val-100.json"
    best = {"f1": 0.8, "precision": 0.9, "recall": 0.7}
    file.write_text(json.dumps({"thresholds": {"car": {"threshold": 0.42, **best}, "bus": {"threshold": None}}}))
    assert read_thresholds(file) == {"car": 0.42}
    for content, message in [
        ("{}", "holds no `thresholds`"),
        ("[1]", "holds no `thresholds`"),
        ("nonsense", "cannot be read"),
        ('{"thresholds": {"car": {"threshold": 7}}}', "the threshold of 'car' is 7"),
    ]:
        file.write_text(content)
        with pytest.raises(ConfigError, match=message):
            read_thresholds(file)
    with pytest.raises(ConfigError, match="No such file"):
        read_thresholds(tmp_path / "missing.json")
