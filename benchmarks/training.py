"""How fast training is, and how much of its time is not the model's.

    python -m benchmarks.training [--models c4,fpn] [--sizes 600,800] [--batches 1,2,4]
        [--precisions float32,bfloat16] [--rounds 7] [--device cpu] [--json FILE]
    export LUMI_TORCHVISION_PYTHON=/path/to/an/environment/bin/python    # one that has torch and torchvision
    python -m benchmarks.training --peer torchvision

For each combination a process of its own runs the bare training step on one batch that lies ready, and then `train`,
the whole loop, over record files of 480 x 640 JPEGs with flips (benchmarks/training_worker.py). Images a second are of
the median step. The share that is not the model's is what `train` itself reports: waiting for input and all else
between two updates. torchvision has R50-FPN only; it runs its bare step in turn with this project's
(benchmarks/peer.py), all layers trained on both sides.

On two cores all of it takes hours; each row is printed when it is known.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.comparison import markdown, ratios, spread
from benchmarks.faster_rcnn import NAMES, PYTHON_VARIABLE, gpu_is_visible, say
from benchmarks.machine import describe_machine
from benchmarks.peer import Worker, WorkerError
from benchmarks.pictures import make_example
from luminoth.data.record_files import write_classes
from luminoth.data.records import RecordWriter, encode_example

PICTURES = 32
WARM_UP = 2
MODELS = {"c4": "R50-C4", "fpn": "R50-FPN"}
ASKED_SHARE = 0.05
HEADER = [
    "model", "short side", "batch", "precision", "bare step, s", "images/s", "images/s of `lumi train`",
    f"not the model (asked: <= {ASKED_SHARE:.0%})", "waiting for input", "GB", "torchvision, s", "torchvision / this",
]  # fmt: skip


@dataclass(frozen=True)
class Case:
    """What is measured.

    Attributes:
        model: "c4" or "fpn".
        size: the pictures' shorter side at the network.
        batch: pictures in a step.
        precision: "float32" or "bfloat16".
    """

    model: str
    size: int
    batch: int
    precision: str


@dataclass(frozen=True)
class Measured:
    """What came of a case.

    Attributes:
        case: which.
        step: seconds of the bare step in each round.
        peer: torchvision's; empty where it took no part.
        loop: seconds from update to update of `train`, after warm-up.
        outside_model, input_wait: shares of those, 0 to 1.
        peak_mib: the most memory the process held; None where it cannot be seen.
    """

    case: Case
    step: list[float]
    peer: list[float]
    loop: list[float]
    outside_model: float
    input_wait: float
    peak_mib: float | None

    def cells(self) -> list[str]:
        """The case's row."""
        case, step = self.case, statistics.median(self.step)
        return [
            MODELS[case.model], str(case.size), str(case.batch), NAMES[case.precision],
            spread(self.step), f"{case.batch / step:.2f}", f"{case.batch / statistics.median(self.loop):.2f}",
            f"{self.outside_model:.1%}", f"{self.input_wait:.1%}",
            "" if self.peak_mib is None else f"{self.peak_mib * 2**20 / 1e9:.1f}",
            spread(self.peer), spread(ratios(self.peer, self.step), digits=2),
        ]  # fmt: skip


def write_records(folder: Path) -> None:
    """`train.tfrecords` and `classes.json`."""
    with RecordWriter(folder / "train.tfrecords") as writer:
        for number in range(PICTURES):
            writer.write(encode_example(make_example(number), ["object"]))
    write_classes(folder, ["object"])


def measure(case: Case, *, data: Path, rounds: int, device: str, python: str | None) -> Measured:
    """Runs a case; `python` is the peer's interpreter, None without it.

    Raises:
        WorkerError: a process ended.
    """
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        found = Path(folder) / "loop.json"
        job = {**asdict(case), "what": "training", "device": device, "steps": WARM_UP + rounds, "data": str(data)}
        job |= {"folder": folder, "found": str(found)}
        # TensorFlow would take all of a GPU's memory and leave the peer none.
        environment = {"TF_FORCE_GPU_ALLOW_GROWTH": "true"}
        own = stack.enter_context(Worker("benchmarks.training_worker", job, environment=environment))
        workers = [own]
        if python is not None and case.model == "fpn":
            peer_job = {**job, "what": "training-of-size", "layout": "nchw"}
            workers.append(stack.enter_context(Worker("benchmarks.torchvision_worker", peer_job, python=python)))
        seconds: list[list[float]] = [[] for _ in workers]
        for _ in range(WARM_UP):
            for worker in workers:
                worker.seconds("step")
        for _ in range(rounds):
            for worker, taken in zip(workers, seconds, strict=True):
                taken.append(worker.seconds("step"))
        own.seconds("loop")
        peak = own.ask("memory")["peak_mib"]
        loop = json.loads(found.read_text())
    peers = seconds[1] if len(seconds) == 2 else []
    return Measured(case, seconds[0], peers, loop["seconds"], loop["outside_model"], loop["input_wait"], peak)


def report(found: Sequence[Measured], machine: str, rounds: int) -> str:
    """The Markdown for docs/benchmarks.md."""
    return f"{machine}. Medians of {rounds} steps (least to greatest).\n\n" + markdown(
        HEADER, [each.cells() for each in found]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", choices=["torchvision"], help=f"race it; its interpreter stands in {PYTHON_VARIABLE}")
    parser.add_argument("--models", default="c4,fpn", help="default: %(default)s")
    parser.add_argument("--sizes", default="600,800", help="shorter sides; default: %(default)s")
    parser.add_argument("--batches", default="1,2,4", help="default: %(default)s")
    parser.add_argument("--precisions", default="float32,bfloat16", help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=7, help="steps that are timed; default: %(default)s")
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--json", type=Path, help="write every measured second to this file")
    arguments = parser.parse_args()
    models, precisions = arguments.models.split(","), arguments.precisions.split(",")
    for given, known in ((models, MODELS), (precisions, NAMES)):
        if unknown := sorted(set(given) - set(known)):
            parser.error(f"no {', '.join(unknown)}; there are: {', '.join(known)}")
    python = os.environ.get(PYTHON_VARIABLE)
    if arguments.peer and not python:
        parser.error(f"--peer needs {PYTHON_VARIABLE}: the interpreter of an environment with torch and torchvision")
    if arguments.device == "gpu" and not gpu_is_visible():
        say("TensorFlow sees no GPU: nothing measured")
        return

    sizes, batches = (list(map(int, text.split(","))) for text in (arguments.sizes, arguments.batches))
    machine, found, failures = describe_machine(), [], []
    with tempfile.TemporaryDirectory() as folder:
        write_records(Path(folder))
        for case in (Case(*each) for each in product(models, sizes, batches, precisions)):
            say(f"measuring {case}")
            try:
                found.append(
                    measure(
                        case,
                        data=Path(folder),
                        rounds=arguments.rounds,
                        device=arguments.device,
                        python=python if arguments.peer else None,
                    )
                )
            except WorkerError as error:
                failures.append(str(error))
                say(str(error))
            else:
                say(markdown([], [found[-1].cells()]).splitlines()[-1])
    print(report(found, machine, arguments.rounds))
    if arguments.json:
        everything: dict[str, Any] = {"machine": machine, "cases": [asdict(each) for each in found]}
        arguments.json.write_text(json.dumps(everything | {"failures": failures}, indent=2) + "\n")
    if failures:
        sys.exit(f"{len(failures)} case(s) could not be measured: see above")


if __name__ == "__main__":
    main()
