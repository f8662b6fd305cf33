"""What one sees of a training while it runs: events for whoever calls, TensorBoard, `metrics.jsonl`.

A file that cannot be written is told of, once, and training goes on: its checkpoints matter more than its curves.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Self

from luminoth.checkpoints.in_bucket import upload_changes
from luminoth.config import dump_config
from luminoth.data.record_files import find_records
from luminoth.errors import OutputError
from luminoth.resize import ResizeRule
from luminoth.training.events import Doubted, OnEvent, StepDone
from luminoth.training.run import Run
from luminoth.training.state import TrainingState
from luminoth.training.update.step import GAUGES
from luminoth.training.watching.clock import HOST, INPUT, MODEL, PICTURES, SAVING, VALIDATION, Clock, Spent
from luminoth.training.watching.figures import LossMeans, TrainingFigures
from luminoth.training.watching.memory import gpu_memory, host_memory, peak_host_memory
from luminoth.training.watching.metrics_log import MetricsLog
from luminoth.training.watching.pace import Every, Speed
from luminoth.training.watching.pictures import PictureRows, choose_pictures
from luminoth.training.watching.profile import StepProfiler
from luminoth.training.watching.summaries import Summaries

# How late curves may be in a bucket, where a file can only be written anew as a whole; and what share of the time that
# may take.
_SECONDS_TO_UPLOAD, _SHARE_OF_UPLOADS = 120.0, 0.02
# The parts of a configuration that runs are compared by, in TensorBoard's table of them.
_COMPARED = ("train.optimizer", "train.learning_rate", "model.network", "dataset.image_preprocessing")
_COMPARED_KEYS = ("batch_size", "precision", "warmup_steps", "clip_by_global_norm", "seed")


class Watch:
    """Tells of each step, and writes what is seen of a run into its folder. A context manager.

    Args:
        run: the run.
        config: its `Config`.
        state: whose model is trained.
        on_event: see luminoth/training/events.py.

    Raises:
        DataError: `train.image_vis` asks for pictures that are not there.
    """

    def __init__(self, run: Run, config: Any, state: TrainingState, on_event: OnEvent) -> None:
        self._run, self._config, self._state, self._on_event = run, config, state, on_event
        train = config.train
        self._due = Every(train.save_summaries_steps, train.save_summaries_secs)
        self._uploading = Every(None, _SECONDS_TO_UPLOAD)
        self._speed, self._clock, self._losses = Speed(train.images_in_step), Clock(), LossMeans()
        self._step = run.start_step
        self._rows = _picture_rows(run, config, state.model)
        self._resources = ExitStack()
        self._has_graph = run.start_step > 0  # an older file has it
        self._unwritten: set[str] = set()  # messages that were told

    def __enter__(self) -> Self:
        run, config, enter = self._run, self._config, self._resources.enter_context
        self._summaries = enter(Summaries(run.folder, run.start_step))
        self._log = enter(MetricsLog(run.folder, run.start_step))
        self._profiler = enter(StepProfiler(run.folder, config.train.profile_steps, self._on_event))
        with self._forgiving():
            self._summaries.text("config", dump_config(config), run.start_step)
            if run.folder is not None:
                self._summaries.hparams(_compared(config), run.folder.name)
        return self

    def __exit__(self, *exception: object) -> None:
        self._resources.__exit__(*exception)
        try:
            upload_changes(self._run.folder)
        except OutputError as error:
            self._on_event(Doubted(str(error)))

    def step_begins(self) -> None:
        """Before the next batch is asked for."""
        with self._forgiving():
            self._profiler.step_begins(self._step + 1)
        self._clock.ends(HOST)
        self._speed.start()

    def batch_came(self) -> None:
        """When it is there."""
        self._clock.ends(INPUT)

    def step_ends(self, step: int, values: Mapping[str, float], rate: float) -> None:
        """After an update.

        Args:
            step: updates done, this one included.
            values: what the training step returned.
            rate: the learning rate of this update.
        """
        self._clock.ends(MODEL)
        self._speed.stop()
        with self._forgiving():
            self._profiler.step_ends(step)
        self._step = step
        total, norm, speed = self._run.total_steps, values["gradient_norm"], self._speed.images_per_second
        losses = {name: value for name, value in values.items() if name.endswith("loss")}
        self._losses.add(step, values["total_loss"])
        self._on_event(StepDone(step, total, losses, rate, norm, speed, self._speed.seconds_for(total - step)))
        if self._due(step) or step == total:
            self._point(step, losses, values, rate)

    def checkpoint_saved(self, step: int) -> None:
        """After a checkpoint was saved: shows pictures and histograms, as configured."""
        self._clock.ends(SAVING)
        with self._forgiving():
            if self._rows is not None:
                self._show_pictures(self._rows, step)
            if var_vis := self._config.train.var_vis:
                self._summaries.histograms(self._state.model, step, trained_only=var_vis == "reduced")
        self._clock.ends(PICTURES)

    def validated(self, step: int, values: Mapping[str, float | None]) -> None:
        """After an evaluation of the model as it is after `step` updates: its figures by name."""
        self._clock.ends(VALIDATION)
        with self._forgiving():
            self._log.write(self._config.train.eval_split, step, self._epoch(step), values)

    def figures(self) -> TrainingFigures:
        """What training came to so far."""
        spent, gpu = self._clock.total(), gpu_memory()
        return TrainingFigures(
            steps=self._step - self._run.start_step,
            epochs=self._epoch(self._step),
            images_per_second=_images_per_second(spent, self._config.train.images_in_step),
            spent=spent,
            loss=self._losses.mean,
            lowest_loss=self._losses.lowest,
            lowest_loss_step=self._losses.lowest_step,
            host_peak=peak_host_memory(),
            gpu_peak=gpu and gpu[1],
        )

    def _point(self, step: int, losses: Mapping[str, float], values: Mapping[str, float], rate: float) -> None:
        """A point on all curves."""
        spent, epoch = self._clock.lap(), self._epoch(step)
        curves = {
            **{f"losses/{name}": value for name, value in losses.items()},
            "train/learning_rate": rate,
            "train/gradient_norm": values["gradient_norm"],
            "train/images_per_second": self._speed.images_per_second or None,
            **{name: value for name, value in values.items() if name.startswith(GAUGES)},
            "time/step_ms": spent.milliseconds_a_step(INPUT, MODEL, HOST),
            "time/input_wait_ms": spent.milliseconds_a_step(INPUT),
            "time/host_ms": spent.milliseconds_a_step(HOST),
            "time/outside_model": spent.outside_model,
            **_memory_curves(),
            **_state_curves(self._state),
        }
        with self._forgiving():
            self._summaries.scalars({**curves, "train/epoch": epoch}, step)
        with self._forgiving():
            self._log.write("train", step, epoch, {name.partition("/")[2]: value for name, value in curves.items()})
        if self._uploading(step):
            started = time.monotonic()
            with self._forgiving():
                upload_changes(self._run.folder)
            seconds = max(_SECONDS_TO_UPLOAD, (time.monotonic() - started) / _SHARE_OF_UPLOADS)
            self._uploading = Every(None, seconds)

    def _show_pictures(self, rows: PictureRows, step: int) -> None:
        with self._state.averaged():
            for number, (image_id, pixels) in enumerate(rows.draw(step)):
                self._summaries.picture(f"pictures/{number}_{image_id}", pixels, step)
        if not self._has_graph:
            self._summaries.graph(rows.graph)
            self._has_graph = True

    @contextmanager
    def _forgiving(self) -> Iterator[None]:
        """Tells of what cannot be written instead of raising it; of the same trouble once."""
        try:
            yield
        except OutputError as error:
            message = str(error)
            if message not in self._unwritten:
                self._unwritten.add(message)
                self._on_event(Doubted(f"{message}. Training goes on without"))

    def _epoch(self, step: int) -> float:
        seen = self._run.images_seen + (step - self._run.start_step) * self._config.train.images_in_step
        return seen / self._run.per_epoch


def _picture_rows(run: Run, config: Any, model: Any) -> PictureRows | None:
    """The pictures that `train.image_vis` asks for; None where nothing is shown."""
    wanted = config.train.image_vis
    if run.folder is None or wanted is None:
        return None
    files = find_records(config.dataset.dir, config.train.eval_split) if wanted == "eval" else run.files
    resize = ResizeRule(**config.dataset.image_preprocessing.model_dump())
    pictures = choose_pictures(files, resize, len(run.classes))
    return PictureRows(model, pictures, run.classes, seed=run.seed, with_samples=wanted == "debug")


def _memory_curves() -> dict[str, float | None]:
    """In GB."""
    host, gpu = host_memory(), gpu_memory()
    curves = {"memory/host_gb": None if host is None else host / 1e9}
    return curves if gpu is None else {**curves, "memory/gpu_gb": gpu[0] / 1e9, "memory/gpu_peak_gb": gpu[1] / 1e9}


def _state_curves(state: TrainingState) -> dict[str, float]:
    """What changes by itself as training goes on, beside the weights."""
    curves = {}
    if state.loss_scale is not None:
        curves["train/loss_scale"] = float(state.loss_scale.scale_value)
        curves["train/skipped_steps"] = float(state.loss_scale.skipped)
    if state.average is not None:
        curves["train/moving_average_decay"] = state.average.decay
    return curves


def _images_per_second(spent: Spent, batch_size: int) -> float | None:
    milliseconds = spent.milliseconds_a_step(INPUT, MODEL, HOST)
    return milliseconds and 1000 * batch_size / milliseconds


def _compared(config: Any) -> dict[str, bool | float | str]:
    """What runs are compared by: names of keys and plain values."""
    found = {f"train.{key}": getattr(config.train, key) for key in _COMPARED_KEYS}
    found["model.base_network.architecture"] = config.model.base_network.architecture
    for name in _COMPARED:
        section, key = name.split(".")
        values = getattr(getattr(config, section), key).model_dump()
        found |= {f"{name}.{inner}": value for inner, value in values.items()}
    return {
        name: value if isinstance(value, (bool, int, float, str)) else str(value)
        for name, value in found.items()
        if value is not None
    }
