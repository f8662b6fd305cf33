"""This project's and torchvision's Faster R-CNN R50-FPN on toytown: same pictures, schedule and initial weights.

    python -m benchmarks.toytown_accuracy --folder /tmp/accuracy --torchvision-python ENV/bin/python

Both start from one file of weights a seed: a ResNet-50 that has learned to tell cut-out toytown objects apart (of
pictures of its own: no ImageNet weights are needed), with fresh pyramid, RPN and heads. Then the same number of steps
with the same size of batches, rates, flips and frozen layers; what is found on the validation pictures is measured by
`lumi eval` for both. Order of the pictures, flips and samples are each library's own draw from the seed: more seeds
tell more.

A run that has ended keeps its result in the folder, and the same command goes on with what is missing. An hour or two
on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.comparison import markdown

_CLASSES = 6
_JOB = {
    "classes": _CLASSES,
    "min_size": 160,
    "anchor_sizes": [12, 24, 48, 96, 192],
    "proposals": 300,
    "rois": 64,
    "batch": 4,
    "rate": 0.005,
    "clip": 10.0,
    "warmup": 40,
    "warmup_factor": 0.1,
    "weight_decay": 1e-4,
}
_PUBLISHED = "torchvision-fasterrcnn-resnet50-fpn.yml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="Where data, weights and results go.")
    parser.add_argument("--torchvision-python", default=os.environ.get("LUMI_TORCHVISION_PYTHON"), required=False)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=200)
    arguments = parser.parse_args()
    if not arguments.torchvision_python:
        parser.error("name an interpreter with torch and torchvision: --torchvision-python")
    comparison = _Comparison(arguments.folder, arguments.torchvision_python, arguments.steps)
    comparison.prepare()
    rows = []
    for seed in arguments.seeds:
        peer, own = comparison.torchvision(seed), comparison.project(seed)
        rows.append([str(seed), *(f"{100 * each[name]:.1f}" for name in ("AP50", "AP") for each in (peer, own))])
        print(markdown(["seed", "torchvision AP50", "this project AP50", "torchvision AP", "this project AP"], rows))
    means = [statistics.mean(float(row[column]) for row in rows) for column in range(1, 5)]
    print(f"| mean | {' | '.join(f'{mean:.1f}' for mean in means)} |")


class _Comparison:
    """The steps of the comparison; each leaves a file that tells it was done."""

    def __init__(self, folder: Path, python: str, steps: int) -> None:
        self._folder, self._python, self._steps = folder.resolve(), python, steps
        self._folder.mkdir(parents=True, exist_ok=True)
        self._job = {**_JOB, "steps": steps, "drop": steps * 4 // 5, "data": str(self._folder / "toy")}

    def prepare(self) -> None:
        """Makes the data sets, the records and the backbone."""
        sizes = ["--format", "coco", "--width", "336", "--height", "224"]
        for name, more in (("toy", ["--images", "1000", "--seed", "7", "--val-fraction", "0.3"]), ("crops", _CROPS)):
            if not (self._folder / name).exists():
                self._lumi("dataset", "toytown", "--output-dir", self._folder / name, *sizes, *more)
        if not self._records.exists():
            data = self._folder / "toy"
            self._lumi("dataset", "transform", "--type", "coco", "--data-dir", data, "--output-dir", self._records)
        backbone = self._folder / "backbone.pth"
        if not backbone.exists():
            self._torch(stage="pretrain", data=str(self._folder / "crops"), steps=250, out=str(backbone))

    def torchvision(self, seed: int) -> dict[str, float]:
        """torchvision's metrics."""
        results = self._folder / f"torchvision-{seed}-{self._steps}.json"
        if not results.exists():
            self._torch(stage="train", seed=seed, init=str(self._init(seed)), out=str(results))
        return self._evaluate("--from-detections", results)

    def project(self, seed: int) -> dict[str, float]:
        """This project's metrics."""
        run = self._folder / f"luminoth-{seed}-{self._steps}"
        config = self._folder / f"luminoth-{seed}-{self._steps}.json"  # JSON is YAML
        config.write_text(json.dumps(self._configuration(seed, run.name), indent=1))
        start = self._folder / f"start-{seed}"
        if not start.exists():
            _convert(self._init(seed), start, [_published(), config], self._records)
        self._lumi("train", "-c", _published(), "-c", config)
        return self._evaluate("-c", _published(), "-c", config)

    @property
    def _records(self) -> Path:
        return self._folder / "toy-tf"

    def _init(self, seed: int) -> Path:
        weights = self._folder / f"init-{seed}.pth"
        if not weights.exists():
            self._torch(stage="init", seed=seed, backbone=str(self._folder / "backbone.pth"), out=str(weights))
        return weights

    def _configuration(self, seed: int, name: str) -> dict:
        job = self._job
        rates = [job["rate"], job["rate"] / 10]
        counts = {f"{when}{nms}_nms_top_n": job["proposals"] for when in ("", "test_") for nms in ("pre", "post")}
        return {
            "train": {
                "job_dir": str(self._folder), "run_name": name, "seed": seed,
                "from_checkpoint": str(self._folder / f"start-{seed}"),
                "batch_size": job["batch"], "max_steps": self._steps, "num_epochs": 1000,
                "learning_rate": {
                    "decay_method": "piecewise_constant", "boundaries": [job["drop"]], "values": rates,
                },
                "warmup_steps": job["warmup"], "warmup_factor": job["warmup_factor"],
                "clip_by_global_norm": job["clip"], "image_vis": None,
            },
            "dataset": {
                "dir": str(self._records),
                "image_preprocessing": {"min_size": job["min_size"], "max_size": 2 * job["min_size"]},
            },
            "model": {
                "network": {"num_classes": job["classes"]},
                "base_network": {"norm_epsilon": 1e-5},
                "anchors": {"sizes": [[size] for size in job["anchor_sizes"]]},
                "rpn": {"proposals": counts},
                "rcnn": {"target": {"minibatch_size": job["rois"]}},
            },
        }  # fmt: skip

    def _evaluate(self, *what: str | Path) -> dict[str, float]:
        said = self._lumi("eval", *what, "-o", f"dataset.dir={self._records}", "--json")
        return json.loads(said)["metrics"]

    def _torch(self, **job) -> None:
        script = Path(__file__).with_name("torchvision_training.py")
        subprocess.run([self._python, script, json.dumps({**self._job, **job})], check=True)

    def _lumi(self, *arguments: str | Path) -> str:
        command = [Path(sys.executable).with_name("lumi"), *map(str, arguments)]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


_CROPS = ["--images", "600", "--seed", "99", "--val-fraction", "0.05"]


def _published() -> Path:
    return Path(__file__).resolve().parent.parent / "configs" / _PUBLISHED


def _convert(weights: Path, destination: Path, configs: list[Path], records: Path) -> None:
    """A checkpoint of ours with the very weights that torchvision starts from."""
    from luminoth.checkpoints.convert.converter import convert_state, read_weights
    from luminoth.checkpoints.publish import publish_model
    from luminoth.config import load_config
    from luminoth.data.record_files import read_classes
    from luminoth.models.base import named_weights
    from luminoth.models.build import build_model

    config = load_config(configs)
    classes = read_classes(records)
    built = build_model(config, len(classes), initialise=False)
    variables = named_weights(built)
    shapes = {path: tuple(variable.shape) for path, variable in variables.items()}
    for path, array in convert_state(read_weights(weights), shapes, "torchvision").items():
        variables[path].assign(array)
    metadata = {"id": "0" * 12, "name": "start", "source": "benchmarks/toytown_accuracy.py"}
    publish_model(built, config, classes, metadata, destination)


if __name__ == "__main__":
    main()
