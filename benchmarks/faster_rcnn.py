"""Faster R-CNN R50-FPN beside torchvision's: time, memory, start, and how well the machine is used.

    export LUMI_TORCHVISION_PYTHON=/path/to/an/environment/bin/python    # one that has torch and torchvision
    python -m benchmarks.faster_rcnn --peer torchvision [--cases inference-fp32,peak] [--rounds 7] [--json FILE]

Every contestant is a process of its own that sleeps while another is measured (benchmarks/peer.py). A round asks each
once; figures are medians of the rounds after two warm-up runs each, ratios are medians of the ratios within rounds, in
brackets the least and the greatest. Without `--peer` only this project is measured.

What makes the work equal: the same seeded picture; the same weights (torchvision writes seeded ones, converted here),
whose class logits are spread so that a few hundred (RoI, class) pairs pass the score threshold of 0.05, as in a trained
network; 1,000 proposals either way; in training the same eight objects, 2,000 proposals, 256 anchors and 512 RoIs, all
convolutions trained and batch norm frozen. torchvision starts from a float tensor that lies ready and ends at its
results on the CPU; this project starts from uint8 pixels and ends at NumPy arrays.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.comparison import HEADER, Row, Timing, agreement, markdown, ratios, spread, time_cells
from benchmarks.fpn_flops import resnet50_fpn_flops
from benchmarks.machine import describe_machine
from benchmarks.peer import ROOT, Worker, WorkerError, machine_cpu_seconds
from benchmarks.scene import NETWORK_SIZE, PICTURES

RECIPE = ROOT / "configs" / "torchvision-fasterrcnn-resnet50-fpn.yml"
PYTHON_VARIABLE = "LUMI_TORCHVISION_PYTHON"
MODULES = {"peer": "benchmarks.torchvision_worker", "project": "benchmarks.luminoth_worker"}
WARM_UP = 2
NAMES = {"float32": "fp32", "bfloat16": "bf16"}
SIZE, CAMERA = PICTURES

FP32 = Timing("peer", "inference", "float32", SIZE)
BEST = Timing("peer", "inference", "bfloat16", SIZE, "channels-last")
OWN_FP32 = Timing("project", "inference", "float32", SIZE)
OWN_BF16 = Timing("project", "inference", "bfloat16", SIZE)
TRAIN = Timing("peer", "training", "float32", "step")
OWN_TRAIN_BF16 = Timing("project", "training", "bfloat16", "step")

ROWS = [
    Row("inference-fp32", "inference, 800 x 1066, fp32", FP32, OWN_FP32, 1.4),
    Row(
        "inference-fp32",
        "inference, 480 x 640 resized to 800 x 1066, fp32",
        FP32._replace(request=CAMERA),
        OWN_FP32._replace(request=CAMERA),
    ),
    Row("inference-bf16", "inference in bf16, torchvision fp32", FP32, OWN_BF16, 2.5),
    Row("inference-bf16", "inference in bf16, torchvision bf16 autocast, channels-last", BEST, OWN_BF16, 1.15),
    Row(
        "inference-bf16",
        "inference in bf16, torchvision bf16 autocast, NCHW",
        BEST._replace(layout="nchw"),
        OWN_BF16,
    ),
    Row("training-fp32", "training step, fp32", TRAIN, OWN_TRAIN_BF16._replace(precision="float32"), 1.4),
    Row("training-bf16", "training step in bf16, torchvision fp32", TRAIN, OWN_TRAIN_BF16, 2.0),
    Row(
        "training-bf16",
        "training step in bf16, torchvision bf16 autocast",
        TRAIN._replace(precision="bfloat16"),
        OWN_TRAIN_BF16,
        1.0,
    ),
    Row(
        "roi-align",
        "RoIAlign, 1,000 RoIs on 4 levels, fp32",
        Timing("peer", "roi-align", "float32", "roi-align"),
        Timing("project", "roi-align", "float32", "roi-align"),
        8.0,
    ),
]
COLD_START = Row(
    "cold-start",
    "cold start: detector made and first picture, after the library's import, fp32",
    Timing("peer", "cold-start", "float32", "first"),
    Timing("project", "cold-start", "float32", "first"),
)
ASKED_COLD_START = 6.0  # seconds
ASKED_GB = {("inference", SIZE): 2.5, ("training", "step"): 7.0}
ASKED_SHARE = 0.7
MOST_OTHER_LOAD = 0.1  # cores; a second process makes threads wait for each other, torch's far more than TensorFlow's
CASES = [*dict.fromkeys(row.case for row in ROWS), "peak", "memory", "cold-start"]
# Resident memory and a start say little of a GPU.
CPU_ONLY = ("memory", "cold-start")


class Race:
    """The workers of one run of the benchmark, and what they have said.

    Args:
        sides: those that take part: "project", or "peer" as well.
        device: "cpu" or "gpu".
        rounds: how often each is asked.
        python: the peer's interpreter.
        folder: for weights and checkpoint.
        recipe: this project's configuration.
    """

    def __init__(
        self, sides: Sequence[str], *, device: str, rounds: int, python: str | None, folder: Path, recipe: Path
    ) -> None:
        self.sides, self.rounds = sides, rounds
        self.seconds: dict[Timing, list[float]] = {}
        self.facts: dict[str, dict[str, Any]] = {}
        self.idle_load = self.other_load = 0.0
        self._device, self._python = device, python
        self._weights, self._checkpoint, self._recipe = folder / "weights.pth", folder / "checkpoint", recipe

    def make_weights(self) -> None:
        """torchvision's weights first, so that this project can convert them."""
        for side, what in (("peer", "weights"), ("project", "checkpoint")):
            if side in self.sides:
                self.start(Timing(side, what, "float32", "")).close()

    def start(self, timing: Timing) -> Worker:
        """A fresh process that can run a timing's request."""
        say(f"starting {label(timing)}")
        job = {
            "what": timing.what,
            "precision": timing.precision,
            "layout": timing.layout,
            "device": self._device,
            "weights": str(self._weights) if "peer" in self.sides else None,
            "checkpoint": str(self._checkpoint),
            "recipe": str(self._recipe),
        }
        python = self._python if timing.side == "peer" else sys.executable
        # TensorFlow would take all of a GPU's memory and leave the peer none.
        worker = Worker(MODULES[timing.side], job, python=python, environment={"TF_FORCE_GPU_ALLOW_GROWTH": "true"})
        self.facts[label(timing)] = worker.facts
        return worker

    def time(self, timings: Sequence[Timing]) -> None:
        """Rounds over these timings, each answered by a worker that stays for all rounds."""
        timings = [timing for timing in dict.fromkeys(timings) if timing.side in self.sides]
        with ExitStack() as stack:
            workers: dict[Timing, Worker] = {}
            for timing in timings:
                key = timing._replace(request="")
                if key not in workers:
                    workers[key] = stack.enter_context(self.start(timing))
            askers = {
                timing: lambda timing=timing: workers[timing._replace(request="")].seconds(timing.request)
                for timing in timings
            }
            before = _seconds_of_others(workers.values())
            started = time.perf_counter()
            self._rounds(askers, WARM_UP)
            if before is not None:
                others = (_seconds_of_others(workers.values()) - before) / (time.perf_counter() - started)
                self.other_load = max(self.other_load, others)
            loads = [worker.idle_load for worker in workers.values()]
        self.idle_load = max([self.idle_load, *(load for load in loads if load is not None)])

    def time_starts(self, timings: Sequence[Timing]) -> None:
        """As `time`, but each timing of each round is a fresh process, which is prepared before the clock starts."""

        def started_and_asked(timing: Timing) -> float:
            with self.start(timing) as worker:
                return worker.seconds(timing.request)

        askers = {
            timing: lambda timing=timing: started_and_asked(timing) for timing in timings if timing.side in self.sides
        }
        self._rounds(askers, warm_up=1)

    def peak_memory(self, timing: Timing) -> float | None:
        """GB a fresh process ever held that prepares for a timing and runs it three times."""
        if timing.side not in self.sides:
            return None
        with self.start(timing) as worker:
            for _ in range(3):
                worker.seconds(timing.request)
            mib = worker.ask("memory")["peak_mib"]
        return None if mib is None else mib * 2**20 / 1e9

    def _rounds(self, askers: dict[Timing, Callable[[], float]], warm_up: int) -> None:
        for ask in askers.values():
            for _ in range(warm_up):
                ask()
        seconds: dict[Timing, list[float]] = {timing: [] for timing in askers}
        for number in range(self.rounds):
            for timing, ask in askers.items():
                seconds[timing].append(ask())
            say(f"round {number + 1} of {self.rounds}")
        self.seconds |= seconds  # only whole rounds count


