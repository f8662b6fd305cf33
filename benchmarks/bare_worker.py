"""The network alone, for `python -m benchmarks.server`: a `Detector` on lists of encoded pictures."""

from __future__ import annotations

from typing import Any

from benchmarks.peer import Prepared, serve
from benchmarks.pictures import make_example
from luminoth.inference.detector import Detector


def prepare(job: dict[str, Any]) -> Prepared:
    """`job`: checkpoint, pictures (how many), batch (at once), prob."""
    detector = Detector(job["checkpoint"], prob=job["prob"], batch_size=job["batch"])
    pictures = [make_example(number).encoded for number in range(job["pictures"])]
    singles = iter(range(1_000_000_000))
    return {
        "batched": lambda: len(detector.predict(pictures)),
        "single": lambda: len(detector.predict(pictures[next(singles) % len(pictures)])),
    }, {}


if __name__ == "__main__":
    serve(prepare)
