import pytest

from luminoth.checkpoints.convert.coco_classes import COCO_80, COCO_90
from luminoth.checkpoints.convert.converter import CONFIGURATIONS
from luminoth.checkpoints.convert.published import PUBLISHED
from luminoth.checkpoints.convert.recognise import published_model, recognise
from luminoth.config import load_config
from luminoth.errors import CheckpointError

OTHER = {"sha256": "0" * 64, "md5": "0" * 32}
PREDICTOR = {"roi_heads.box_predictor.cls_score.weight": (91, 1024)}


def torchvision_resnet(units=6, **more):
    return {f"backbone.body.layer3.{unit}.conv1.weight": (256, 512, 1, 1) for unit in range(units)} | PREDICTOR | more


def detectron2(units, *more, body="backbone", width=64):
    shapes = {f"{body}.res4.{unit}.conv1.weight": (256, 512, 1, 1) for unit in range(units)} | PREDICTOR
    shapes |= {f"{body}.stem.conv1.weight": (64, 3, 7, 7), f"{body}.res2.0.conv1.weight": (width, 64, 1, 1)}
    return shapes | dict.fromkeys(("proposal_generator.rpn_head.conv.weight", *more), (1,))


MOBILENET = {"backbone.body.0.0.weight": (16, 3, 3, 3)} | PREDICTOR
SECOND = {"roi_heads.box_head.0.0.weight": (256, 256, 3, 3)}
FPN = {"body": "backbone.bottom_up"}


@pytest.mark.parametrize(
    ("shapes", "file_name", "name"),
    [
        (torchvision_resnet(), "model.pth", "fasterrcnn_resnet50_fpn"),
        (torchvision_resnet(**SECOND), "fasterrcnn_resnet50_fpn.pth", "fasterrcnn_resnet50_fpn_v2"),
        (MOBILENET, "fasterrcnn_mobilenet_v3_large_320_fpn-907ea3f9.pth", "fasterrcnn_mobilenet_v3_large_320_fpn"),
        (MOBILENET, "fasterrcnn_mobilenet_v3_large_fpn-fb6a3cc7 (1).pth", "fasterrcnn_mobilenet_v3_large_fpn"),
        (detectron2(6, "roi_heads.res5.0.conv1.weight"), "model_final_721ade.pkl", "faster_rcnn_R_50_C4_1x"),
        (detectron2(6, "roi_heads.res5.0.conv1.weight"), "faster_rcnn_R_50_C4_3x.pkl", "faster_rcnn_R_50_C4_3x"),
        (detectron2(6), "my_faster_rcnn_R_50_DC5_1x_model.pkl", "faster_rcnn_R_50_DC5_1x"),
        (detectron2(6, "backbone.fpn_lateral2.weight", **FPN), "model_final_280758.pkl", "faster_rcnn_R_50_FPN_3x"),
        (detectron2(23, "roi_heads.res5.0.conv1.weight"), "a.pkl", "faster_rcnn_R_101_C4_3x"),
        (detectron2(23), "a.pkl", "faster_rcnn_R_101_DC5_3x"),
        (detectron2(23, "backbone.fpn_lateral2.weight", **FPN), "a.pkl", "faster_rcnn_R_101_FPN_3x"),
        (detectron2(23, "backbone.fpn_lateral2.weight", width=256, **FPN), "a", "faster_rcnn_X_101_32x8d_FPN_3x"),
    ],
)
def test_by_tensors_and_file_name(shapes, file_name, name):
    assert recognise(shapes, file_name, OTHER).name == name


def test_the_checksum_goes_before_the_file_name():
    digests = {**OTHER, "md5": "280758" + "0" * 26}
    shapes = detectron2(6, "backbone.fpn_lateral2.weight", **FPN)
    assert recognise(shapes, "faster_rcnn_R_50_FPN_1x.pkl", digests).name == "faster_rcnn_R_50_FPN_3x"
    digests = {**OTHER, "sha256": "907ea3f9" + "0" * 56}
    assert recognise(MOBILENET, "a.pth", digests).name == "fasterrcnn_mobilenet_v3_large_320_fpn"


