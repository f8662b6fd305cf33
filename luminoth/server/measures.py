"""Figures for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from luminoth.server.served import READY, ServedModel

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})  # clients may invent others
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Measures:
    """Counts requests and batches of one application.

    Args:
        models: those whose state is told.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, models: Sequence[ServedModel]) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "lumi_requests", "Requests answered.", ["route", "method", "status"], registry=registry
        )
        self._seconds = Histogram(
            "lumi_request_seconds", "Time to answer a request.", ["route"], buckets=_SECONDS, registry=registry
        )
        self._batch = Histogram(
            "lumi_batch_size", "Pictures that went through the network at once.", ["model"],
            buckets=_SIZES, registry=registry,
        )  # fmt: skip
        self._network = Histogram(
            "lumi_network_seconds", "Time of a batch in the network.", ["model"], buckets=_SECONDS, registry=registry
        )
        self._queue = Histogram(
            "lumi_queue_seconds", "Time a picture waited for it.", ["model"], buckets=_SECONDS, registry=registry
        )
        registry.register(_States(models))

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Counts a request; `route` is the pattern, of which there are few, not the address."""
        method = method if method in _METHODS else "other"
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def watcher(self, model: str) -> Callable[[int, float, list[float]], None]:
        """What counts the batches of a model."""
        batch, network, queue = (each.labels(model) for each in (self._batch, self._network, self._queue))

        def watch(size: int, seconds: float, waits: list[float]) -> None:
            batch.observe(size)
            network.observe(seconds)
            for wait in waits:
                queue.observe(wait)

        return watch

    def text(self) -> bytes:
        """All figures in Prometheus' text format."""
        return generate_latest(self._registry)


class _States:
    """What is asked for when the figures are read."""

    def __init__(self, models: Sequence[ServedModel]) -> None:
        self._models = models

    def collect(self) -> Iterator[Metric]:
        queue = GaugeMetricFamily(
            "lumi_pictures_on_their_way", "Pictures being decoded, waiting or in the network.", labels=["model"]
        )
        ready = GaugeMetricFamily("lumi_model_ready", "1 when the model is loaded.", labels=["model"])
        for model in self._models:
            queue.add_metric([model.name], model.batcher.on_their_way if model.batcher else 0)
            ready.add_metric([model.name], model.state == READY)
        yield queue
        yield ready
