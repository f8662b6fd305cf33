"""What the schema's types cannot say: which keys stand together, follow each other, or mean nothing any more."""

from __future__ import annotations

from luminoth.config.fields import Section
from luminoth.config.merge import leaves, merge, nest, part_at
from luminoth.config.yaml_text import DEFAULT, Stated

# Sections whose keys depend on their kind: a later file's replaces an earlier one's as a whole.
# Each with the key that names the kind.
WHOLE_SECTIONS = {
    "train.learning_rate": "decay_method",
    "train.optimizer": "type",
    "train.sampling": "type",
    "model.rpn.cls_loss": "type",
    "model.rcnn.cls_loss": "type",
    "model.rpn.rpn_initializer": "type",
    "model.rpn.cls_initializer": "type",
    "model.rpn.bbox_initializer": "type",
    "model.rcnn.rcnn_initializer": "type",
    "model.rcnn.cls_initializer": "type",
    "model.rcnn.bbox_initializer": "type",
}

# Luminoth's keys that mean nothing on TensorFlow 2: accepted, dropped, named in one warning.
WITHOUT_EFFECT = (
    "train.ignore_scope",
    "train.tf_debug",
    "train.save_timeline",
    "train.full_trace",
    "model.batch_norm",
)

# TensorFlow 1's names for what has another here.
RENAMED = {"train.optimizer.use_nesterov": "train.optimizer.nesterov"}

# Luminoth had one key where there are two now. Who states that one and not the other gets what Luminoth did:
# the same count of proposals in training and tests, anchors as far apart as the features, no clipping but
# the stated one.
_SAME_VALUE = object()
FOLLOWERS = {
    "model.rpn.proposals.test_pre_nms_top_n": ("model.rpn.proposals.pre_nms_top_n", _SAME_VALUE),
    "model.rpn.proposals.test_post_nms_top_n": ("model.rpn.proposals.post_nms_top_n", _SAME_VALUE),
    "model.anchors.stride": ("model.base_network.output_stride", _SAME_VALUE),
    "train.clip_by_global_norm": ("train.clip_by_norm", None),
}

# What suits a kind of features, for who states `model.network.features` and not these.
_HEAD_OF_TWO_LAYERS = {
    "model.base_network.use_tail": False,
    "model.rpn.activation_function": "relu",
    "model.rcnn.layer_sizes": [1024, 1024],
    "model.rcnn.activation_function": "relu",
    "model.rcnn.use_mean": False,
}
FEATURES_KEY = "model.network.features"
FEATURE_DEFAULTS = {
    "dc5": _HEAD_OF_TWO_LAYERS,
    "fpn": {
        **_HEAD_OF_TWO_LAYERS,
        "model.anchors.sizes": [[32.0], [64.0], [128.0], [256.0], [512.0]],
        "model.rpn.num_channels": 256,
        "model.rpn.proposals.pre_nms_top_n": 2000,
        "model.rpn.proposals.post_nms_top_n": 1000,
        "model.rpn.proposals.test_pre_nms_top_n": 1000,
        "model.rpn.proposals.test_post_nms_top_n": 1000,
    },
}


def add_followers(tree: dict) -> dict:
    """The tree with the keys of `FOLLOWERS` and `FEATURE_DEFAULTS` that are not stated but follow a stated one."""
    stated = leaves(tree)
    features = stated.get(FEATURES_KEY)
    suitable = FEATURE_DEFAULTS.get(features.value, {}) if features and isinstance(features.value, str) else {}
    for path, value in suitable.items():
        if path not in stated and _can_hold(tree, path):
            tree = merge(tree, nest(path, Stated(value, features.source, features.line, follows=True)))
    for follower, (leader, value) in FOLLOWERS.items():
        if leader not in stated or follower in stated or not _can_hold(tree, follower):
            continue
        leading = stated[leader]
        if value is _SAME_VALUE:
            value = leading.value
        tree = merge(tree, nest(follower, Stated(value, leading.source, leading.line, follows=True)))
    return tree


def drop_empty_sections(tree: dict, schema: type[Section]) -> dict:
    """A file's tree without the sections under whose name nothing stands (`train:`), which so have their defaults.

    A section whose kind must be chosen is not among them: there empty may mean something.
    """
    kept = {}
    for name, value in tree.items():
        field = schema.model_fields.get(name)
        kind = field.annotation if field is not None else None
        if isinstance(kind, type) and issubclass(kind, Section):
            if isinstance(value, Stated) and value.value is None:
                continue
            value = drop_empty_sections(value, kind) if isinstance(value, dict) else value
        kept[name] = value
    return kept


def drop_without_effect(tree: dict) -> tuple[dict, list[str]]:
    """The tree without the keys of `WITHOUT_EFFECT`, and those that were there."""
    dropped = [path for path in WITHOUT_EFFECT if _has(tree, path)]
    for path in dropped:
        tree = _without(tree, path.split("."))
    return tree, dropped


def rename(tree: dict) -> dict:
    """The tree with the old names of `RENAMED` brought to the new ones, where the new one is not stated."""
    for old, new in RENAMED.items():
        stated = leaves(tree)
        if old in stated and (new not in stated or stated[new].source == DEFAULT):
            tree = merge(_without(tree, old.split(".")), nest(new, stated[old]))
    return tree


def _has(tree: dict, path: str) -> bool:
    parent, _, name = path.rpartition(".")
    above = part_at(tree, parent) if parent else tree
    return isinstance(above, dict) and name in above


def _can_hold(tree: dict, path: str) -> bool:
    """Whether nothing but mappings stands above `path`, so that adding it hides no mistake."""
    names = path.split(".")[:-1]
    return all(isinstance(part_at(tree, ".".join(names[:count])), dict | None) for count in range(1, len(names) + 1))


def _without(tree: dict, names: list[str]) -> dict:
    first, *rest = names
    if not rest:
        return {name: value for name, value in tree.items() if name != first}
    return {name: _without(value, rest) if name == first else value for name, value in tree.items()}
