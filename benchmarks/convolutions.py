"""What single convolutions of R50-FPN take, as TensorFlow computes them and as `avx2_convolution` does.

    python -m benchmarks.convolutions                     # GFLOP/s: forward, and the gradient of the kernel
    python -m benchmarks.convolutions --library torch     # torch's; in an environment that has it
    python -m benchmarks.convolutions --networks          # whole detectors, frozen, milliseconds a call

Run by hand on a processor with AVX2 and without AVX-512, where `luminoth/backbones/avx2_convolution.py` is used.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from benchmarks.comparison import markdown

# Batch, height, width, channels in and out; kernels are 3 x 3.
SHAPES = [(1, 152, 200, 256), (1, 76, 100, 256), (1, 152, 200, 64), (1, 19, 25, 512), (2, 152, 200, 256)]
NETWORKS = {
    "torchvision-fasterrcnn-resnet50-fpn.yml": (800, 1066),
    "toytown.yml": (240, 360),
    "torchvision-fasterrcnn-mobilenet-v3-large-320-fpn.yml": (320, 480),
}
WARM_UP = 2


def seconds(call: Callable[[], object], rounds: int) -> float:
    """The median time of a call."""
    taken = []
    for _ in range(WARM_UP + rounds):
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken[WARM_UP:])


def tensorflow_calls(shape: tuple[int, int, int, int]) -> dict[str, Callable[[], object]]:
    import tensorflow as tf

    from luminoth.backbones import avx2_convolution

    channels = shape[-1]
    inputs, upstream = tf.random.normal(shape), tf.random.normal(shape)
    kernel = tf.random.normal([3, 3, channels, channels])

    def plain(inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        return tf.nn.conv2d(inputs, kernel, 1, "SAME")

    def transposed(inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        return avx2_convolution.convolve_transposed(inputs, avx2_convolution.mirror_kernel(kernel))

    def kernel_gradient(convolve: Callable) -> Callable:
        def differentiate(inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
            with tf.GradientTape() as tape:
                tape.watch(kernel)
                outputs = convolve(inputs, kernel)
            return tape.gradient(outputs, kernel, upstream)

        return differentiate

    functions = {
        "forward": plain,
        "forward, transposed": transposed,
        "kernel's gradient": kernel_gradient(plain),
        "kernel's gradient, as matrix products": kernel_gradient(avx2_convolution.convolve),
    }
    return {name: partial(tf.function(call), inputs, kernel) for name, call in functions.items()}


def torch_calls(shape: tuple[int, int, int, int]) -> dict[str, Callable[[], object]]:
    import torch

    batch, height, width, channels = shape
    inputs, upstream = (torch.randn(batch, channels, height, width) for _ in range(2))
    kernel = torch.randn(channels, channels, 3, 3)
    settings = ([1, 1], [1, 1], [1, 1], False, [0, 0], 1, [False, True, False])
    return {
        "forward": lambda: torch.nn.functional.conv2d(inputs, kernel, padding=1),
        "kernel's gradient": lambda: torch.ops.aten.convolution_backward(upstream, inputs, kernel, None, *settings),
    }


def network_rows(rounds: int) -> Iterator[list[str]]:
    import tensorflow as tf

    from benchmarks.peer import ROOT
    from luminoth.backbones import avx2_convolution
    from luminoth.config import load_config
    from luminoth.models.build import build_model

    settings = ["model.network.num_classes=1", "model.base_network.fine_tune_from=null", "train.from_checkpoint=null"]
    suits = avx2_convolution.suits_this_machine
    for recipe, size in NETWORKS.items():
        row = [recipe]
        for ours in (False, True):
            avx2_convolution.suits_this_machine = lambda ours=ours: ours
            model = build_model(load_config([ROOT / "configs" / recipe], settings), 1)
            model.freeze()
            for batch in (1, 2):
                detect = tf.function(model.detect, autograph=False)
                images, sizes = tf.random.uniform((batch, *size, 3), 0, 255), tf.constant([size] * batch)
                row.append(f"{1e3 * seconds(partial(detect, images, sizes), rounds):,.1f}")
        yield row
    avx2_convolution.suits_this_machine = suits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--library", choices=["tensorflow", "torch"], default="tensorflow")
    parser.add_argument("--networks", action="store_true", help="whole detectors instead of single convolutions")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    if arguments.networks:
        names = [f"{whose}, batch of {batch}" for whose in ("TensorFlow's own", "ours") for batch in (1, 2)]
        print(markdown(["milliseconds a call", *names], list(network_rows(arguments.rounds))))
        return
    calls_of = tensorflow_calls if arguments.library == "tensorflow" else torch_calls
    rows, names = [], []
    for shape in SHAPES:
        batch, height, width, channels = shape
        flop = 2 * batch * height * width * 9 * channels**2
        calls = calls_of(shape)
        names = list(calls)
        speeds = (flop / seconds(call, arguments.rounds) / 1e9 for call in calls.values())
        rows.append([" x ".join(map(str, shape)), *(f"{speed:.0f}" for speed in speeds)])
    print(markdown(["GFLOP/s of [B, H, W, C]", *names], rows))


if __name__ == "__main__":
    main()
