"""A model that is served: it loads in the background, then answers through a `Batcher`."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import numpy as np

from luminoth.server.batching import Batcher, Model

LOADING, READY, FAILED = "loading", "ready", "failed"

_log = logging.getLogger(__name__)


class ServedModel:
    """One of the models that a server has.

    Args:
        name: its part of the address, `/api/<name>/predict/`.
        load: makes the model; called once, by a thread of its own.
        network: what it is, for people: "Faster R-CNN, ResNet-50".
        min_prob: the lowest probability it reports.
        max_batch, max_wait, max_queue: see `Batcher`.

    Attributes:
        state: "loading", "ready" or "failed".
        classes: the names of its classes; empty until it is ready.
        batcher: where its pictures go; None until it is ready.
        on_batch: told of every batch, see `Batcher`; set before `start`.
    """

    def __init__(
        self,
        name: str,
        load: Callable[[], Model],
        *,
        network: str = "",
        min_prob: float = 0.0,
        max_batch: int = 8,
        max_wait: float = 0.005,
        max_queue: int = 64,
    ) -> None:
        self.name, self.network, self.min_prob = name, network, min_prob
        self.state = LOADING
        self.classes: list[str] = []
        self.batcher: Batcher | None = None
        self.on_batch: Callable[[int, float, list[float]], None] = lambda size, seconds, waits: None
        self.max_batch, self.max_queue = max_batch, max_queue
        self._load, self._max_wait = load, max_wait
        self._lock = threading.Lock()
        self._is_stopped = False
        self._thread: threading.Thread | None = None

    @property
    def can_be_used(self) -> bool:
        """Whether it is loaded, or will be as far as is known."""
        return self.state != FAILED

    def start(self) -> None:
        """Begins to load; a second call does nothing."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._load_and_warm_up, name=f"load {self.name}", daemon=True)
                self._thread.start()

    def wait(self, timeout: float | None = None) -> None:
        """Waits until it is loaded, or failed to."""
        if self._thread is not None:
            self._thread.join(timeout)

    def stop(self, timeout: float | None = None) -> None:
        """Finishes the pictures that wait; takes no more."""
        with self._lock:
            self._is_stopped = True
            batcher = self.batcher
        if batcher is not None:
            batcher.stop(timeout)

    def _load_and_warm_up(self) -> None:
        try:
            model = self._load()
            # The first calls build what the others use: for one picture, and for several at once.
            grey = np.full((480, 640, 3), 127, np.uint8)
            for pictures in sorted({1, min(2, self.max_batch)}):
                model.detect([grey] * pictures)
        except Exception as error:
            self.state = FAILED
            _log.error("%s: the model cannot be loaded: %s", self.name, error)
            _log.debug("how it failed", exc_info=True)
            return
        with self._lock:
            if self._is_stopped:
                return
            self.classes = list(model.class_names)
            self.batcher = Batcher(
                model,
                max_batch=self.max_batch,
                max_wait=self._max_wait,
                max_queue=self.max_queue,
                on_batch=lambda *figures: self.on_batch(*figures),
                name=f"batch {self.name}",
            )
            self.state = READY
