"""How fast pictures reach the network: decode, flip, resize to 600 pixels, batch; and with each augmentation.

    python -m benchmarks.input_pipeline [--seconds 2]

The second table applies one augmentation to every picture; its processor time, of all threads, says what that costs
on a busy machine as well.

Generates 640 x 480 JPEGs, writes them as records, and reads them as training does. Needs no data set and no network.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from benchmarks.pictures import HEIGHT, WIDTH, make_example
from luminoth.data.augment import AUGMENTATIONS
from luminoth.data.pipeline import training_batches
from luminoth.data.records import RecordWriter, encode_example
from luminoth.resize import ResizeRule

PICTURES = 48
PLAIN = ResizeRule(min_size=600, max_size=1024)
FLIP = [{"flip": {"prob": 0.5}}]
FULL = [
    *FLIP,
    {"patch": {"min_height": 300, "min_width": 300, "prob": 0.5}},
    {"distortion": {"brightness": {}, "contrast": {}, "hue": {}, "saturation": {}, "prob": 0.5}},
]


# What says little with its defaults on these pictures.
STATED = {
    "resize": {"min_size": 400, "max_size": 800},
    "patch": {"min_height": 300, "min_width": 300},
    "distortion": {"brightness": {}, "contrast": {}, "hue": {}, "saturation": {}},
}


def measure(path: str, seconds: float, **settings) -> tuple[float, float]:
    """Images per second, and processor milliseconds an image."""
    batches = iter(training_batches([path], seed=0, **settings))
    for _ in range(4):  # tracing and filling the buffers
        next(batches)
    count, start, processor_start = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - start < seconds:
        count += len(next(batches)[0].images)
    processor = time.process_time() - processor_start
    return count / (time.perf_counter() - start), 1000 * processor / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="how long each row is measured")
    seconds = parser.parse_args().seconds
    rows = [
        ("decode, 600 x 800, batches of 1", {"batch_size": 1, "resize": PLAIN}),
        ("decode, flip, 600 x 800, batches of 4", {"batch_size": 4, "resize": PLAIN, "augmentations": FLIP}),
        (
            "decode, flip, 300 x 300, batches of 32",
            {"batch_size": 32, "resize": ResizeRule(fixed_height=300, fixed_width=300), "augmentations": FLIP},
        ),
        ("flip, patch, distortion, 600 x 800, batches of 4", {"batch_size": 4, "resize": PLAIN, "augmentations": FULL}),
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.tfrecords"
        with RecordWriter(path) as writer:
            for number in range(PICTURES):
                writer.write(encode_example(make_example(number), ["object"]))
        size = path.stat().st_size / PICTURES / 1000
        print(f"{WIDTH} x {HEIGHT} JPEG of {size:.0f} kB, {os.cpu_count()} CPU cores\n")
        print(f"| {'what':<50} | images/s |")
        print(f"|{'-' * 52}|---------:|")
        for name, settings in rows:
            print(f"| {name:<50} | {measure(str(path), seconds, **settings)[0]:>8.0f} |")
        print("\n| with every picture, 600 x 800, batches of 4         | images/s | processor ms an image |")
        print(f"|{'-' * 52}|---------:|----------------------:|")
        for name in (None, *AUGMENTATIONS):
            entry = {} if name is None else {name: {**STATED.get(name, {}), "prob": 1}}
            augmentations = [entry] if entry else []
            rate, cost = measure(str(path), seconds, batch_size=4, resize=PLAIN, augmentations=augmentations)
            print(f"| {name or 'nothing':<50} | {rate:>8.0f} | {cost:>21.1f} |")


if __name__ == "__main__":
    main()