def _seconds_of_others(workers: Iterable[Worker]) -> float | None:
    """CPU time of the whole machine without these workers'."""
    total = machine_cpu_seconds()
    return None if total is None else total - sum(worker.cpu_seconds for worker in workers)


def run_cases(race: Race, cases: Sequence[str]) -> list[str]:
    """Runs what was asked for; a part that fails does not take the others with it.

    Returns:
        What failed, and why.
    """
    parts: list[Callable[[], object]] = []
    failures: list[str] = []
    for what in ("inference", "training", "roi-align"):
        rows = [row for row in ROWS if row.case in cases and row.project.what == what]
        timings = [timing for row in rows for timing in (row.peer, row.project)]
        if what == "inference" and "peak" in cases:
            timings += [timing for precision in NAMES for timing in peak_timings(precision)]
        if timings:
            parts.append(lambda timings=timings: race.time(timings))
    if "cold-start" in cases:
        parts.append(lambda: race.time_starts([COLD_START.peer, COLD_START.project]))
    for part in parts:
        try:
            part()
        except WorkerError as error:
            failures.append(str(error))
            say(str(error))
    return failures


def peak_timings(precision: str) -> list[Timing]:
    """The machine's best convolution and matrix product, and the model beside them."""
    peak = Timing("project", "peak", precision, "convolution")
    return [OWN_FP32._replace(precision=precision), peak, peak._replace(request="matrix")]


