"""How near a converted model's numbers are to those of the implementation it was published with, stage by stage.

The second stage is given the golden's proposals, so that each stage is judged by itself. Numbers are measured against
the spread of the other implementation's (their standard deviation); boxes are compared as sets, since a choice between
two that are equal but for rounding may fall either way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from luminoth.boxes.host import overlaps
from luminoth.checkpoints.convert.converter import SourceWeights, convert_state, read_configuration
from luminoth.checkpoints.convert.golden import Golden
from luminoth.checkpoints.convert.published import TORCHVISION
from luminoth.errors import CheckpointError

if TYPE_CHECKING:
    from luminoth.models.base import DetectionModel
    from luminoth.resize import ResizeRule

OF_SPREAD, UNMATCHED = "of the spread", "unmatched"

_MOST_OF_SPREAD = 1e-3
_MOST_UNMATCHED = 0.01
_PROPOSAL_PIXELS = 0.1
_ROIS = 40  # of which the goldens have features, logits and deltas

Detected = tuple[np.ndarray, np.ndarray, np.ndarray]  # boxes, scores, class ids


@dataclass(frozen=True)
class Comparison:
    """One stage.

    Attributes:
        stage: its name.
        difference: the largest one.
        most: what is allowed.
        unit: what both count, `OF_SPREAD` or `UNMATCHED` (a share of boxes).
    """

    stage: str
    difference: float
    most: float
    unit: str

    @property
    def passed(self) -> bool:
        return self.difference <= self.most


@dataclass(frozen=True)
class Parity:
    """All stages, each at the picture where it differs most.

    Attributes:
        golden: what was compared with.
        is_own: the weights compared are those of the file that is converted; else those of the golden, which went
            through the same conversion.
        stages: in the order in which they are computed.
    """

    golden: Golden
    is_own: bool
    stages: tuple[Comparison, ...]

    @property
    def passed(self) -> bool:
        return all(stage.passed for stage in self.stages)


def check_parity(source: SourceWeights, golden: Golden) -> Parity:
    """Converts weights in memory and compares what they compute with a golden.

    The golden's numbers belong to its own weights. Where the file has others, as a published one has, the golden's are
    converted instead, by the same code for the same architecture.

    Raises:
        CheckpointError: the golden is of another architecture, or the weights do not fit the model.
    """
    from luminoth.models.base import named_weights
    from luminoth.models.build import build_model
    from luminoth.resize import ResizeRule

    if golden.model.architecture != source.model.architecture:
        raise CheckpointError(f"{golden.path}: is of {golden.model.name}, but {source.path} of {source.model.name}")
    model = golden.model
    config = read_configuration(model)
    network = build_model(config, len(model.classes), initialise=False)
    weights = named_weights(network)
    is_own = golden.is_of(source.state)
    state = source.state if is_own else golden.state()
    converted = convert_state(state, {path: tuple(v.shape) for path, v in weights.items()}, model.family)
    for path, variable in weights.items():
        variable.assign(converted[path])
    values = golden.values
    compute = forward_pass(network, ResizeRule(**config.dataset.image_preprocessing.model_dump()))
    found = [
        compare(compute(values[image], first_rois(values, image)), values, image, model.family)
        for image in golden.images
    ]
    return Parity(
        golden, is_own, tuple(max(same, key=lambda each: each.difference) for same in zip(*found, strict=True))
    )


def forward_pass(model: DetectionModel, resize: ResizeRule) -> Callable[[np.ndarray, np.ndarray], dict[str, Any]]:
    """A function from a picture [H, W, 3] uint8 and RoIs [R, 4] to every stage's output, one graph for all sizes."""
    import tensorflow as tf

    @tf.function(
        input_signature=[
            tf.TensorSpec((1, None, None, 3)),
            tf.TensorSpec((1, 2), tf.int32),
            tf.TensorSpec((1, None, 4)),
        ],
        autograph=False,
    )
    def compute(pixels, size, rois):
        network_input = model.network_input(pixels, size)
        maps = model.extract(network_input, training=False)
        rpn = model.first_stage(network_input, maps)
        proposals = model.propose(rpn, size)
        return {
            "size": size,
            "network_input": network_input,
            "maps": maps,
            "rpn": rpn,
            "proposals": proposals,
            "pooled": model.pool(maps, rois, training=False),
            "head": model.second_stage(maps, rois),
            "detections": model.detect_in(maps, proposals, size),
        }

    def of_picture(picture: np.ndarray, rois: np.ndarray) -> dict[str, Any]:
        pixels = resize(tf.constant(picture))[tf.newaxis]
        return compute(pixels, tf.shape(pixels)[tf.newaxis, 1:3], tf.constant(rois[np.newaxis]))

    return of_picture


