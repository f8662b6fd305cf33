"""`lumi eval`: how good is a checkpoint?"""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from luminoth.cli.bucket_files import check_output, input_path, output_path, show_copies
from luminoth.cli.config_options import config_files_option, overrides_option
from luminoth.cli.eval_text import describe_comparison, describe_result
from luminoth.cli.tensorflow_start import load_tensorflow
from luminoth.cli.terminal import progress, say

if TYPE_CHECKING:
    from luminoth.evaluation.checkpoint import Split
    from luminoth.evaluation.comparison import Comparison
    from luminoth.evaluation.evaluate import EvaluationResult
    from luminoth.resize import ResizeRule
    from luminoth.types import Detections

_SECONDS_BETWEEN_LOOKS = 5.0
_LAST, _BEST = "last", "best"
_DEFAULT_BATCH_SIZE = 4
_MOST_TENSORBOARD_PICTURES = 20


@click.command("eval")
@config_files_option("Configuration file of the run")
@overrides_option("dataset.dir=tf/")
@click.option("--job-dir", metavar="DIR", help="Folder for all runs; the same as -o train.job_dir=DIR.")
@click.option("--run-name", metavar="NAME", help="The run's folder in it; the same as -o train.run_name=NAME.")
@click.option(
    "--checkpoint", metavar="ID|FOLDER|best|last", default=_LAST, show_default=True,
    help="What to evaluate: an id or alias, the folder of a checkpoint or of a run, or of the configured run the "
    "newest one or the best one in earlier evaluations (train.best_metric, by default AP).",
)  # fmt: skip
@click.option("--split", default="val", show_default=True, help="Which records: <split>.tfrecords.")
@click.option(
    "--watch/--no-watch", show_default=True,
    help="Evaluate all checkpoints of the run in order, and go on as new ones come.",
)  # fmt: skip
@click.option("--again", is_flag=True, help="With --watch: also those that were evaluated on this split before.")
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
@click.option(
    "--files-per-class", metavar="N", type=click.IntRange(0), default=10, show_default=True,
    help="How many of the worst images to show, over all and of each class, in the report and in TensorBoard.",
)  # fmt: skip
@click.option("--report", metavar="FILE", help="Write all that was found as one HTML page.")
@click.option("--detections", "detections_file", metavar="FILE", help="Write the detections in COCO's result form.")
@click.option(
    "--from-detections", "from_detections", metavar="FILE",
    help="Evaluate the detections of this file, in COCO's result form and of whatever program; runs no model.",
)  # fmt: skip
@click.option(
    "--compare", metavar="FILE",
    help="Tell whether it is better than an earlier evaluation: its eval/<split>-<step>.json, or a file of detections.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the figures as a line of JSON instead of tables.")
def eval(
    files: tuple[str, ...],
    overrides: tuple[str, ...],
    job_dir: str | None,
    run_name: str | None,
    checkpoint: str,
    split: str,
    watch: bool,
    again: bool,
    from_step: int,
    batch_size: int,
    max_detections: int,
    files_per_class: int,
    report: str | None,
    detections_file: str | None,
    from_detections: str | None,
    compare: str | None,
    as_json: bool,
) -> None:
    """Measure checkpoints on a split of the data set.

    Prints COCO's metrics with their uncertainty, the figures and the best score threshold of each class, what kinds of
    errors cost how much, and the losses. Keeps them as eval/<split>-<step>.json in the run's folder and as TensorBoard
    curves beside those of the training.

    \b
    Examples:
      lumi eval -c config.yml --report report.html
      lumi eval -c config.yml --checkpoint best --split test
      lumi eval -c config.yml --watch --from-global-step 5000
      lumi eval -c config.yml --compare jobs/my-run/eval/val-9000.json
      lumi eval --checkpoint toytown -o dataset.dir=tf/
      lumi eval --from-detections theirs.json -o dataset.dir=tf/
      lumi eval -c gs://my-bucket/jobs/street/config.yml --report gs://my-bucket/street.html
    """
    _check_usage(
        files, checkpoint, from_detections,
        {"--report": report, "--detections": detections_file, "--compare": compare, "--checkpoint": checkpoint != _LAST,
         "--from-detections": from_detections} if watch else {},
    )  # fmt: skip
    if again and not watch:
        raise click.UsageError("--again goes with --watch: without it the checkpoint is evaluated in any case")
    show_copies()
    for option, place in (("--report", report), ("--detections", detections_file)):
        check_output(option, place)
    from luminoth.checkpoints.store import find_checkpoint

    # A wrong name shows at once.
    named = None if from_detections or checkpoint in (_LAST, _BEST) else find_checkpoint(checkpoint)
    load_tensorflow()
    from luminoth.evaluation.checkpoint import open_split

    stated = {"train.job_dir": job_dir, "train.run_name": run_name}
    # JSON's quotes keep YAML from taking a name such as `on` for something else.
    extra = [f"{key}={json.dumps(value)}" for key, value in stated.items() if value is not None]
    config, resize = _read_config(files or ([named / "config.yml"] if named else []), [*overrides, *extra])
    wanted = _Wanted(
        max_detections, files_per_class, report, detections_file, compare, as_json, bool(config.eval.image_vis)
    )
    job = _Job(open_split(config.dataset.dir, split), config, resize, batch_size, wanted)
    if from_detections:
        with input_path(from_detections) as path:
            job.evaluate_file(path, from_detections)
    elif watch:
        job.watch(from_step, again)
    elif checkpoint == _BEST:
        job.evaluate(job.best_checkpoint(from_step))
    else:
        job.evaluate(named or job.newest_checkpoint(from_step, files))


