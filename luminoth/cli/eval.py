"""`lumi eval`: how good a checkpoint is, as a table on standard output, as JSON and in TensorBoard."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from luminoth.cli.tables import table
from luminoth.cli.tensorflow_start import load_tensorflow
from luminoth.cli.terminal import progress, say

if TYPE_CHECKING:
    from luminoth.evaluation.checkpoint import Split
    from luminoth.evaluation.evaluate import EvaluationResult
    from luminoth.resize import ResizeRule

_SECONDS_BETWEEN_LOOKS = 5.0
_LAST = "last"
_DEFAULT_BATCH_SIZE = 4


@click.command("eval")
@click.option(
    "-c", "--config", "files", metavar="FILE", multiple=True,
    help="Configuration file of the run; may be given several times, later ones win.",
)  # fmt: skip
@click.option(
    "-o", "--override", "overrides", metavar="KEY=VALUE", multiple=True,
    help="Sets one key, as in -o dataset.dir=tf/.",
)  # fmt: skip
@click.option("--job-dir", metavar="DIR", help="Folder for all runs; the same as -o train.job_dir=DIR.")
@click.option("--run-name", metavar="NAME", help="The run's folder in it; the same as -o train.run_name=NAME.")
@click.option(
    "--checkpoint", metavar="FOLDER|ID|last", default=_LAST, show_default=True,
    help="What to evaluate: the folder of a checkpoint or of a run, an id or alias, or the newest one of the "
    "configured run.",
)  # fmt: skip
@click.option("--split", default="val", show_default=True, help="Which records: <split>.tfrecords.")
@click.option(
    "--watch/--no-watch", show_default=True,
    help="Evaluate all checkpoints of the run in order, and go on as new ones come.",
)  # fmt: skip
@click.option(
    "--from-global-step", "from_step", metavar="N", type=click.IntRange(0), default=0,
    help="Leave out checkpoints before this step.",
)  # fmt: skip
@click.option(
    "--batch-size", type=click.IntRange(1), default=_DEFAULT_BATCH_SIZE, show_default=True,
    help="Images at once; the metrics do not depend on it.",
)  # fmt: skip
@click.option(
    "--max-detections", type=click.IntRange(1), default=100, show_default=True,
    help="How many detections of an image and class count, best first.",
)  # fmt: skip
def eval(
    files: tuple[str, ...],
    overrides: tuple[str, ...],
    job_dir: str | None,
    run_name: str | None,
    checkpoint: str,
    split: str,
    watch: bool,
    from_step: int,
    batch_size: int,
    max_detections: int,
) -> None:
    """Measure checkpoints on a split of the data set.

    Prints COCO's metrics, the AP of each class and the losses; keeps them as eval/<split>-<step>.json in the run's
    folder and as TensorBoard curves beside those of the training.

    \b
    Examples:
      lumi eval -c config.yml
      lumi eval -c config.yml --split test --checkpoint jobs/my-run/ckpt-9000
      lumi eval -c config.yml --watch --from-global-step 5000
      lumi eval --checkpoint toytown -o dataset.dir=tf/
    """
    if watch and checkpoint != _LAST:
        raise click.UsageError("--watch looks for new checkpoints of a run: it does not go with --checkpoint")
    if not files and checkpoint == _LAST:
        raise click.UsageError("state the run with -c FILE, or a checkpoint with --checkpoint")
    from luminoth.checkpoints.store import find_checkpoint, run_folder

    named = None if checkpoint == _LAST else find_checkpoint(checkpoint)  # a wrong name shows at once
    load_tensorflow()
    from luminoth.evaluation.checkpoint import open_split

    stated = {"train.job_dir": job_dir, "train.run_name": run_name}
    # JSON's quotes keep YAML from taking a name such as `on` for something else.
    extra = [f"{key}={json.dumps(value)}" for key, value in stated.items() if value is not None]
    config, resize = _read_config(files or [named / "config.yml"], [*overrides, *extra])
    job = _Job(open_split(config.dataset.dir, split), run_folder(config), resize, batch_size, max_detections)
    if watch:
        job.watch(from_step)
    else:
        job.evaluate(named or job.newest_checkpoint(from_step, files))


def _read_config(files: Sequence[Any], overrides: Sequence[str]) -> tuple[Any, ResizeRule | None]:
    """The configuration, and how to resize if that is stated in it (else pictures are resized as in training)."""
    from luminoth.config import resolve_config

    resolved = resolve_config(files, overrides)
    for warning in resolved.warnings:
        say(f"Warning: {warning}")
    for key, source in resolved.sources.items():
        if source == "-o" and key.startswith("model."):
            say(f"Warning: -o {key} has no effect: a checkpoint keeps the model that it was trained as")
    section = "dataset.image_preprocessing."
    if all(source == "default" for key, source in resolved.sources.items() if key.startswith(section)):
        return resolved.config, None
    from luminoth.resize import ResizeRule

    return resolved.config, ResizeRule(**resolved.config.dataset.image_preprocessing.model_dump())


class _Job:
    """What is evaluated, and how; for one checkpoint or one after the other."""

    def __init__(
        self, split: Split, run_folder: Path, resize: ResizeRule | None, batch_size: int, max_detections: int
    ) -> None:
        self._split, self._run_folder, self._resize = split, run_folder, resize
        self._batch_size, self._max_detections = batch_size, max_detections

    def newest_checkpoint(self, from_step: int, files: Sequence[str]) -> Path:
        """The run's newest checkpoint, if it is not before `from_step`."""
        from luminoth.checkpoints.store import list_checkpoints
        from luminoth.errors import CheckpointError

        checkpoints = list_checkpoints(self._run_folder)
        if not checkpoints:
            command = " ".join(["lumi train", *(f"-c {file}" for file in files)])
            raise CheckpointError(
                f"{self._run_folder}: no checkpoint in there (looked for ckpt-<step>); train one with `{command}`, "
                "or name one with --checkpoint"
            )
        step, folder = checkpoints[-1]
        if step < from_step:
            raise CheckpointError(
                f"{self._run_folder}: the newest checkpoint is of step {step}, before --from-global-step {from_step}"
            )
        return folder

    def watch(self, from_step: int) -> None:
        """Evaluates all checkpoints from `from_step` on, each once and in order; ends with Ctrl-C."""
        from luminoth.checkpoints.store import list_checkpoints

        done: set[int] = set()
        is_waiting = False
        while True:
            checkpoints = list_checkpoints(self._run_folder)  # each time anew: training removes old ones
            step, folder = next(((s, f) for s, f in checkpoints if s >= from_step and s not in done), (None, None))
            if folder is not None:
                self._evaluate_if_there(folder)
                done.add(step)
                is_waiting = False
                continue
            if not is_waiting:
                say(f"Waiting for a new checkpoint in {self._run_folder} (Ctrl-C ends)")
                is_waiting = True
            try:
                time.sleep(_SECONDS_BETWEEN_LOOKS)
            except KeyboardInterrupt:
                return

    def _evaluate_if_there(self, folder: Path) -> None:
        from luminoth.errors import CheckpointError

        try:
            self.evaluate(folder)
        except CheckpointError:
            if folder.exists():
                raise
            say(f"{folder}: left out, training has removed it meanwhile (see train.checkpoints_max_keep)")

    def evaluate(self, checkpoint: Path) -> None:
        """Evaluates one checkpoint, prints the table, keeps the figures."""
        from luminoth.evaluation.checkpoint import evaluate_checkpoint

        split = self._split
        say(f"Evaluating {checkpoint} on {split.name}: {split.images} images, {len(split.classes)} classes")
        with progress("Evaluating", total=split.images) as bar:
            loaded, result = evaluate_checkpoint(
                checkpoint,
                split,
                resize=self._resize,
                batch_size=self._batch_size,
                max_detections=self._max_detections,
                on_progress=bar.advance,
            )
        title = f"{checkpoint.name} (step {loaded.step}) on {split.name}"
        click.echo(f"{title}: {result.images} images, {result.metrics.objects} objects\n")
        click.echo(_tables(result))
        self._keep(checkpoint, loaded.step, result)

    def _keep(self, checkpoint: Path, step: int, result: EvaluationResult) -> None:
        from luminoth.evaluation.results import is_of_run, write_result, write_tensorboard

        # A run's checkpoint takes its figures to its own run, whichever run is configured.
        folder = checkpoint.parent if is_of_run(checkpoint) else self._run_folder
        path = write_result(folder, result, split=self._split.name, checkpoint=checkpoint, step=step)
        say(f"{result.images / result.seconds:.1f} images/s; wrote {path}")
        if is_of_run(checkpoint):  # a published one has no place on the curves of a run
            write_tensorboard(folder, result, split=self._split.name, step=step)
            say(f"Curves: tensorboard --logdir {folder}")


def _tables(result: EvaluationResult) -> str:
    metrics = result.metrics
    return "\n".join(
        [
            table(["metric", "value"], [[name, _number(value)] for name, value in metrics.figures.items()]),
            table(
                ["class", "objects", "AP", "AP50"],
                [[each.name, str(each.objects), _number(each.AP), _number(each.AP50)] for each in metrics.by_class],
            ),
            table(["loss", "value"], [[name, f"{value:.4f}"] for name, value in result.losses.items()]),
        ]
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