def compare(found: Mapping[str, Any], values: Mapping[str, np.ndarray], image: str, family: str) -> list[Comparison]:
    """Every stage of one picture.

    Args:
        found: what `forward_pass`'s function gave for the picture and the golden's `first_rois`.
        values: of the golden.
        image: the picture's key.
        family: the library that computed the golden.
    """
    theirs = _Theirs(values, image, family)
    rows = [numbers("network input", found["network_input"][0, ::16, ::16], theirs["network_input"])]
    for level, features in zip(theirs.levels, found["maps"], strict=True):
        rows.append(numbers(f"features {level}", sampled(features), theirs[f"features/{level}"]))
    for index, (output, features) in enumerate(zip(found["rpn"], found["maps"], strict=True)):
        for name, ours in (("logits", output.objectness_logits), ("deltas", output.deltas)):
            grid = np.asarray(ours).reshape(*features.shape[1:3], -1)[::7, ::7]
            rows.append(numbers(f"RPN {name} {index}", grid, theirs[f"rpn/{name}/{index}"]))
    proposals = found["proposals"]
    boxes = np.asarray(proposals.boxes)[0][np.asarray(proposals.is_valid)[0]]
    rows.append(_share("proposals", share_of_equal_boxes(boxes, theirs["proposals"])))
    pooled = np.asarray(found["pooled"])[0]
    if pooled.ndim == 4 and pooled.shape[-1] % theirs["roi_features"].shape[1] == 0 and theirs.has_same_grid(pooled):
        rows.append(numbers("RoI features", strided_like(pooled, theirs["roi_features"]), theirs["roi_features"]))
    logits, deltas = theirs.head()
    rows.append(numbers("class logits", found["head"].class_logits[0], logits))
    ours = np.asarray(found["head"].deltas)[0].reshape(len(logits), -1)
    rows.append(numbers("box deltas", ours[:, : deltas.shape[1]], deltas))
    detections = _in_original_pixels(found["detections"], values[image].shape[:2], np.asarray(found["size"])[0])
    matched = share_matched(clear_of_threshold(*detections), clear_of_threshold(*theirs.detections()))
    return [*rows, _share("detections", matched)]


def first_rois(values: Mapping[str, np.ndarray], image: str) -> np.ndarray:
    """[R, 4]: those of a golden's proposals of which it has features, logits and deltas."""
    return values[f"{image}/proposals"][:_ROIS]


class _Theirs:
    """The golden's numbers of one picture, with class ids and the background's place as here."""

    def __init__(self, values: Mapping[str, np.ndarray], image: str, family: str) -> None:
        self._values, self._image, self._is_torchvision = values, image, family == TORCHVISION

    def __getitem__(self, key: str) -> np.ndarray:
        return self._values[f"{self._image}/{key}"]

    @property
    def levels(self) -> list[str]:
        prefix = f"{self._image}/features/"
        return [key.split("/")[2] for key in self._values if key.startswith(prefix) and key.endswith("/shape")]

    def has_same_grid(self, pooled: np.ndarray) -> bool:
        return "roi_features/shape" not in self or tuple(self["roi_features/shape"])[1:] == (
            pooled.shape[-1], *pooled.shape[1:3],
        )  # fmt: skip

    def __contains__(self, key: str) -> bool:
        return f"{self._image}/{key}" in self._values

    def head(self) -> tuple[np.ndarray, np.ndarray]:
        """Class logits with the background last, and deltas without the background's."""
        logits, deltas = self["class_logits"], self["box_deltas"]
        return (np.roll(logits, -1, axis=1), deltas[:, 4:]) if self._is_torchvision else (logits, deltas)

    def detections(self) -> Detected:
        class_ids = self["detections/labels"] - 1 if self._is_torchvision else self["detections/classes"]
        return self["detections/boxes"], self["detections/scores"], class_ids


