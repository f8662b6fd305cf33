"""`Detector`: a checkpoint that is asked for the objects in pictures."""

from __future__ import annotations

import difflib
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from luminoth.backbones import avx2_convolution
from luminoth.boxes.geometry import clip_boxes
from luminoth.boxes.host import suppress
from luminoth.checkpoints import loading, runs, store
from luminoth.config import load_config
from luminoth.errors import CheckpointError, ConfigError, ImageError
from luminoth.image import read_image
from luminoth.resize import ResizeRule, scale_boxes
from luminoth.types import UNUSED_CLASS, Detections, DetectorOutput

DEFAULT_CHECKPOINT = "accurate"

# Pictures of a list wait for others of their size up to this many pixels in all: 64 million are 192 MB.
_MAX_WAITING_PIXELS = 64_000_000

PRECISIONS = ("float32", "bfloat16", "float16")

# With XLA every canvas is compiled, which takes a minute or so; this leaves about a dozen at 800 x 1333, and a fifth of
# padding.
_XLA_CANVAS_STEP = 128


class Detector:
    """Finds objects in pictures.

        detector = Detector(checkpoint="toytown")
        detector.predict("street.jpg")    # [{"bbox": [x_min, y_min, x_max, y_max], "label": "car", "prob": 0.98}, ...]

    Args:
        checkpoint: an alias, an id, or the folder of a checkpoint or of a run, or its `gs://` address.
        config: the file of a run, or several that are merged left to right: its newest checkpoint is used.
            With neither `checkpoint` nor `config` it is the checkpoint `accurate`, which must be on this machine:
            `luminoth.checkpoints.download("accurate")` fetches it, a detector never does.
        prob: lowest score reported, 0 to 1; it may lie below the threshold the model was configured with.
        class_probs: {class name: lowest score reported of that class}, in the place of `prob`; of an evaluation's best
            ones, see `luminoth.inference.thresholds.read_thresholds`.
        classes: report only these classes.
        ignore_classes: do not report these.
        batch_size: most pictures of a list that go through the network at once.
        precision: "float32", "bfloat16" (faster where the processor knows it, scores differ in the second digit) or
            "float16" (GPUs only), what the network computes in; None: as the checkpoint's configuration says.
        xla: compile the network with XLA, once for each canvas (see below): faster on GPUs, slower on CPUs; None: as
            the checkpoint's configuration says.
        agnostic_nms: of objects of whatever classes that overlap by more than this IoU only the surest is reported;
            None: classes do not touch each other.

    Several threads may ask one detector at once, and several detectors live in one process.

    Pictures of a list share a batch when they fit the same canvas: their size in the network, rounded up to what the
    network pads to anyway, or, with XLA, to a few sizes, since each is compiled anew.

    Attributes:
        class_names: all classes the checkpoint knows, in the order of their ids.
        checkpoint: the folder the weights came from.
        prob: as given; may be changed between calls.

    Raises:
        CheckpointError: there is no such checkpoint, or it is damaged.
        ConfigError: an argument or the configuration file is not acceptable.
    """

    def __init__(
        self,
        checkpoint: str | os.PathLike | None = None,
        config: str | os.PathLike | Sequence[str | os.PathLike] | None = None,
        prob: float = 0.7,
        classes: Sequence[str] | None = None,
        *,
        ignore_classes: Sequence[str] | None = None,
        batch_size: int = 4,
        precision: str | None = None,
        xla: bool | None = None,
        class_probs: Mapping[str, float] | None = None,
        agnostic_nms: float | None = None,
    ) -> None:
        _check_share("prob", prob)
        for name, value in (class_probs or {}).items():
            _check_share(f"class_probs[{name!r}]", value)
        if agnostic_nms is not None:
            _check_share("agnostic_nms", agnostic_nms)
        if precision not in (None, *PRECISIONS):
            raise ConfigError(f"precision is {precision!r}; accepted: {', '.join(PRECISIONS)}")
        loaded = loading.load_model(_find_folder(checkpoint, config), precision=precision, xla=xla)
        self.class_names: list[str] = list(loaded.classes)
        self.checkpoint: Path = loaded.folder
        self.prob = prob
        self._is_wanted = self._wanted_classes(classes, ignore_classes)
        self._own_probs = self._probs_of_classes(class_probs or {})
        self._agnostic_nms = agnostic_nms
        self._batch_size = batch_size
        self._model = loaded.model
        self._model.freeze()
        self._uses_xla = loaded.config.eval.xla if xla is None else xla
        self._canvas_step = _XLA_CANVAS_STEP if self._uses_xla else loaded.model.size_multiple
        self._network = tf.function(
            self._run_network, jit_compile=self._uses_xla, autograph=False, reduce_retracing=True
        )
        self._resize = ResizeRule(**loaded.config.dataset.image_preprocessing.model_dump())
        self._canvases: dict[tuple[int, int], tuple[int, int]] = {}
        self._find_in_batch = self._make_graph(None)
        self._find_in_one = self._make_graph(1) if avx2_convolution.suits_this_machine() else self._find_in_batch

    @property
    def classes(self) -> list[str]:
        """The classes that are reported."""
        return [name for name, wanted in zip(self.class_names, self._is_wanted, strict=True) if wanted]

    def predict(
        self, images: Any, *, min_score: float | None = None
    ) -> list[dict[str, Any]] | list[list[dict[str, Any]]] | Iterator[list[dict]]:
        """The objects in one picture, or a list of them for each picture of a list.

        Args:
            images: a path, a PIL image, an array (uint8 RGB [H, W, 3], grey or RGBA), an open file; or a list
                or tuple of these; or an iterator (a generator, say), of which no more than a batch is held at once.
            min_score: lowest score reported this time, 0 to 1; None: what `prob` and `class_probs` say.

        Returns:
            `[{"bbox": [x_min, y_min, x_max, y_max], "label": str, "prob": float}, ...]` by descending
            `prob`; `bbox` in whole pixels of the upright picture. For an iterator, an iterator.

        Raises:
            ImageError: a picture cannot be read.
        """
        if _is_stream(images):
            return (found.to_dicts() for found in self.detect(images, min_score=min_score))
        if isinstance(images, (list, tuple)):
            return [found.to_dicts() for found in self.detect(images, min_score=min_score)]
        return self.detect(images, min_score=min_score).to_dicts()

    def detect(
        self, images: Any, *, min_score: float | None = None
    ) -> Detections | list[Detections] | Iterator[Detections]:
        """As `predict`, with arrays: one `Detections`, a list of them for a list, an iterator for an iterator."""
        if _is_stream(images):
            return self._stream(images, min_score)
        if not isinstance(images, (list, tuple)):
            return self.detect([images], min_score=min_score)[0]
        lowest = self.lowest_scores if min_score is None else self._lowest_scores(np.float32(min_score))
        found: list[Detections | None] = [None] * len(images)
        # Only pictures of one canvas share a batch: what is found in a picture does not depend on its neighbours.
        waiting: dict[tuple[int, int], list[tuple[int, np.ndarray]]] = defaultdict(list)

        def run(canvas: tuple[int, int], group: list[tuple[int, np.ndarray]]) -> None:
            batch = self._detect_batch([pixels for _, pixels in group], canvas, lowest)
            for (index, _), detections in zip(group, batch, strict=True):
                found[index] = detections

        waiting_pixels = 0
        for index, source in enumerate(images):
            pixels = _read_nonempty(source)
            waiting_pixels += pixels.shape[0] * pixels.shape[1]
            canvas = self._canvas(pixels.shape[0], pixels.shape[1])
            waiting[canvas].append((index, pixels))
            full = [canvas] if len(waiting[canvas]) == self._batch_size else []
            for canvas in list(waiting) if waiting_pixels > _MAX_WAITING_PIXELS else full:
                group = waiting.pop(canvas)
                waiting_pixels -= sum(pixels.shape[0] * pixels.shape[1] for _, pixels in group)
                run(canvas, group)
        for canvas, group in waiting.items():
            run(canvas, group)
        return found

    def _stream(self, images: Iterator[Any], min_score: float | None) -> Iterator[Detections]:
        while group := list(islice(images, self._batch_size)):
            yield from self.detect(group, min_score=min_score)

    def _wanted_classes(self, only: Sequence[str] | None, ignored: Sequence[str] | None) -> np.ndarray:
        """[C] bool: which classes are reported."""
        self._check_known((*(only or ()), *(ignored or ())))
        hidden = {UNUSED_CLASS, *(ignored or ())}
        return np.array([(not only or name in only) and name not in hidden for name in self.class_names], bool)

    def _probs_of_classes(self, probs: Mapping[str, float]) -> np.ndarray:
        """[C] float32: the lowest score of each class; NaN where `prob` holds."""
        self._check_known(probs)
        return np.array([probs.get(name, np.nan) for name in self.class_names], np.float32)

    def _check_known(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self.class_names:
                raise ConfigError(_unknown_class(name, self.class_names))

    @property
    def lowest_scores(self) -> np.ndarray:
        """[C] float32: what an object of each class must reach to be reported; above 1 for classes that never are."""
        return self._lowest_scores(np.where(np.isnan(self._own_probs), np.float32(self.prob), self._own_probs))

    def _lowest_scores(self, wanted: np.ndarray) -> np.ndarray:
        return np.where(self._is_wanted, wanted, np.float32(2.0))

    def _canvas(self, height: int, width: int) -> tuple[int, int]:
        """The size of the network's input for a picture of this size."""
        canvas = self._canvases.get((height, width))
        if canvas is None:
            step = self._canvas_step
            rows, columns = (-(-int(length) // step) * step for length in self._resize.target_size(height, width))
            canvas = (rows, columns)
            if len(self._canvases) > 10_000:  # a folder where no two pictures are the same size
                self._canvases.clear()
            self._canvases[height, width] = canvas
        return canvas

    def _detect_batch(
        self, pictures: list[np.ndarray], canvas: tuple[int, int], lowest: np.ndarray
    ) -> list[Detections]:
        """Pictures [H, W, 3] uint8, of any sizes that fit the canvas when they are resized."""
        flat = [np.ascontiguousarray(pixels).reshape(-1) for pixels in pictures]
        sizes = np.array([pixels.shape[:2] for pixels in pictures], np.int32)
        output = self._graph_for(len(pictures))(
            tf.constant(flat[0] if len(flat) == 1 else np.concatenate(flat)),
            tf.constant(sizes),
            tf.constant(canvas),
            tf.constant(min(lowest.min(), 1.0), tf.float32),
        )
        boxes, scores, class_ids, is_valid = (tensor.numpy() for tensor in output)
        found = []
        for index, (height, width) in enumerate(sizes.tolist()):
            keep = is_valid[index] & (scores[index] >= lowest[class_ids[index]])
            detections = Detections(
                boxes[index][keep], scores[index][keep], class_ids[index][keep], self.class_names, (height, width)
            )
            if self._agnostic_nms is not None:
                detections = detections.select(suppress(detections.boxes, detections.scores, self._agnostic_nms))
            found.append(detections)
        return found

    def _make_graph(self, pictures: int | None) -> Callable[..., DetectorOutput]:
        """Finds objects in so many pictures, in any number for None; traced when it is called first."""
        return tf.function(
            self._find_objects,
            # The pictures' sizes are left open, so that one trace serves them all.
            input_signature=[
                tf.TensorSpec([None], tf.uint8),
                tf.TensorSpec([pictures, 2], tf.int32),
                tf.TensorSpec([2], tf.int32),
                tf.TensorSpec([], tf.float32),
            ],
            autograph=False,  # which would take a second of the first call
        )

    def _graph_for(self, pictures: int) -> Callable[..., DetectorOutput]:
        """The graph for so many pictures. One that is left over from batches is not worth a trace of its own."""
        one, batch = self._find_in_one, self._find_in_batch
        has_own = one.experimental_get_tracing_count() or not batch.experimental_get_tracing_count()
        return one if pictures == 1 and has_own else batch

    def _find_objects(
        self, pixels: tf.Tensor, sizes: tf.Tensor, canvas: tf.Tensor, min_score: tf.Tensor
    ) -> DetectorOutput:
        """From original pixels to boxes in original pixels.

        Args:
            pixels: [sum of H x W x 3] uint8, the pictures one after another: they differ in size, and one
                flat row takes all of them without padding.
            sizes: [B, 2] int32, (H, W) of each.
            canvas: [2] int32, (height, width) of the network's input.
            min_score: float32 scalar.
        """
        lengths = 3 * tf.reduce_prod(tf.cast(sizes, tf.int64), axis=1)

        def network_input(picture):
            end, length, size = picture
            resized = self._resize(tf.reshape(pixels[end - length : end], [size[0], size[1], 3]))
            resized_size = tf.shape(resized)[:2]
            below, right = tf.unstack(canvas - resized_size)
            return tf.pad(resized, [[0, below], [0, right], [0, 0]]), resized_size

        images, image_sizes = tf.map_fn(
            network_input, (tf.cumsum(lengths), lengths, sizes), fn_output_signature=(tf.float32, tf.int32)
        )
        output = self._network(images, image_sizes, min_score)
        boxes = scale_boxes(
            output.boxes,
            from_size=(image_sizes[:, :1], image_sizes[:, 1:]),
            to_size=(sizes[:, :1], sizes[:, 1:]),
        )
        return output._replace(boxes=clip_boxes(boxes, sizes))

    def _run_network(self, images: tf.Tensor, image_sizes: tf.Tensor, min_score: tf.Tensor) -> DetectorOutput:
        return self._model.detect(images, image_sizes, min_score=min_score)


def _find_folder(
    checkpoint: str | os.PathLike | None, config: str | os.PathLike | Sequence[str | os.PathLike] | None
) -> Path:
    if not config:
        return store.find_checkpoint(DEFAULT_CHECKPOINT if checkpoint is None else checkpoint)
    if checkpoint is not None:
        raise ConfigError("give either a checkpoint or a config, not both: a checkpoint carries its own")
    files = [config] if isinstance(config, (str, os.PathLike)) else list(config)
    run_dir = runs.run_folder(load_config(files))
    newest = runs.latest_checkpoint(run_dir)
    if newest is None:
        names = " ".join(f"--config {os.fspath(file)}" for file in files)
        raise CheckpointError(
            f"{run_dir}: the run of {', '.join(map(os.fspath, files))} has no checkpoint yet; train it with "
            f"`lumi train {names}`, or name a checkpoint"
        )
    return newest


def _is_stream(images: Any) -> bool:
    """An open file is an iterator, too: of lines."""
    return isinstance(images, Iterator) and not hasattr(images, "read")


def _check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ConfigError(f"{name} must lie between 0 and 1; got {value}")


def _unknown_class(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name.lower(), known, n=1)
    meant = f" (did you mean `{near[0]}`?)" if near else ""
    return f"the checkpoint knows no class `{name}`{meant}; it knows: {', '.join(known)}"


def _read_nonempty(source: Any) -> np.ndarray:
    pixels = read_image(source)
    if 0 in pixels.shape:
        raise ImageError(f"an image must have at least one pixel; got shape {pixels.shape}")
    return pixels
