"""Memory and speed on a CSV of Open Images with 1,000,000 boxes.

    python -m benchmarks.openimages_memory [--boxes 1000000] [--workers 2] [--walk-only] [--folder DIR]

Writes the annotations of about 120,000 pictures; the pictures themselves are a few 640 x 480 JPEGs under many names
(hard links). Walks through them with the reader, then runs `transform`, and says the largest memory (resident set) that
the process and each of its workers had at any time. Needs no data set and no network; the records take 55 kB a picture,
7 GB in all, and are deleted at the end. Linux only: it reads /proc.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks.pictures import make_example
from luminoth.data.readers import open_reader
from luminoth.data.readers.base import AnnotatedImage
from luminoth.image import encode_jpeg, read_image

JPEGS = 12
BOXES_A_PICTURE = 8.4  # as in Open Images' training pictures
CLASSES = 600
POSITIVE_SHARE = 0.98  # of the pictures; the others are negatives, or without their boxes


def write_set(folder: Path, boxes: int) -> int:
    """Writes a set of about so many boxes; returns how many pictures it has."""
    rng = np.random.default_rng(0)
    split = folder / "train"
    split.mkdir(parents=True)
    names = [f"/m/{number:05x},Class {number}\n" for number in range(CLASSES)]
    (folder / "class-descriptions-boxable.csv").write_text("".join(names))
    originals = []
    for number in range(JPEGS):
        originals.append(folder / f"{number}.jpg")
        originals[-1].write_bytes(make_jpeg(number))
    pictures = round(boxes / BOXES_A_PICTURE / POSITIVE_SHARE)
    with (
        (split / "train-annotations-bbox.csv").open("w") as bbox,
        (split / "train-annotations-human-imagelabels-boxable.csv").open("w") as labels,
    ):
        bbox.write(
            "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,"
            "IsInside\n"
        )
        labels.write("ImageID,Source,LabelName,Confidence\n")
        for number in range(pictures):
            image_id = f"{number * 0x9E3779B97F:016x}"
            os.link(originals[number % JPEGS], split / f"{image_id}.jpg")
            is_positive = rng.random() < POSITIVE_SHARE
            label = f"/m/{rng.integers(CLASSES):05x}"
            labels.write(f"{image_id},verification,{label},{int(is_positive or rng.random() < 0.5)}\n")
            if is_positive:
                bbox.write(box_lines(image_id, label, 1 + rng.poisson(BOXES_A_PICTURE - 1), rng))
    return pictures


def box_lines(image_id: str, label: str, count: int, rng: np.random.Generator) -> str:
    corner, size = rng.uniform(0, 0.5, (count, 2)), rng.uniform(0.05, 0.5, (count, 2))
    sides = np.stack([corner[:, 0], corner[:, 0] + size[:, 0], corner[:, 1], corner[:, 1] + size[:, 1]], axis=1)
    is_group = rng.random(count) < 0.05
    return "".join(
        f"{image_id},xclick,{label},1,{x_min:.6f},{x_max:.6f},{y_min:.6f},{y_max:.6f},0,0,{group:d},0,0\n"
        for (x_min, x_max, y_min, y_max), group in zip(sides.tolist(), is_group.tolist(), strict=True)
    )


def make_jpeg(number: int) -> bytes:
    """Compressed more than photographs are, for the records hold 120,000 of them."""
    return encode_jpeg(read_image(make_example(number).encoded), quality=50)


# --- Measuring ------------------------------------------------------------


class PeakMemory:
    """The largest resident set of a process and of each process below it, in MB, looked at a few times a second.

    Attributes:
        parent: of the process that was named.
        below: process id -> of a process below it.
    """

    def __init__(self, process: int) -> None:
        self._process, self.parent, self.below = process, 0.0, {}

    def look(self) -> None:
        self.parent = max(self.parent, peak_resident(self._process))
        for child in descendants(self._process):
            self.below[child] = max(self.below.get(child, 0.0), peak_resident(child))


def peak_resident(process: int) -> float:
    """The system's own high-water mark, so that nothing is missed between two looks."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else 0.0


def descendants(process: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            children = [int(child) for child in task.read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
        for child in children:
            found += [child, *descendants(child)]
    return found


@contextmanager
def watched(process: int):
    memory, done = PeakMemory(process), threading.Event()

    def look() -> None:
        while not done.wait(0.2):
            memory.look()

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield memory
    finally:
        done.set()
        thread.join()


def walk(folder: Path) -> None:
    reader = open_reader("openimages", folder)
    pictures, boxes, started = 0, 0, time.perf_counter()
    for item in reader.images("train"):
        if isinstance(item, AnnotatedImage):
            pictures += 1
            boxes += len(item.boxes)
    seconds = time.perf_counter() - started
    print(
        f"walk: {boxes:,} boxes, {pictures:,} pictures in {seconds:.1f} s, {boxes / seconds:,.0f} lines/s, "
        f"peak {peak_resident(os.getpid()):.0f} MB",
        flush=True,
    )


def transform(folder: Path, output: Path, workers: int, limit: int | None) -> None:
    from luminoth.data.transform.run import Filters
    from luminoth.data.transform.run import transform as run_transform

    started = time.perf_counter()
    reader = open_reader("openimages", folder, {"download": "false"})
    report = run_transform(reader, output, ["train"], filters=Filters(limit_examples=limit), workers=workers)
    seconds = time.perf_counter() - started
    (split,) = report.splits
    print(
        f"transform: {split.images_written:,} records, {split.boxes_written:,} boxes in {seconds:.0f} s, "
        f"{split.images_written / seconds:,.0f} pictures/s",
        flush=True,
    )


def in_a_process(step: str, folder: Path, options: argparse.Namespace) -> None:
    """Runs a step where nothing else has used memory, and prints what it and its workers used."""
    command = [sys.executable, "-m", "benchmarks.openimages_memory", "--folder", str(folder), "--step", step]
    command += ["--workers", str(options.workers)]
    command += ["--limit", str(options.limit)] if options.limit else []
    with subprocess.Popen(command) as process, watched(process.pid) as memory:
        process.wait()
    if process.returncode:
        sys.exit(process.returncode)
    if step == "transform":
        workers = ", ".join(f"{peak:.0f}" for peak in sorted(memory.below.values(), reverse=True))
        print(f"peak memory in MB: parent {memory.parent:.0f}; processes below it {workers or 'none'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--boxes", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--limit", type=int, help="most records; all when left out")
    parser.add_argument("--walk-only", action="store_true", help="do not transform")
    parser.add_argument("--folder", type=Path, help="where the set is written (or is already); deleted if left out")
    parser.add_argument("--step", choices=("walk", "transform"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step == "walk":
        walk(options.folder)
    elif options.step == "transform":
        with tempfile.TemporaryDirectory(dir=options.folder) as output:
            transform(options.folder, Path(output) / "tf", options.workers, options.limit)
    else:
        with tempfile.TemporaryDirectory() as temporary:
            folder = (options.folder or Path(temporary)) / "openimages"
            if not folder.exists():
                started = time.perf_counter()
                pictures = write_set(folder, options.boxes)
                print(f"{pictures:,} pictures written in {time.perf_counter() - started:.0f} s", flush=True)
            in_a_process("walk", folder, options)
            if not options.walk_only:
                in_a_process("transform", folder, options)


if __name__ == "__main__":
    main()
