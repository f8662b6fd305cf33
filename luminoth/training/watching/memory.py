"""How much memory this process holds: on the host, and on its first GPU."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import tensorflow as tf


def host_memory() -> int | None:
    """Bytes resident now; None where that cannot be seen (no /proc)."""
    try:
        resident_pages = int(Path("/proc/self/statm").read_bytes().split()[1])
    except OSError:
        return None
    return resident_pages * os.sysconf("SC_PAGE_SIZE")


def peak_host_memory() -> int | None:
    """The most bytes ever resident; None on Windows."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # kB everywhere else


def gpu_memory() -> tuple[int, int] | None:
    """Bytes that TensorFlow holds on its first GPU, now and at most so far; None without a GPU."""
    if not tf.config.list_logical_devices("GPU"):
        return None
    info = tf.config.experimental.get_memory_info("GPU:0")
    return info["current"], info["peak"]


def available_host_memory() -> int | None:
    """Bytes that may still be taken on the host, by the system and by this process's control group; None: not known."""
    amounts = [amount for amount in (_available_in_system(), _available_in_group()) if amount is not None]
    return min(amounts, default=None)


def _available_in_system() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)


def _available_in_group() -> int | None:
    """Of the limit that a container or a batch system sets (control groups, version 2 or 1)."""
    for limit_file, usage_file in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        try:
            limit, usage = (int(Path(file).read_text()) for file in (limit_file, usage_file))
        except (OSError, ValueError):  # ValueError: the limit is the word `max`
            continue
        return max(0, limit - usage)
    return None
