"""How fast `lumi predict` is beside the bare network, and beside torchvision's documented loop.

    python -m benchmarks.prediction video [--models toytown mobilenet-320 r50-fpn-800] [--rounds 3]
    python -m benchmarks.prediction folder --torchvision-python ENV/bin/python [--images 500]

`video`: frames a second of the whole command on a toytown film of 720 x 480 pixels: decoding, network, records, drawing
and encoding. Its start and its first frames are left out: what is timed is how much longer the command takes for a
longer film. Beside it `model.detect` on a batch of four that lies in memory at the network's size, its outputs brought
to NumPy. In turn; the share is the median over the rounds.

`folder`: the same JPEG files through `lumi predict FOLDER -f objects.jsonl` and through torchvision's documented way
(read, transform, `model([picture])`, one after another), both processes whole, with Faster R-CNN MobileNetV3-large 320
and weights of chance. `draw`: 100 boxes on a frame of 1080p.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from benchmarks.machine import describe_machine
from luminoth import Detector
from luminoth.checkpoints.convert.converter import CONFIGURATIONS
from luminoth.checkpoints.publish import publish_model
from luminoth.config import load_config
from luminoth.data.toytown import draw_scene
from luminoth.image import encode_jpeg
from luminoth.inference.draw import draw_objects
from luminoth.models.build import build_model

FRAME = (480, 720)  # (height, width) of toytown's films
BATCH_SIZE = 4
# Frames of the shorter and the longer film.
FILMS = {"toytown": (50, 300), "mobilenet-320": (50, 300), "r50-fpn-800": (4, 16)}
CONFIGURED = {"mobilenet-320": "fasterrcnn_mobilenet_v3_large_320_fpn", "r50-fpn-800": "fasterrcnn_resnet50_fpn"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("video", "folder", "draw"))
    parser.add_argument("--models", nargs="+", choices=tuple(FILMS), default=list(FILMS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--torchvision-python", default=os.environ.get("LUMI_TORCHVISION_PYTHON"))
    arguments = parser.parse_args()
    print(describe_machine())
    with tempfile.TemporaryDirectory() as folder:
        match arguments.what:
            case "video":
                for model in arguments.models:
                    compare_video(Path(folder), model, arguments.rounds)
            case "folder":
                compare_folder(Path(folder), arguments.images, arguments.rounds, arguments.torchvision_python)
            case "draw":
                time_drawing()


def compare_video(folder: Path, model: str, rounds: int) -> None:
    checkpoint = make_checkpoint(folder, model)
    films = [(frames, make_film(folder, frames)) for frames in FILMS[model]]
    network = bare_network(checkpoint)
    network()
    shares, own, bare = [], [], []
    for _ in range(rounds):
        bare.append(BATCH_SIZE / statistics.median(network() for _ in range(3)))
        (few, short), (many, long) = ((frames, time_command(folder, film, checkpoint)) for frames, film in films)
        own.append((many - few) / (long - short))
        bare.append(BATCH_SIZE / statistics.median(network() for _ in range(3)))
        shares.append(own[-1] / statistics.mean(bare[-2:]))
    print(
        f"| {model} | {statistics.median(bare):.2f} | {statistics.median(own):.2f} "
        f"| {statistics.median(shares):.2f} ({min(shares):.2f} to {max(shares):.2f}) |",
        flush=True,
    )


def compare_folder(folder: Path, images: int, rounds: int, python: str | None) -> None:
    checkpoint = make_checkpoint(folder, "mobilenet-320")
    pictures = folder / "pictures"
    pictures.mkdir()
    for index in range(images):
        (pictures / f"{index:05}.jpg").write_bytes(encode_jpeg(draw_scene(30_000, index)[0]))
    for _ in range(rounds):
        own = time_process([lumi(), "predict", pictures, "--checkpoint", checkpoint, "-f", folder / "objects.jsonl"])
        peer = None
        if python:
            script = Path(__file__).with_name("torchvision_folder.py")
            peer = time_process([python, script, pictures, folder / "peer.jsonl"])
        beside = f", torchvision's loop {peer:.1f} s: {peer / own:.2f} times as long" if peer else ""
        print(f"{images} pictures: lumi predict {own:.1f} s{beside}", flush=True)


def time_drawing() -> None:
    random = np.random.default_rng(0)
    corners = random.uniform(0, 1, (100, 2)) * [1800, 980]
    boxes = np.concatenate([corners, corners + random.uniform(20, 120, (100, 2))], axis=1)
    objects = [
        {"bbox": box.tolist(), "label": f"class {index % 20}", "prob": 0.5 + index / 250}
        for index, box in enumerate(boxes)
    ]
    frame = random.integers(0, 255, (1080, 1920, 3), np.uint8)
    seconds = []
    for _ in range(30):
        started = time.perf_counter()
        draw_objects(frame, objects)
        seconds.append(time.perf_counter() - started)
    print(f"100 boxes on 1080p: {1000 * statistics.median(seconds):.1f} ms")


def make_checkpoint(folder: Path, model: str) -> str:
    """A name that `--checkpoint` takes; of weights of chance where none are in the package."""
    if model not in CONFIGURED:
        return model
    destination = folder / model
    if not destination.exists():
        config = load_config([CONFIGURATIONS / f"{CONFIGURED[model]}.yml"])
        classes = [f"class {index}" for index in range(90)]
        publish_model(build_model(config, len(classes)), config, classes, {"id": "0" * 12, "name": model}, destination)
    return str(destination)


def make_film(folder: Path, frames: int) -> Path:
    film = folder / f"film-{frames}.mp4"
    if not film.exists():
        command = [lumi(), "dataset", "toytown", "--video", film, "--seconds", frames / 25, "--fps", 25]
        subprocess.run([*map(str, command)], check=True, capture_output=True)
    return film


def bare_network(checkpoint: str):
    """A function that runs one batch of frames at the network's size, and returns the seconds it took."""
    detector = Detector(checkpoint, prob=0.5)
    resized = detector._resize(tf.constant(np.stack([draw_scene(1, 0)[0]])[0]))
    height, width = (int(side) for side in detector._resize.target_size(*FRAME))
    canvas = detector._canvas(*FRAME)
    picture = tf.image.resize(resized, (height, width))
    picture = tf.pad(picture, [[0, canvas[0] - height], [0, canvas[1] - width], [0, 0]])
    images = tf.constant(np.repeat(picture.numpy()[None], BATCH_SIZE, axis=0))
    sizes = tf.constant([[height, width]] * BATCH_SIZE)

    def run() -> float:
        started = time.perf_counter()
        for tensor in detector._network(images, sizes, tf.constant(0.5)):
            tensor.numpy()
        return time.perf_counter() - started

    return run


def time_command(folder: Path, film: Path, checkpoint: str) -> float:
    return time_process(
        [
            *(lumi(), "predict", film, "--checkpoint", checkpoint, "--batch-size", BATCH_SIZE),
            *("-d", folder / "drawn", "-f", folder / "objects.jsonl"),
        ]
    )


def time_process(command: list) -> float:
    started = time.perf_counter()
    subprocess.run([*map(str, command)], check=True, capture_output=True)
    return time.perf_counter() - started


def lumi() -> Path:
    return Path(sys.executable).with_name("lumi")


if __name__ == "__main__":
    main()