def _check_usage(
    files: Sequence[str], checkpoint: str, from_detections: str | None, beside_watch: dict[str, Any]
) -> None:
    for option, value in beside_watch.items():
        if value:
            raise click.UsageError(f"--watch evaluates one checkpoint of a run after the other: {option} is for one")
    if from_detections:
        if checkpoint != _LAST:
            raise click.UsageError("--from-detections runs no model: it does not go with --checkpoint")
    elif not files and checkpoint in (_LAST, _BEST):
        raise click.UsageError("state the run with -c FILE, or a checkpoint with --checkpoint")


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


@dataclass(frozen=True)
class _Wanted:
    """What is to be told of an evaluation, and where; the options of the same names."""

    max_detections: int
    files_per_class: int
    report: str | None
    detections_file: str | None
    compare: str | None
    as_json: bool
    tensorboard_pictures: bool


@dataclass(frozen=True)
class _Earlier:
    """What is compared with."""

    name: str
    detections: list[Detections]
    comparison: Comparison


class _Job:
    """What is evaluated, and how; for one checkpoint or one after the other."""

    def __init__(self, split: Split, config: Any, resize: ResizeRule | None, batch_size: int, wanted: _Wanted) -> None:
        self._split, self._config, self._resize = split, config, resize
        self._batch_size, self._wanted = batch_size, wanted

    @cached_property
    def _run_folder(self) -> Path:
        """Of the configured run; of one in a bucket a copy, which takes its time: not everybody asks for it."""
        from luminoth.checkpoints.runs import run_folder

        return run_folder(self._config)

    def newest_checkpoint(self, from_step: int, files: Sequence[str]) -> Path:
        """The run's newest checkpoint, if it is not before `from_step`."""
        from luminoth.checkpoints.runs import list_checkpoints
        from luminoth.errors import CheckpointError

        checkpoints = list_checkpoints(self._run_folder)
        if not checkpoints:
            command = " ".join(["lumi train", *(f"-c {file}" for file in files)])
            raise CheckpointError(
                f"{self._run_folder}: no checkpoint in there (looked for ckpt-<step>); train one with "
                f"`{command}`, or name one with --checkpoint"
            )
        step, folder = checkpoints[-1]
        _check_step(self._run_folder, "newest", step, from_step)
        return folder

    def best_checkpoint(self, from_step: int) -> Path:
        """The run's best checkpoint by earlier evaluations, as its configuration judges, or else on this split."""
        from luminoth.checkpoints.history import best_checkpoint, judged_by
        from luminoth.errors import CheckpointError

        # Chosen on `val` unless configured: on the pictures it is then tested on, it would look better than it is.
        judge, metric = judged_by(self._run_folder)
        try:
            best = best_checkpoint(self._run_folder, judge, metric)
        except CheckpointError:
            judge = self._split.name
            best = best_checkpoint(self._run_folder, judge, metric)
        _check_step(self._run_folder, "best", best.step, from_step)
        say(f"The best of {best.evaluated} evaluated on {judge}: {best.folder}, {metric} {best.value:.4f}")
        if best.better_but_gone:
            steps = ", ".join(map(str, best.better_but_gone))
            say(f"Warning: better ones are not kept any more: step {steps} (see train.checkpoints_max_keep)")
        return best.folder

    def watch(self, from_step: int, again: bool) -> None:
        """Evaluates all checkpoints from `from_step` on, each once and in order; ends with Ctrl-C.

        Those that an earlier watch has evaluated are left out, unless `again`.
        """
        from luminoth.checkpoints.history import is_evaluated
        from luminoth.checkpoints.runs import list_checkpoints

        done: set[int] = set()
        is_waiting = False
        while True:
            checkpoints = list_checkpoints(self._run_folder)  # each time anew: training removes old ones
            step, folder = next(((s, f) for s, f in checkpoints if s >= from_step and s not in done), (None, None))
            if folder is not None:
                if not again and is_evaluated(folder, self._split.name):
                    say(f"{folder}: evaluated on {self._split.name} before, left out (--again evaluates it once more)")
                else:
                    self._evaluate_if_there(folder)
                done.add(step)
                is_waiting = False
                continue
            if not is_waiting:
                say(f"Waiting for a new checkpoint in {self._run_folder} (Ctrl-C ends)")
                is_waiting = True
            try:
                time.sleep(_SECONDS_BETWEEN_LOOKS)
                self._refresh()
            except KeyboardInterrupt:
                return

    def _refresh(self) -> None:
        """Brings what is new of a run in a bucket; a network that is away for a while does not end the watch."""
        from luminoth.checkpoints.in_bucket import refresh
        from luminoth.errors import CheckpointError

        try:
            refresh(self._run_folder)
        except CheckpointError as error:
            say(f"Warning: {error}; trying again")

    def _evaluate_if_there(self, folder: Path) -> None:
        from luminoth.errors import CheckpointError

        try:
            self.evaluate(folder)
        except CheckpointError:
            if folder.exists():
                raise
            say(f"{folder}: left out, training has removed it meanwhile (see train.checkpoints_max_keep)")

    def evaluate(self, checkpoint: Path) -> None:
        """Evaluates one checkpoint, tells and keeps what was found."""
        from luminoth.checkpoints.in_bucket import address_of
        from luminoth.evaluation.checkpoint import evaluate_checkpoint

        split = self._split
        say(f"Evaluating {checkpoint} on {split.name}: {split.images} images, {len(split.classes)} classes")
        with progress("Evaluating", total=split.images) as bar:
            loaded, result = evaluate_checkpoint(
                checkpoint,
                split,
                resize=self._resize,
                batch_size=self._batch_size,
                max_detections=self._wanted.max_detections,
                on_progress=bar.advance,
            )
        earlier = self._compare(result)
        self._tell(f"{checkpoint.name} (step {loaded.step})", result, earlier, checkpoint, loaded.step)
        self._keep(checkpoint, loaded.step, result, earlier)
        self._write_files(checkpoint.name, address_of(checkpoint), loaded.step, result, earlier)

    def evaluate_file(self, path: Path, name: str) -> None:
        """Evaluates the detections of a file that the user calls `name`, tells what was found."""
        from luminoth.evaluation.checkpoint import evaluate_file

        say(f"Evaluating {path} on {self._split.name}: {self._split.images} images")
        result = evaluate_file(path, self._split, max_detections=self._wanted.max_detections)
        earlier = self._compare(result)
        self._tell(path.name, result, earlier, None, None)
        self._write_files(path.stem, name, None, result, earlier)

    def _compare(self, result: EvaluationResult) -> _Earlier | None:
        if self._wanted.compare is None:
            return None
        from luminoth.evaluation.comparison import compare
        from luminoth.evaluation.kept_detections import read_earlier

        names, truths = result.analysis.class_names, result.ground_truths
        with input_path(self._wanted.compare, ".detections.npz") as path:
            old = read_earlier(path, self._split.name, truths, names)
        comparison = compare(truths, old, result.detections, names, max_detections=self._wanted.max_detections)
        return _Earlier(self._wanted.compare, old, comparison)

    def _tell(
        self,
        title: str,
        result: EvaluationResult,
        earlier: _Earlier | None,
        checkpoint: Path | None,
        step: int | None,
    ) -> None:
        if self._wanted.as_json:
            from luminoth.evaluation.results import describe

            content = describe(result, split=self._split.name, checkpoint=checkpoint, step=step)
            click.echo(json.dumps({**content, **_comparison_dict(earlier)}, ensure_ascii=False))
            return
        click.echo(f"{title} on {self._split.name}: {result.images} images, {result.metrics.objects} objects\n")
        click.echo(describe_result(result))
        if earlier is not None:
            click.echo(describe_comparison(earlier.comparison, earlier.name))

    def _keep(self, checkpoint: Path, step: int, result: EvaluationResult, earlier: _Earlier | None) -> None:
        from luminoth.checkpoints.in_bucket import upload_changes
        from luminoth.evaluation.results import is_of_run, write_result, write_tensorboard

        # A run's checkpoint takes its figures to its own run, whichever run is configured.
        folder = checkpoint.parent if is_of_run(checkpoint) else self._run_folder
        split = self._split.name
        path = write_result(
            folder, result, split=split, checkpoint=checkpoint, step=step, more=_comparison_dict(earlier)
        )
        upload_changes(folder)
        say(f"{result.images_per_second:.1f} images/s; wrote {path}")
        if is_of_run(checkpoint):  # a published one has no place on the curves of a run
            write_tensorboard(folder, result, split=split, step=step, pictures=self._worst_pictures(result))
            upload_changes(folder)
            say(f"Curves: tensorboard --logdir {folder}")

    def _worst_pictures(self, result: EvaluationResult) -> dict[str, Any]:
        if not self._wanted.tensorboard_pictures:
            return {}
        from luminoth.evaluation.drawing import draw_comparison
        from luminoth.evaluation.worst import choose_worst, read_pictures

        analysis = result.analysis
        chosen = choose_worst(analysis, per_class=self._wanted.files_per_class, most=_MOST_TENSORBOARD_PICTURES)
        pixels = read_pictures(self._split.files, chosen)
        return {
            f"worst_{place:02}": draw_comparison(
                pixels[image],
                result.ground_truths[image],
                result.detections[image],
                analysis.class_names,
                analysis.explain(image),
            )
            for place, image in enumerate(chosen, start=1)
        }

    def _write_files(
        self, name: str, checkpoint: str, step: int | None, result: EvaluationResult, earlier: _Earlier | None
    ) -> None:
        """What was asked for beside the table."""
        if self._wanted.detections_file:
            from luminoth.evaluation.coco_results import write_coco_results

            ids = (truth.image_id for truth in result.ground_truths)
            with output_path(self._wanted.detections_file) as path:
                count = write_coco_results(path, ids, result.detections)
            say(f"Wrote {count} detections to {self._wanted.detections_file}")
        if self._wanted.report:
            from luminoth.evaluation.report import ReportSubject, write_report

            with output_path(self._wanted.report) as path:
                write_report(
                    path,
                    result.analysis,
                    result.ground_truths,
                    result.detections,
                    self._split.files,
                    subject=ReportSubject(
                        name=name,
                        checkpoint=checkpoint,
                        step=step,
                        dataset_dir=self._split.dataset_dir,
                        split=self._split.name,
                        command=shlex.join(["lumi", *sys.argv[1:]]),
                        images_per_second=result.images_per_second,
                    ),
                    files_per_class=self._wanted.files_per_class,
                    comparison=earlier and earlier.comparison,
                    other_name=earlier.name if earlier else "",
                    other_detections=earlier and earlier.detections,
                    proposals=result.proposals and result.proposals.mean,
                )
            say(f"Wrote the report {self._wanted.report}")


def _check_step(run_folder: Path, which: str, step: int, from_step: int) -> None:
    from luminoth.errors import CheckpointError

    if step < from_step:
        raise CheckpointError(
            f"{run_folder}: the {which} checkpoint is of step {step}, before --from-global-step {from_step}"
        )


def _comparison_dict(earlier: _Earlier | None) -> dict[str, Any]:
    return {} if earlier is None else {"comparison": {"with": earlier.name, **earlier.comparison.to_dict()}}