def numbers(stage: str, ours: Any, theirs: np.ndarray) -> Comparison:
    """The largest difference, of the spread of theirs; infinite where the shapes differ or a number is none."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    difference = np.inf
    if ours.shape == theirs.shape and np.isfinite(ours).all():
        difference = float(np.abs(ours - theirs).max() / max(theirs.std(), 1e-12))
    return Comparison(stage, difference, _MOST_OF_SPREAD, OF_SPREAD)


def _share(stage: str, matched: float) -> Comparison:
    return Comparison(stage, 1 - matched, _MOST_UNMATCHED, UNMATCHED)


def sampled(features: Any) -> np.ndarray:
    """The strided sample of a map [1, H, W, C] that the goldens keep."""
    features = np.asarray(features)[0]
    return features[:: max(1, features.shape[0] // 5), :: max(1, features.shape[1] // 5), ::8]


def strided_like(pooled: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Ours [R, rows, columns, C] as theirs [R, C / n, rows / s, columns / s]."""
    channels, cells = pooled.shape[-1] // theirs.shape[1], -(-pooled.shape[1] // theirs.shape[2])
    return pooled[:, ::cells, ::cells, ::channels].transpose(0, 3, 1, 2)


def share_of_equal_boxes(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Share of boxes with a partner whose corners are less than a tenth of a pixel away."""
    if not len(ours) or not len(theirs):
        return float(len(ours) == len(theirs))
    distances = np.abs(ours[:, None] - theirs[None]).max(axis=2)
    near = _PROPOSAL_PIXELS
    return float(min((distances.min(axis=1) < near).mean(), (distances.min(axis=0) < near).mean()))


def share_matched(ours: Detected, theirs: Detected, score_tolerance: float = 1e-3, least_iou: float = 0.99) -> float:
    """Share of the larger set of (boxes, scores, class ids) with one partner each, of same class, IoU and score."""
    boxes, scores, class_ids = ours
    other_boxes, other_scores, other_ids = theirs
    fits = overlaps(boxes, other_boxes) > least_iou
    fits &= np.abs(scores[:, None] - other_scores[None]) < score_tolerance
    fits &= class_ids[:, None] == other_ids[None]
    free, matched = np.ones(len(other_boxes), bool), 0
    for row in fits:
        partners = np.flatnonzero(row & free)
        if len(partners):
            free[partners[0]] = False
            matched += 1
    larger = max(len(boxes), len(other_boxes))
    return matched / larger if larger else 1.0


def clear_of_threshold(
    boxes: np.ndarray, scores: np.ndarray, class_ids: np.ndarray, threshold: float = 0.05, margin: float = 5e-4
) -> Detected:
    """Without what rounding alone may put on either side of the score threshold."""
    clear = np.abs(scores - threshold) > margin
    return boxes[clear], scores[clear], class_ids[clear]


def _in_original_pixels(detections: Any, size: tuple[int, int], network_size: np.ndarray) -> Detected:
    valid = np.asarray(detections.is_valid)[0]
    (height, width), (network_height, network_width) = size, network_size
    scale = np.array([width / network_width, height / network_height] * 2)
    boxes, scores, class_ids = (
        np.asarray(each)[0][valid] for each in (detections.boxes, detections.scores, detections.class_ids)
    )
    return boxes * scale, scores, class_ids