def measure_memory(race: Race, failures: list[str]) -> dict[Timing, float | None]:
    """Peak memory of inference and training in either precision, both sides."""
    memory: dict[Timing, float | None] = {}
    for what, request in ASKED_GB:
        for precision in NAMES:
            for side in MODULES:
                timing = Timing(side, what, precision, request)
                try:
                    memory[timing] = race.peak_memory(timing)
                except WorkerError as error:
                    failures.append(str(error))
                    say(str(error))
    return memory


def peak_rows(race: Race) -> list[list[str]]:
    """GFLOP/s of the machine and of the model, and the share: the time that the model's operations would take at the
    machine's peaks, convolutions at the one and matrix products at the other, by the time it took."""
    size = tuple(-(-side // 32) * 32 for side in NETWORK_SIZE)
    flops = resnet50_fpn_flops(size)
    rows = []
    for precision, name in NAMES.items():
        model, convolution, matrix = peak_timings(precision)
        if not all(timing in race.seconds for timing in (model, convolution, matrix)):
            continue
        at_best = race.facts[label(convolution)]["flops"]
        shares, rates = [], []
        for taken, conv, product in zip(*(race.seconds[t] for t in (model, convolution, matrix)), strict=True):
            rate = (at_best["convolution"] / conv, at_best["matrix"] / product)
            rates.append((rate[0] / 1e9, rate[1] / 1e9, flops.total / taken / 1e9))
            shares.append((flops.convolution / rate[0] + flops.matrix / rate[1]) / taken)
        asked = f">= {ASKED_SHARE:g}" if precision == "float32" else ""
        rows.append([name, *(spread(rate, digits=0) for rate in zip(*rates, strict=True)), spread(shares, 2), asked])
    return rows


def memory_rows(memory: dict[Timing, float | None]) -> list[list[str]]:
    rows = []
    for (what, request), asked in ASKED_GB.items():
        for precision, name in NAMES.items():
            found = [memory.get(Timing(side, what, precision, request)) for side in MODULES]
            cells = ["" if gb is None else f"{gb:.2f}" for gb in found]
            rows.append([f"{what}, {name}", *cells, f"<= {asked:g}"])
    return rows


def report(race: Race, cases: Sequence[str], memory: dict[Timing, float | None], machine: str) -> str:
    """The Markdown for docs/benchmarks.md."""
    versions = next((facts["versions"] for facts in race.facts.values() if "versions" in facts), None)
    parts = [f"{machine}{f'; {versions}' if versions else ''}. Medians of {race.rounds} rounds (least to greatest)."]
    rows = [time_cells(row, race.seconds) for row in ROWS if row.case in cases]
    if "cold-start" in cases:
        rows.append([*time_cells(COLD_START, race.seconds)[:-1], f"<= {ASKED_COLD_START:g} s"])
    if rows:
        parts.append(markdown(HEADER, rows))
    if peaks := peak_rows(race):
        flops = resnet50_fpn_flops(tuple(-(-side // 32) * 32 for side in NETWORK_SIZE))
        header = ["GFLOP/s", "large convolution", "large matrix product", "R50-FPN inference", "share of peak", "asked"]
        parts.append(f"R50-FPN takes {flops.total / 1e9:.1f} GFLOP.\n\n{markdown(header, peaks)}")
    if memory:
        parts.append(markdown(["peak memory, GB", "torchvision", "this project", "asked"], memory_rows(memory)))
    parts.append("\n".join(notes(race)))
    return "\n\n".join(parts)


def notes(race: Race) -> list[str]:
    """What levelled the work, and what speaks against the figures."""
    lines = []
    if race.seconds:
        lines.append(
            f"Waiting contestants kept at most {race.idle_load:.2f} cores busy, everything else on the machine "
            f"{race.other_load:.2f}" + (" (too much: measure again)." if race.other_load > MOST_OTHER_LOAD else ".")
        )
    if levelled := race.facts.get(label(Timing("peer", "weights", "float32", ""))):
        lines.append(
            f"Seeded weights, the same on both sides: {levelled['proposals']} proposals, {levelled['candidates']} "
            f"(RoI, class) pairs above 0.05, {levelled['detections']} detections."
        )
    peer, own = race.facts.get(label(FP32)), race.facts.get(label(OWN_FP32))
    if peer and own:
        matched, count = agreement(_of_known_classes(peer["top"]), own["top"])
        lines.append(
            f"Of torchvision's {count} best detections (fp32; of the 20 best, those whose class id means something) "
            f"{matched} are among this project's 20 best as well."
        )
    peer, own = race.facts.get(label(TRAIN)), race.facts.get(label(OWN_TRAIN_BF16._replace(precision="float32")))
    if peer and own:
        counts = f"{peer['trained_parameters']:,} and {own['trained_parameters']:,}"
        lines.append(
            f"Trained parameters: {counts} (torchvision's include box deltas of the background); summed losses "
            f"{peer['loss']:.2f} and {own['loss']:.2f}, from other random samples."
        )
    return lines


def label(timing: Timing) -> str:
    layout = f" {timing.layout}" if timing.side == "peer" else ""
    return f"{timing.side} {timing.what} {NAMES[timing.precision]}{layout}"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _of_known_classes(top: dict[str, list]) -> dict[str, list]:
    """Without detections of class ids that stand for nothing, which this project does not show."""
    from luminoth.checkpoints.convert.coco_classes import COCO_90
    from luminoth.types import UNUSED_CLASS

    rows = zip(top["boxes"], top["labels"], strict=True)
    kept = [(box, label) for box, label in rows if COCO_90[label - 1] != UNUSED_CLASS]
    return {"boxes": [box for box, _ in kept], "labels": [label for _, label in kept]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", choices=["torchvision"], help=f"race it; its interpreter stands in {PYTHON_VARIABLE}")
    parser.add_argument("--cases", default=",".join(CASES), help="which, separated by commas; default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--json", type=Path, help="write every measured second to this file")
    arguments = parser.parse_args()
    cases = arguments.cases.split(",")
    if unknown := sorted(set(cases) - set(CASES)):
        parser.error(f"no case {', '.join(unknown)}; there are: {', '.join(CASES)}")
    python = os.environ.get(PYTHON_VARIABLE)
    if arguments.peer and not python:
        parser.error(f"--peer needs {PYTHON_VARIABLE}: the interpreter of an environment with torch and torchvision")
    if arguments.device == "gpu":
        if not gpu_is_visible():
            say("TensorFlow sees no GPU: nothing measured")
            return
        if left_out := [case for case in cases if case in CPU_ONLY]:
            say(f"not measured on a GPU: {', '.join(left_out)}")
        cases = [case for case in cases if case not in CPU_ONLY]

    machine = describe_machine()
    with tempfile.TemporaryDirectory() as folder:
        race = Race(
            ("peer", "project") if arguments.peer else ("project",),
            device=arguments.device,
            rounds=arguments.rounds,
            python=python,
            folder=Path(folder),
            recipe=RECIPE,
        )
        try:
            race.make_weights()
        except WorkerError as error:
            sys.exit(str(error))
        failures = run_cases(race, cases)
        memory = measure_memory(race, failures) if "memory" in cases else {}
    print(report(race, cases, memory, machine))
    if arguments.json:
        arguments.json.write_text(json.dumps(everything(race, memory, machine, failures), indent=2) + "\n")
    if failures:
        sys.exit(f"{len(failures)} part(s) could not be measured: see above")


def everything(race: Race, memory: dict[Timing, float | None], machine: str, failures: list[str]) -> dict[str, Any]:
    """What `--json` keeps."""
    return {
        "machine": machine,
        "rounds": race.rounds,
        "seconds": {f"{label(timing)} {timing.request}": values for timing, values in race.seconds.items()},
        "ratios": {
            row.what: statistics.median(ratios(race.seconds[row.peer], race.seconds[row.project]))
            for row in [*ROWS, COLD_START]
            if row.peer in race.seconds and row.project in race.seconds
        },
        "peak_memory_gb": {label(timing): gb for timing, gb in memory.items()},
        "idle_load": race.idle_load,
        "other_load": race.other_load,
        "facts": race.facts,
        "failures": failures,
    }


def gpu_is_visible() -> bool:
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


if __name__ == "__main__":
    main()
