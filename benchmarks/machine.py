"""What a benchmark's figures were measured on, and how they are summarised."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path


def describe_machine() -> str:
    """Processor, cores and versions, in one line."""
    import keras
    import tensorflow as tf

    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        cpu = names[0] if names else cpu
    gpus = [device.name for device in tf.config.list_physical_devices("GPU")]
    return (
        f"{cpu}, {os.cpu_count()} cores, {', '.join(gpus) or 'no GPU'}; Python {platform.python_version()}, "
        f"TensorFlow {tf.__version__}, Keras {keras.__version__}; load {os.getloadavg()[0]:.1f}"
    )


def in_turn(contestants: dict[str, Callable[[], object]], rounds: int, warm_up: int = 2) -> dict[str, list[float]]:
    """Seconds of each contestant in each round, one after the other, so that the machine's moods hit all alike."""
    for run in contestants.values():
        for _ in range(warm_up):
            run()
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    return seconds


def median_ratio(times: Sequence[float], base: Sequence[float]) -> float:
    """The median over rounds of time / base in the same round."""
    return statistics.median(a / b for a, b in zip(times, base, strict=True))
