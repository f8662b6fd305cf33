"""Dynamic batching: pictures of requests that wait at the same time go through the network together.

One thread a model runs the network. It takes what waits, waits a few milliseconds for more, and hands the results to
the threads of the requests. How many pictures (and pixels) are on their way is bounded *before* they are decoded, so
that no number of requests fills the memory.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from luminoth.types import Detections

# In all pictures on their way; 256 million are 768 MB.
MAX_PIXELS_ON_THEIR_WAY = 256_000_000


class Model(Protocol):
    """What is served: a `Detector`, or anything that looks like one."""

    class_names: Sequence[str]

    def detect(self, images: list[np.ndarray]) -> list[Detections]:
        """The objects of pictures, uint8 RGB [H, W, 3] each; called by one thread at a time."""
        ...


class QueueFullError(Exception):
    """As many pictures as are accepted are on their way already."""


class StoppedError(Exception):
    """The batcher takes no more pictures."""


class Found(NamedTuple):
    """What was found in one picture, and how long it took.

    Attributes:
        detections: the objects.
        queue_seconds: spent waiting for the network.
        network_seconds: spent in the network, by the whole batch.
        batch_size: how many pictures were in it.
    """

    detections: Detections
    queue_seconds: float
    network_seconds: float
    batch_size: int


@dataclass
class _Waiting:
    pixels: np.ndarray
    result: Future
    since: float


class Batcher:
    """Runs a model on pictures from many threads.

    Args:
        model: what runs; only this object's thread calls it.
        max_batch: most pictures that go through the network at once.
        max_wait: seconds that the first picture of a batch waits for others.
        max_queue: most pictures on their way at once.
        max_pixels: most pixels in them; a single request may have more when nothing else is on its way.
        on_batch: told (size, seconds in the network, seconds each picture waited) of every batch.
        name: of the thread.
    """

    def __init__(
        self,
        model: Model,
        *,
        max_batch: int = 8,
        max_wait: float = 0.005,
        max_queue: int = 64,
        max_pixels: int = MAX_PIXELS_ON_THEIR_WAY,
        on_batch: Callable[[int, float, list[float]], None] = lambda size, seconds, waits: None,
        name: str = "batcher",
    ) -> None:
        self.max_batch, self.max_queue = max_batch, max_queue
        self._model, self._max_wait, self._max_pixels, self._on_batch = model, max_wait, max_pixels, on_batch
        self._waiting: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._count = self._pixels = 0  # on their way
        self._is_stopped = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    @property
    def on_their_way(self) -> int:
        """How many pictures have room at present, from before they are decoded until their result is there."""
        return self._count

    @contextmanager
    def room(self, count: int, pixels: int) -> Iterator[None]:
        """Room for pictures, to be had before they are decoded.

        Args:
            count: how many; at most `max_queue`.
            pixels: in all of them.

        Raises:
            QueueFullError: there is none at present.
        """
        with self._changed:
            is_busy = self._count > 0
            if self._count + count > self.max_queue or (is_busy and self._pixels + pixels > self._max_pixels):
                raise QueueFullError
            self._count += count
            self._pixels += pixels
        try:
            yield
        finally:
            with self._changed:
                self._count -= count
                self._pixels -= pixels

    def submit(self, pixels: np.ndarray) -> Future[Found]:
        """Puts a picture in the queue; `room` was made for it.

        Args:
            pixels: uint8 RGB [H, W, 3].

        Returns:
            The result that is to come. Cancelled, the picture is left out unless the network has it already.

        Raises:
            StoppedError: after `stop`.
        """
        result: Future[Found] = Future()
        with self._changed:
            if self._is_stopped:
                raise StoppedError
            self._waiting.append(_Waiting(pixels, result, time.monotonic()))
            self._changed.notify_all()
        return result

    def stop(self, timeout: float | None = None) -> None:
        """Takes no more pictures, finishes those that wait, ends the thread."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
        self._thread.join(timeout)

    def _work(self) -> None:
        while batch := self._next_batch():
            self._run([each for each in batch if each.result.set_running_or_notify_cancel()])

    def _next_batch(self) -> list[_Waiting]:
        """What goes through the network next; empty when there is nothing more to come."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_stopped)
            if not self._waiting:
                return []
            left = self._waiting[0].since + self._max_wait - time.monotonic()
            self._changed.wait_for(lambda: len(self._waiting) >= self.max_batch or self._is_stopped, max(left, 0.0))
            return [self._waiting.popleft() for _ in range(min(len(self._waiting), self.max_batch))]

    def _run(self, batch: list[_Waiting]) -> None:
        if not batch:
            return
        started = time.monotonic()
        waits = [started - each.since for each in batch]
        try:
            found = self._model.detect([each.pixels for each in batch])
            if len(found) != len(batch):
                raise RuntimeError(f"the model gave {len(found)} results for {len(batch)} pictures")
        except Exception as error:
            self._fail(batch, error)
            return
        seconds = time.monotonic() - started
        self._on_batch(len(batch), seconds, waits)
        for each, detections, wait in zip(batch, found, waits, strict=True):
            each.result.set_result(Found(detections, wait, seconds, len(batch)))

    def _fail(self, batch: list[_Waiting], error: Exception) -> None:
        """A picture that the model fails on must not take those beside it along."""
        if len(batch) == 1:
            batch[0].result.set_exception(error)
            return
        for each in batch:
            self._run([each])
