"""This project's side of `python -m benchmarks.faster_rcnn` (see peer.py): what a user calls, in a process of its own.

Inference is `Detector.detect` from a uint8 picture to NumPy boxes, training is `make_train_step` as the training loop
calls it. `peak` measures what the machine gives at best: one large convolution and one large matrix product.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from benchmarks import scene
from benchmarks.peer import Prepared, serve

MODEL = "fasterrcnn_resnet50_fpn"
MIN_SCORE = 0.05


def prepare(job: dict[str, Any]) -> Prepared:
    if job["device"] == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    import tensorflow as tf

    if job["device"] == "gpu" and not tf.config.list_physical_devices("GPU"):
        raise SystemExit("TensorFlow sees no GPU")
    return JOBS[job["what"]](job)


def _checkpoint(job: dict[str, Any]) -> Prepared:
    """Writes the folder `job["checkpoint"]`: torchvision's weights converted, or initial ones where there are none."""
    folder = Path(job["checkpoint"])
    if job["weights"]:
        from luminoth.checkpoints.convert.converter import convert_source, read_source

        _, report = convert_source(read_source(job["weights"], MODEL), folder)
        return {}, {"converted": str(report)}

    from luminoth.checkpoints.publish import publish_model
    from luminoth.config import load_config
    from luminoth.models.build import build_model

    config = load_config([job["recipe"]])
    classes = [f"class {number}" for number in range(scene.NUM_CLASSES)]
    publish_model(build_model(config, len(classes)), config, classes, {"id": "initial-weights"}, folder)
    return {}, {}


def _inference(job: dict[str, Any]) -> Prepared:
    from luminoth import Detector

    detector = Detector(job["checkpoint"], prob=MIN_SCORE, precision=job["precision"])
    pictures = {name: scene.picture(size) for name, size in scene.PICTURES.items()}
    found = detector.detect(pictures["800x1066"])
    top = {"boxes": found.boxes[:20].tolist(), "scores": found.scores[:20].tolist()}
    # torchvision's labels are COCO's ids, which start at 1.
    top["labels"] = (found.class_ids[:20] + 1).tolist()
    cases = {name: lambda pixels=pixels: detector.detect(pixels) for name, pixels in pictures.items()}
    return cases, {"detections": len(found), "top": top}


def _training(job: dict[str, Any]) -> Prepared:
    import tensorflow as tf

    from luminoth.checkpoints.folder import CONFIG_FILE
    from luminoth.checkpoints.runs import restore
    from luminoth.config import load_config
    from luminoth.models.build import build_model
    from luminoth.training.update.optimizers import make_optimizer
    from luminoth.training.update.step import make_train_step
    from luminoth.training.workers.strategy import make_strategy

    folder = Path(job["checkpoint"])
    config = load_config([folder / CONFIG_FILE], ["model.base_network.fine_tune_from=null"])
    strategy = make_strategy()
    with strategy.scope():
        model = build_model(config, scene.NUM_CLASSES, precision=job["precision"])
        optimizer = make_optimizer(config.train.optimizer, model.trainable_variables)
    restore(folder, model)
    batch = _training_batch()
    spec = tf.nest.map_structure(tf.TensorSpec.from_tensor, batch)
    train_step = make_train_step(model, optimizer, strategy, spec, seed=0)
    trained = int(sum(np.prod(weight.shape) for weight in model.trainable_variables))
    # So small a rate that each step does the same work.
    losses = train_step(batch, 0, 1e-6)
    facts = {"trained_parameters": trained, "loss": losses["no_reg_loss"]}
    return {"step": lambda: train_step(batch, 0, 1e-6)}, facts


def _training_batch():
    """One picture with its objects."""
    import tensorflow as tf

    from luminoth.types import Batch

    pixels = scene.picture(scene.NETWORK_SIZE)[None].astype(np.float32)
    boxes, class_ids = scene.objects()
    there = np.ones((1, len(boxes)), bool)
    fields = (pixels, np.array([scene.NETWORK_SIZE], np.int32), boxes[None], class_ids[None], there, ~there)
    return Batch(*map(tf.constant, fields))


def _roi_align(job: dict[str, Any]) -> Prepared:
    import tensorflow as tf

    from luminoth.models.faster_rcnn.roi_align import roi_align

    rng = np.random.default_rng(0)
    shapes = [(1, *size, scene.CHANNELS) for size in scene.level_sizes()]
    features = [tf.constant(rng.standard_normal(shape, np.float32)) for shape in shapes]
    rois = tf.constant(scene.random_boxes(scene.NUM_ROIS)[None])

    @tf.function(autograph=False)
    def pool(features, rois):
        return roi_align(
            features, rois, strides=scene.LEVEL_STRIDES, output_size=(7, 7), sampling_ratio=2, aligned=False
        )

    return {"roi-align": lambda: pool(features, rois)[0, 0, 0, 0, 0].numpy()}, {}


def _cold_start(job: dict[str, Any]) -> Prepared:
    """`run first` is timed in a process that has imported TensorFlow and nothing of this project."""
    pixels = scene.picture(scene.NETWORK_SIZE)

    def first():
        from luminoth import Detector

        Detector(job["checkpoint"], prob=MIN_SCORE, precision=job["precision"]).detect(pixels)

    return {"first": first}, {}


def _peak(job: dict[str, Any]) -> Prepared:
    """The better of a few large shapes of either kind, each a constant-weight operation as in a frozen graph."""
    import tensorflow as tf

    dtype = tf.as_dtype(job["precision"])
    rng = np.random.default_rng(0)

    def constant(*shape):
        return tf.cast(rng.standard_normal(shape, np.float32) / 32, dtype).numpy()

    def convolution(rows, columns, channels):
        x, kernel = tf.constant(constant(1, rows, columns, channels)), constant(3, 3, channels, channels)
        run = tf.function(lambda x: tf.nn.conv2d(x, tf.constant(kernel), 1, "SAME"), autograph=False)
        return (lambda: run(x)[0, 0, 0, 0].numpy()), 2 * rows * columns * 9 * channels**2

    def product(rows, inner, columns):
        x, weights = tf.constant(constant(rows, inner)), constant(inner, columns)
        run = tf.function(lambda x: tf.matmul(x, tf.constant(weights)), autograph=False)
        return (lambda: run(x)[0, 0].numpy()), 2 * rows * inner * columns

    convolutions = [convolution(*shape) for shape in ((200, 272, 256), (200, 272, 128), (100, 136, 512))]
    products = [product(*shape) for shape in ((4096, 4096, 4096), (1024, 12544, 1024))]
    best = {"convolution": _fastest(convolutions), "matrix": _fastest(products)}
    return {name: run for name, (run, _) in best.items()}, {"flops": {name: flops for name, (_, flops) in best.items()}}


def _fastest(contestants):
    """The (function, operations) with the most operations a second."""
    from benchmarks.machine import in_turn

    seconds = in_turn({str(index): run for index, (run, _) in enumerate(contestants)}, rounds=3)
    rates = [flops / min(seconds[str(index)]) for index, (_, flops) in enumerate(contestants)]
    return contestants[rates.index(max(rates))]


JOBS = {
    "checkpoint": _checkpoint,
    "inference": _inference,
    "training": _training,
    "roi-align": _roi_align,
    "cold-start": _cold_start,
    "peak": _peak,
}

if __name__ == "__main__":
    serve(prepare)
