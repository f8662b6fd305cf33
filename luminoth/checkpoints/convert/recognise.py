"""Which published model a file of weights is: by its tensors, its checksum and its name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from luminoth.checkpoints.convert.mapping import Shape
from luminoth.checkpoints.convert.published import PUBLISHED, PublishedModel
from luminoth.errors import CheckpointError

# Units of the third block (`layer3`, `res4`) -> depth of the ResNet.
_DEPTHS = {6: 50, 23: 101}
_RESNEXT_WIDTH = 256  # of the first block's inner convolutions in ResNeXt 32x8d; ResNet has 64

# Name of a tensor that only they have -> what the file is.
_OTHER_MODELS = {
    "roi_heads.mask_head.": "a Mask R-CNN",
    "roi_heads.mask_predictor.": "a Mask R-CNN",
    "roi_heads.keypoint_": "a Keypoint R-CNN",
    "head.classification_head.": "a one-stage detector (RetinaNet, SSD or FCOS)",
    "head.cls_subnet.": "a RetinaNet",
    "fc.weight": "a classifier",
    "classifier.": "a classifier",
}


def published_model(name: str) -> PublishedModel:
    """The published model of that name.

    Raises:
        CheckpointError: there is none; names them all.
    """
    if name not in PUBLISHED:
        raise CheckpointError(f"`{name}` is no model that can be converted; there are: {', '.join(PUBLISHED)}")
    return PUBLISHED[name]


def recognise(shapes: Mapping[str, Shape], file_name: str, digests: dict[str, str]) -> PublishedModel:
    """The published model whose weights these are.

    Several have the same tensors (trained for longer, or for smaller pictures): the checksum decides between them,
    then the file's name.

    Args:
        shapes: name of each tensor in the file -> its shape.
        file_name: without its folder.
        digests: of the file, see `PublishedModel.is_file`.

    Raises:
        CheckpointError: it is none of them, or could be several; names those.
    """
    architectures = _architectures(shapes)
    candidates = [model for model in PUBLISHED.values() if model.architecture in architectures]
    if not candidates:
        raise CheckpointError(f"is {_description(shapes)}; what can be converted: {', '.join(PUBLISHED)}")
    for agree in (
        [model for model in candidates if model.is_file(digests)],
        [model for model in candidates if model.file_name.rpartition(".")[0] in file_name],
        [model for model in candidates if re.search(rf"{model.name}(?![A-Za-z0-9])", file_name)],
        candidates,
    ):
        if len(agree) == 1:
            return agree[0]
    raise CheckpointError(
        "has tensors that fit several models, and neither its checksum nor its name says which; add "
        f"{' or '.join(f'--as {model.name}' for model in candidates)}"
    )


def _architectures(shapes: Mapping[str, Shape]) -> Sequence[str]:
    if any(name.startswith(prefix) for name in shapes for prefix in _OTHER_MODELS):
        return ()
    if "roi_heads.box_predictor.cls_score.weight" not in shapes:
        return ()
    if any(name.startswith("proposal_generator.") for name in shapes):
        return _detectron2_architectures(shapes)
    return _torchvision_architectures(shapes)


def _torchvision_architectures(shapes: Mapping[str, Shape]) -> Sequence[str]:
    if "backbone.body.0.0.weight" in shapes:
        return "fasterrcnn_mobilenet_v3_large_fpn", "fasterrcnn_mobilenet_v3_large_320_fpn"
    if _depth(shapes, r"backbone\.body\.layer3\.(\d+)\.conv1\.weight") != 50:
        return ()
    is_second = "roi_heads.box_head.0.0.weight" in shapes
    return ("fasterrcnn_resnet50_fpn_v2" if is_second else "fasterrcnn_resnet50_fpn",)


def _detectron2_architectures(shapes: Mapping[str, Shape]) -> Sequence[str]:
    body = "backbone.bottom_up" if "backbone.bottom_up.stem.conv1.weight" in shapes else "backbone"
    depth = _depth(shapes, rf"{re.escape(body)}\.res4\.(\d+)\.conv1\.weight")
    inner = shapes.get(f"{body}.res2.0.conv1.weight", (0,))[:1]
    letter = "X_101_32x8d" if inner == (_RESNEXT_WIDTH,) else f"R_{depth}"
    if "backbone.fpn_lateral2.weight" in shapes:
        return (f"faster_rcnn_{letter}_FPN",)
    has_tail = any(name.startswith("roi_heads.res5.") for name in shapes)
    return (f"faster_rcnn_{letter}_{'C4' if has_tail else 'DC5'}",)


def _depth(shapes: Mapping[str, Shape], pattern: str) -> int | None:
    return _DEPTHS.get(sum(re.fullmatch(pattern, name) is not None for name in shapes))


def _description(shapes: Mapping[str, Shape]) -> str:
    for prefix, what in _OTHER_MODELS.items():
        if any(name.startswith(prefix) for name in shapes):
            return f"{what}, by its tensors"
    return "no Faster R-CNN that is known here, by its tensors"
