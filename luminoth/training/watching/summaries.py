"""TensorBoard's event file of a training: curves, pictures, histograms, texts, the graph.

Events are made and written here rather than by `tf.summary`: a point on twenty curves takes a tenth of a millisecond
instead of nine, an error shows where it happens, and a resumed training can say from which step on it does again what
an earlier one did, so that curves do not double back.
"""

from __future__ import annotations

import io
import os
import platform
import time
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any, Self

import numpy as np
import tensorflow as tf
from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.histogram.summary_v2 import histogram_pb
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.record_writer import RecordWriter

from luminoth.errors import OutputError
from luminoth.models.base import named_weights
from luminoth.training.watching.whole_appends import WholeAppends

# Several files of one process within a second need different names, which sort in the order of their making.
_NUMBERS = count()
_BUCKETS = 30  # of a histogram, as TensorBoard's own


class Summaries:
    """Writes an event file into a run's folder, or nothing at all when that is None. A context manager.

    Args:
        folder: the run's folder, made when it is missing.
        step: updates done. Events of later steps in the folder's older files are superseded: TensorBoard forgets them.

    Raises:
        OutputError, from here and from all methods: the file cannot be written; what was not whole is taken back.
    """

    def __init__(self, folder: Path | None, step: int) -> None:
        self._path, self._file = None, None
        if folder is None:
            return
        name = f"events.out.tfevents.{int(time.time()):010d}.{platform.node()}.{os.getpid()}.{next(_NUMBERS):06d}"
        self._path = Path(folder) / name
        try:
            self._file = WholeAppends(self._path)
        except OSError as error:
            raise self._error(error) from error
        self._write(Event(file_version="brain.Event:2"))
        self._write(Event(step=step + 1, session_log=SessionLog(status=SessionLog.START)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._file is not None:
            self._file.close()

    @property
    def is_on(self) -> bool:
        """Whether anything is written."""
        return self._file is not None

    def text(self, name: str, text: str, step: int) -> None:
        """Writes text that keeps its line breaks and indentation."""
        self._write_values(step, text_pb(name, "    " + text.replace("\n", "\n    ")))

    def hparams(self, values: Mapping[str, bool | float | str], run: str) -> None:
        """Writes what distinguishes this run, for TensorBoard's table of runs."""
        self._write_values(0, hparams_pb(dict(values), trial_id=run))

    def scalars(self, values: Mapping[str, float | None], step: int) -> None:
        """Writes one point to each of the curves named; what is None is not known and gets none."""
        known = [Summary.Value(tag=name, simple_value=value) for name, value in values.items() if value is not None]
        self._write_values(step, Summary(value=known))

    def picture(self, name: str, pixels: np.ndarray, step: int) -> None:
        """Writes a picture, uint8 RGB [H, W, 3]."""
        encoded = io.BytesIO()
        Image.fromarray(pixels).save(encoded, "PNG")
        height, width = pixels.shape[:2]
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=encoded.getvalue())
        self._write_values(step, Summary(value=[Summary.Value(tag=name, image=image)]))

    def histograms(self, model: Any, step: int, *, trained_only: bool) -> None:
        """Writes how the values of each weight are distributed; of all weights, or of those that are trained."""
        for name, weight in named_weights(model).items():
            if self.is_on and (weight.trainable or not trained_only):
                self._write_values(step, histogram_pb(f"weights/{name}", weight.numpy(), buckets=_BUCKETS))

    def graph(self, graph: tf.Graph) -> None:
        """Writes what a model computes."""
        self._write(Event(graph_def=graph.as_graph_def(add_shapes=True).SerializeToString()))

    def _write_values(self, step: int, summary: Summary) -> None:
        self._write(Event(step=step, summary=summary))

    def _write(self, event: Event) -> None:
        """Writes an event; it is with the operating system afterwards."""
        if self._file is None:
            return
        event.wall_time = time.time()
        framed = io.BytesIO()
        RecordWriter(framed).write(event.SerializeToString())
        try:
            self._file.append(framed.getvalue())
        except OSError as error:
            raise self._error(error) from error

    def _error(self, error: OSError) -> OutputError:
        return OutputError(f"{self._path}: TensorBoard's events cannot be written ({error.strerror or error})")
