"""Looking at one picture and its boxes, in whatever process: what a check keeps of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from luminoth.data import example_proto
from luminoth.data.readers.base import AnnotatedImage
from luminoth.data.readers.checks import make_example
from luminoth.data.records import decode_example
from luminoth.data.report import Finding, Kind
from luminoth.data.similarity import Fingerprint, fingerprint
from luminoth.errors import DataError, ImageError
from luminoth.image import find_damage, inspect_image
from luminoth.types import Example

# What TensorFlow's decoders know.
_DECODED_FORMATS = frozenset({"JPEG", "PNG", "BMP", "GIF"})
_MOST_UNNAMED = 10_000  # labels, where there is no list that says how many there are
_SAME_PLACE = 0.9  # IoU from which two boxes are taken to be around the same object
# A box that leaves its picture by no more than this may be drawn carelessly; more, and its axes may be exchanged.
_CARELESS_PIXELS = 2.0


Troubles = Mapping[str, Sequence[tuple[str, str]]]


@dataclass(frozen=True, eq=False)
class Look:
    """What is kept of one picture.

    Attributes:
        image_id: as in the annotation.
        where: the annotation, or the record.
        name: of the picture, for people.
        image_size: (height, width); None when the picture cannot be used: nothing else is known then.
        boxes: [N, 4] float32, pixels; as a transform would write them, or as a record has them, without those that
            training leaves out.
        class_ids: [N] int32, within the class list if there is one.
        is_crowd: [N] bool.
        is_cut: [N] bool, objects that are not wholly in the picture.
        fingerprint: to compare it with others.
        findings: what is odd about it.
        troubles: name of a trouble (see `pictures.py`) -> (where, what was found there), for each case.
        is_absent: it has not been downloaded yet.
    """

    image_id: str
    where: str
    name: str = ""
    image_size: tuple[int, int] | None = None
    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    class_ids: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    is_crowd: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    is_cut: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    fingerprint: Fingerprint | None = None
    findings: Sequence[Finding] = ()
    troubles: Troubles = field(default_factory=dict)
    is_absent: bool = False


# --- In a layout ------------------------------------------------------------


def look_at_annotated(class_names: Sequence[str], items: list[AnnotatedImage | Finding]) -> list[Look | Finding]:
    """Looks at pictures as a transform would treat them; none is downloaded. Findings are passed on."""
    class_ids = {name: index for index, name in enumerate(class_names)}
    return [item if isinstance(item, Finding) else _look_at_annotated(item, class_names, class_ids) for item in items]


def _look_at_annotated(image: AnnotatedImage, class_names: Sequence[str], class_ids: Mapping[str, int]) -> Look:
    if image.url and not image.path.exists():
        return Look(image.image_id, image.where, findings=image.findings, is_absent=True)
    checked = make_example(image, class_ids)
    if checked.example is None:
        return Look(image.image_id, image.where, findings=checked.findings)
    troubles = _label_troubles(checked.example, image.where, class_names)
    if not image.relative:
        corners = np.asarray([box.corners for box in image.boxes], np.float64).reshape(-1, 4)
        exchanged = axes_exchanged(corners, checked.example.image_size)
        height, width = checked.example.image_size
        troubles["axes_exchanged"] = [
            (image.boxes[index].where, f"{_numbers(corners[index])}, picture {width} x {height}") for index in exchanged
        ]
        if checked.example.image_size == (image.stated_size or ())[::-1] != image.stated_size:
            troubles["sides_exchanged"] = [(image.where, _sizes(image.stated_size, checked.example.image_size))]
    return _look(checked.example, image.where, checked.findings, troubles)


# --- In records ------------------------------------------------------------


def look_at_records(class_names: Sequence[str], records: list[tuple[str, bytes]]) -> list[Look]:
    """Looks at records, each with its place (`train.tfrecords record 3`), as training would treat them."""
    return [_look_at_record(class_names, where, record) for where, record in records]


def _look_at_record(class_names: Sequence[str], where: str, record: bytes) -> Look:
    try:
        example = decode_example(record)
    except DataError as error:
        return Look("", where, troubles={"unreadable_record": [(where, str(error))]})
    where = f"{where} ({_name(example)})"
    try:
        info = inspect_image(example.encoded, example.image_id)
    except ImageError as error:
        return Look(example.image_id, where, troubles={"undecodable": [(where, str(error))]})
    damage = find_damage(example.encoded) if info.format in _DECODED_FORMATS else f"{info.format} format"
    if damage is not None:
        return Look(example.image_id, where, troubles={"undecodable": [(where, damage)]})
    findings, kept = _check_stored_boxes(example, where)
    beyond = example.class_ids >= (len(class_names) or _MOST_UNNAMED)
    beyond_labels = example.class_ids[beyond] + 1
    example = _narrowed(example, kept & ~beyond)
    troubles = _label_troubles(example, where, class_names)
    if info.needs_reencoding is not None:
        troubles["shown_otherwise"] = [(where, info.needs_reencoding)]
    if info.size != example.image_size:
        troubles["other_size"] = [(where, _sizes(example.image_size, info.size))]
    troubles["beyond_classes"] = [(where, f"label {each}, but {len(class_names)} classes") for each in beyond_labels]
    troubles["other_text"] = [(where, text) for text in _other_texts(record, class_names)]
    return _look(example, where, findings, troubles)


def _check_stored_boxes(example: Example, where: str) -> tuple[list[Finding], np.ndarray]:
    """What training would leave out or clip, and [N] bool, which boxes it keeps."""
    height, width = example.image_size
    x_min, y_min, x_max, y_max = example.boxes.T
    is_number = np.isfinite(example.boxes).all(axis=1)
    is_inverted = is_number & ((x_max < x_min) | (y_max < y_min))
    is_empty = is_number & ~is_inverted & ((x_max == x_min) | (y_max == y_min))
    rest = is_number & ~is_inverted & ~is_empty
    is_outside = rest & ((x_max <= 0) | (y_max <= 0) | (x_min >= width) | (y_min >= height))
    over = np.max([-x_min, -y_min, x_max - width, y_max - height], axis=0)
    is_clipped = rest & ~is_outside & (over > 0.01 + 1e-6 * max(width, height))  # stored as float32 fractions
    cases = {
        Kind.NOT_A_NUMBER: ~is_number,
        Kind.INVERTED: is_inverted,
        Kind.NO_AREA: is_empty,
        Kind.OUTSIDE: is_outside,
        Kind.CLIPPED: is_clipped,
    }
    findings = [
        Finding(kind, example.image_id, where, _numbers(example.boxes[index]))
        for kind, mask in cases.items()
        for index in np.flatnonzero(mask)
    ]
    return findings, rest & ~is_outside


def _narrowed(example: Example, kept: np.ndarray) -> Example:
    names = ("boxes", "class_ids", "is_crowd", "is_difficult", "is_truncated")
    return Example(**{**vars(example), **{name: getattr(example, name)[kept] for name in names}})


def _other_texts(record: bytes, class_names: Sequence[str]) -> list[str]:
    """Where the names in a record are not those that `classes.json` gives its labels."""
    features = example_proto.SequenceExample.FromString(record).context.feature
    if "image/object/class/text" not in features or "image/object/class/label" not in features:
        return []
    texts = features["image/object/class/text"].bytes_list.value
    labels = features["image/object/class/label"].int64_list.value
    differing = {
        (label, text.decode("utf-8", "replace"))
        for label, text in zip(labels, texts, strict=False)
        if 0 < label <= len(class_names) and text.decode("utf-8", "replace") != class_names[label - 1]
    }
    return [f"{text!r} is label {label}, {class_names[label - 1]!r} by the list" for label, text in sorted(differing)]


# --- Both ------------------------------------------------------------


def _look(example: Example, where: str, findings: Sequence[Finding], troubles: Troubles) -> Look:
    try:
        picture = fingerprint(example.encoded)
    except ImageError:  # TensorFlow and `find_damage` can be content where Pillow's full decoder is not
        picture = None
    return Look(
        image_id=example.image_id,
        where=where,
        name=_name(example),
        image_size=example.image_size,
        boxes=np.asarray(example.boxes, np.float32),
        class_ids=np.asarray(example.class_ids, np.int32),
        is_crowd=example.is_crowd,
        is_cut=example.is_truncated | _touches_edge(example.boxes, example.image_size),
        fingerprint=picture,
        findings=findings,
        troubles={name: details for name, details in troubles.items() if details},
    )


def _name(example: Example) -> str:
    """The id, and the file where one cannot be told from the other (COCO)."""
    image_id, filename = example.image_id, example.filename
    is_told = not filename or image_id.endswith(filename) or filename.rpartition(".")[0] == image_id
    return image_id if is_told else f"{image_id} ({filename})"


def _touches_edge(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    margin = 1.0
    return (boxes[:, :2] <= margin).any(axis=1) | (boxes[:, 2:] >= np.asarray(size[::-1]) - margin).any(axis=1)


def _label_troubles(example: Example, where: str, class_names: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
    """Objects that have two boxes."""
    troubles: dict[str, list[tuple[str, str]]] = {"boxed_twice": [], "two_classes": []}
    objects = np.flatnonzero(~example.is_crowd)
    for first, second in same_place_pairs(example.boxes[objects]):
        ids = example.class_ids[objects[[first, second]]]
        box = _numbers(example.boxes[objects[first]])
        one, other = (class_name(class_names, class_id) for class_id in ids)
        if ids[0] == ids[1]:
            troubles["boxed_twice"].append((where, f"{one} at {box}"))
        else:
            troubles["two_classes"].append((where, f"{one} and {other} at {box}"))
    return troubles


def same_place_pairs(boxes: np.ndarray) -> list[tuple[int, int]]:
    """Pairs among boxes [N, 4] whose IoU is at least 0.9."""
    order = np.argsort(boxes[:, 0])
    starts = boxes[order, 0]
    pairs = []
    for position, index in enumerate(order):
        # Boxes with such an overlap begin within a tenth of their width of each other.
        reach = boxes[index, 0] + 0.12 * (boxes[index, 2] - boxes[index, 0])
        others = order[position + 1 : np.searchsorted(starts, reach, side="right")]
        near = others[box_overlaps(boxes[others], boxes[index]) >= _SAME_PLACE]
        pairs += [(min(index, other), max(index, other)) for other in near.tolist()]
    return sorted((int(first), int(second)) for first, second in pairs)


def box_overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """IoU of boxes [..., 4] with boxes [..., 4], as they broadcast."""
    low, high = np.maximum(boxes[..., :2], others[..., :2]), np.minimum(boxes[..., 2:], others[..., 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=-1)
    areas = np.prod(boxes[..., 2:] - boxes[..., :2], axis=-1) + np.prod(others[..., 2:] - others[..., :2], axis=-1)
    return shared / np.maximum(areas - shared, 1e-9)


def axes_exchanged(corners: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Which boxes [N, 4] leave a picture of (height, width), and would not with x and y exchanged: their numbers."""
    return np.flatnonzero(~_fits(corners, size, _CARELESS_PIXELS) & _fits(corners[:, [1, 0, 3, 2]], size, 0.0))


def _fits(corners: np.ndarray, size: tuple[int, int], margin: float) -> np.ndarray:
    low, high = corners[:, :2], corners[:, 2:]
    return ((low >= -margin) & (high > low) & (high <= np.asarray(size[::-1]) + margin)).all(axis=1)


def class_name(class_names: Sequence[str], class_id: int) -> str:
    """The name of a class, also of one that is not in the list."""
    return class_names[class_id] if class_id < len(class_names) else f"label {class_id + 1}"


def _sizes(stated: tuple[int, int], actual: tuple[int, int]) -> str:
    return f"stated {stated[1]} x {stated[0]}, is {actual[1]} x {actual[0]} (width x height)"


def _numbers(corners: Sequence[float]) -> str:
    return "[" + ", ".join(f"{value:.6g}" for value in corners) + "]"
