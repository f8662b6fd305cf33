"""The recipes in `configs/`: they load, say what they are, and describe the models whose names they bear."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from luminoth.checkpoints.convert.published import PUBLISHED
from luminoth.config import load_config
from luminoth.config.merge import leaves
from luminoth.config.schema import Config

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "luminoth" / "checkpoints" / "convert" / "models"
RECIPES = sorted((ROOT / "configs").glob("*.yml"))
# It only changes the run of another recipe.
ADDITIONS = {"toytown-checkpoint.yml": "toytown.yml"}

# Recipe -> configuration of the published model whose arithmetic it must have.
CONVERTED = {
    "torchvision-fasterrcnn-resnet50-fpn": "fasterrcnn_resnet50_fpn",
    "torchvision-fasterrcnn-resnet50-fpn-v2": "fasterrcnn_resnet50_fpn_v2",
    "torchvision-fasterrcnn-mobilenet-v3-large-fpn": "fasterrcnn_mobilenet_v3_large_fpn",
    "torchvision-fasterrcnn-mobilenet-v3-large-320-fpn": "fasterrcnn_mobilenet_v3_large_320_fpn",
    "detectron2-faster-rcnn-r50-c4": "faster_rcnn_R_50_C4",
    "detectron2-faster-rcnn-r50-dc5": "faster_rcnn_R_50_DC5",
    "detectron2-faster-rcnn-r50-fpn": "faster_rcnn_R_50_FPN",
    "detectron2-faster-rcnn-r101-c4": "faster_rcnn_R_101_C4",
    "detectron2-faster-rcnn-r101-dc5": "faster_rcnn_R_101_DC5",
    "detectron2-faster-rcnn-r101-fpn": "faster_rcnn_R_101_FPN",
    "detectron2-faster-rcnn-x101-32x8d-fpn": "faster_rcnn_X_101_32x8d_FPN",
    "finetune-fasterrcnn-r50-fpn": "fasterrcnn_resnet50_fpn",
    "finetune-fasterrcnn-mobilenet-320": "fasterrcnn_mobilenet_v3_large_320_fpn",
}
# What a training may choose without changing what the network computes; and how many classes it has.
TRAINING_ONLY = re.compile(
    r"network\.num_classes|base_network\.(trainable|weights|download|fine_tune_from|train_batch_norm|freeze_tail)|"
    r"base_network\.arg_scope\.weight_decay|(rpn|rcnn)\.(l2_regularization_scale|\w+_initializer.*)|loss\..*"
)


def load(recipe: Path) -> Config:
    below = ADDITIONS.get(recipe.name)
    return load_config([recipe.parent / below, recipe] if below else [recipe])


def model_keys(config: Config) -> dict:
    """Dotted key -> value of all of `model` that the network's arithmetic depends on."""
    keys = leaves(config.model.model_dump(mode="json"))
    return {key: value for key, value in keys.items() if not TRAINING_ONLY.fullmatch(key)}


def head_of(recipe: Path) -> str:
    """The comment at the top, without its marks."""
    text = recipe.read_text(encoding="utf-8")
    return re.sub(r"^# ?", "", re.match(r"(#.*\n)+", text)[0], flags=re.MULTILINE)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_recipes_load(recipe):
    assert load(recipe).train.run_name == recipe.stem


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_heads_say_command_cost_and_result(recipe):
    head = head_of(recipe)
    assert re.search(rf"^  lumi train -c .*configs/{recipe.name}$", head, re.MULTILINE)
    assert re.search(r"^Costs: ", head, re.MULTILINE)
    assert re.search(r"^Result", head, re.MULTILINE)


@pytest.mark.parametrize("name", CONVERTED)
def test_model_and_pictures_are_those_of_the_published_weights(name):
    recipe = load(ROOT / "configs" / f"{name}.yml")
    converted = load_config([MODELS / f"{CONVERTED[name]}.yml"])
    assert model_keys(recipe) == model_keys(converted)
    assert recipe.dataset.image_preprocessing == converted.dataset.image_preprocessing


@pytest.mark.parametrize("name", CONVERTED)
def test_heads_give_source_and_published_figure(name):
    head = head_of(ROOT / "configs" / f"{name}.yml")
    models = [model for model in PUBLISHED.values() if model.architecture == CONVERTED[name]]
    assert re.search(r"^Source: .*https://", head, re.MULTILINE)
    assert any(f"{model.box_ap} " in head or f"{model.box_ap}." in head for model in models)
    for file in re.findall(r"lumi checkpoint convert (\S+)", head):
        assert file in [model.file_name for model in models]


@pytest.mark.parametrize("name", CONVERTED)
def test_what_a_recipe_starts_from_can_be_converted(name):
    start = load(ROOT / "configs" / f"{name}.yml").train.from_checkpoint
    assert start is None or PUBLISHED[start].architecture == CONVERTED[name]
    has_command = "lumi checkpoint convert" in head_of(ROOT / "configs" / f"{name}.yml")
    assert has_command == (start is not None)


def test_every_published_model_has_a_recipe_and_every_such_recipe_is_tested():
    assert {model.architecture for model in PUBLISHED.values()} <= set(CONVERTED.values())
    prefixes = ("torchvision-", "detectron2-", "finetune-")
    assert {recipe.stem for recipe in RECIPES if recipe.stem.startswith(prefixes)} == set(CONVERTED)


def test_fine_tuning_takes_the_classes_of_the_data_set():
    for name in CONVERTED:
        classes = load(ROOT / "configs" / f"{name}.yml").model.network.num_classes
        assert classes == (None if name.startswith("finetune-") else 80)
