"""`lumi dataset transform` beside bare decodes of the same files.

    python -m benchmarks.dataset_transform [--pictures 2000] [--workers 2] [--rounds 5]

Makes 640 x 480 JPEGs with a CSV, and times in turn, each as a program of its own: full decodes to RGB
by Pillow, and the transform, each in as many processes. Needs no data set and no network.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.machine import in_turn, median_ratio
from benchmarks.pictures import make_example
from luminoth.data.parallel import map_chunks

_LUMI = Path(sys.executable).with_name("lumi")
DISTINCT = 200  # pictures; the others are copies of these


def write_set(folder: Path, pictures: int) -> None:
    """A data set in the layout `csv`, with 8 boxes a picture."""
    (folder / "train").mkdir(parents=True)
    examples = [make_example(number) for number in range(min(DISTINCT, pictures))]
    lines = ["image_id,xmin,ymin,xmax,ymax,label"]
    for number in range(pictures):
        example = examples[number % len(examples)]
        (folder / "train" / f"{number:06d}.jpg").write_bytes(example.encoded)
        lines += [f"{number:06d}.jpg,{','.join(f'{side:.2f}' for side in box)},thing" for box in example.boxes]
    (folder / "train.csv").write_text("\n".join(lines))


def decode(paths: Sequence[Path]) -> list[tuple[int, int]]:
    """Full decodes to RGB; their sizes."""
    from PIL import Image

    sizes = []
    for path in paths:
        with Image.open(path) as image:
            sizes.append(image.convert("RGB").size)
    return sizes


def run_bare(folder: Path, workers: int) -> None:
    """All decodes, in processes, as the program that is timed does them."""
    paths = sorted((folder / "train").iterdir())
    assert len(list(map_chunks(decode, paths, workers=workers))) == len(paths)


def run(*arguments: object) -> None:
    subprocess.run([sys.executable, *map(str, arguments)], check=True, capture_output=True)


def transform(folder: Path, workers: int) -> None:
    output = folder.with_name("tf")
    shutil.rmtree(output, ignore_errors=True)
    command = [_LUMI, "dataset", "transform", "--data-dir", folder, "--output", output, "--workers", str(workers)]
    subprocess.run(command, check=True, capture_output=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bare", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.bare:
        run_bare(given.bare, given.workers)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "set"
        write_set(folder, given.pictures)
        size = sum(path.stat().st_size for path in (folder / "train").iterdir())
        kilobytes = size / given.pictures / 1000
        print(f"{given.pictures} JPEGs of 640 x 480, {kilobytes:.0f} kB each, {given.workers} processes")
        seconds = in_turn(
            {
                "bare decodes": partial(
                    run, "-m", "benchmarks.dataset_transform", "--bare", folder, "--workers", given.workers
                ),
                "transform": partial(transform, folder, given.workers),
            },
            given.rounds,
            warm_up=1,
        )
        for name, times in seconds.items():
            median = statistics.median(times)
            rate = given.pictures / median
            print(f"{name:<13} {median:6.2f} s ({min(times):.2f} to {max(times):.2f}), {rate:.0f} images/s")
        print(f"transform / bare decodes: {median_ratio(seconds['transform'], seconds['bare decodes']):.2f}")
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        print(f"largest process: {peak:.0f} MB")


if __name__ == "__main__":
    main()