def test_what_cannot_be_told_apart_is_asked_for():
    with pytest.raises(CheckpointError) as caught:
        recognise(MOBILENET, "mobilenet.pth", OTHER)
    assert str(caught.value).endswith(
        "add --as fasterrcnn_mobilenet_v3_large_fpn or --as fasterrcnn_mobilenet_v3_large_320_fpn"
    )


@pytest.mark.parametrize(
    ("shapes", "what"),
    [
        (torchvision_resnet(**{"roi_heads.mask_head.0.0.weight": (1,)}), "is a Mask R-CNN, by its tensors"),
        ({"head.classification_head.cls_logits.weight": (1,)}, "is a one-stage detector (RetinaNet, SSD or FCOS)"),
        ({"conv1.weight": (64, 3, 7, 7), "fc.weight": (1000, 2048)}, "is a classifier"),
        (torchvision_resnet(units=23), "is no Faster R-CNN that is known here"),
        (detectron2(36), "is no Faster R-CNN that is known here"),
        ({"weight": (1,)}, "is no Faster R-CNN that is known here"),
    ],
)
def test_other_models(shapes, what):
    with pytest.raises(CheckpointError) as caught:
        recognise(shapes, "fasterrcnn_resnet50_fpn.pth", OTHER)
    assert str(caught.value).startswith(what)
    assert "what can be converted: fasterrcnn_resnet50_fpn, " in str(caught.value)


def test_unknown_names_list_the_known_ones():
    with pytest.raises(CheckpointError, match=r"`yolo` is no model .* there are: fasterrcnn_resnet50_fpn, .*_FPN_3x$"):
        published_model("yolo")


def test_the_table():
    assert len(PUBLISHED) == 14
    first = PUBLISHED["fasterrcnn_resnet50_fpn"]
    assert first.url == "https://download.pytorch.org/models/fasterrcnn_resnet50_fpn_coco-258fb6c6.pth"
    assert (first.digest, first.digest_start, first.box_ap, first.parameters) == ("sha256", "258fb6c6", 37.0, 41755286)
    last = PUBLISHED["faster_rcnn_R_50_DC5_1x"]
    assert last.url == (
        "https://dl.fbaipublicfiles.com/detectron2/COCO-Detection/faster_rcnn_R_50_DC5_1x/137847829/"
        "model_final_51d356.pkl"
    )
    assert (last.digest, last.digest_start, last.box_ap, last.file_name) == (
        "md5", "51d356", 37.3, "model_final_51d356.pkl",
    )  # fmt: skip
    assert last.licence.startswith("CC BY-SA 3.0")
    assert len({model.digest_start for model in PUBLISHED.values()}) == len(PUBLISHED)


@pytest.mark.parametrize("model", PUBLISHED.values(), ids=PUBLISHED)
def test_every_model_has_its_configuration(model):
    config = load_config([CONFIGURATIONS / f"{model.architecture}.yml"])
    assert config.model.network.num_classes == {"torchvision": 90, "detectron2": 80}[model.family]


def test_class_names():
    assert (len(COCO_90), len(COCO_80), len(set(COCO_80))) == (90, 80, 80)
    ids = {"person": 1, "car": 3, "stop sign": 13, "cat": 17, "backpack": 27, "tv": 72, "toothbrush": 90}
    assert {name: COCO_90.index(name) + 1 for name in ids} == ids  # COCO's own, from 1
    assert [position + 1 for position, name in enumerate(COCO_90) if name == "N/A"] == [
        12, 26, 29, 30, 45, 66, 68, 69, 71, 83,
    ]  # fmt: skip
    assert (COCO_80[0], COCO_80[11], COCO_80[79]) == ("person", "stop sign", "toothbrush")
