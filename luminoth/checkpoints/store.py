"""Checkpoints as folders: `ckpt-<step>/` inside a run's folder, and published ones without optimizer state.

    model.weights.h5   weights, batch-norm statistics, optimizer state, step (see weights_file.py)
    state.json         step, seed, position in the data, versions
    config.yml         the resolved configuration
    classes.json       the class names, in the order of their ids
    metadata.json      published ones only: id, name, alias, source, licence, scores

A folder is written under a hidden name beside its place, brought to the disk and renamed: what carries the
name `ckpt-<step>` is whole, whatever happened meanwhile. Listing and finding import neither TensorFlow nor
Keras.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from luminoth import __version__
from luminoth.checkpoints.weights_file import read_fitting_weights, read_weights_file, write_weights_file
from luminoth.errors import CheckpointError, OutputError

WEIGHTS_FILE = "model.weights.h5"
STATE_FILE = "state.json"
CONFIG_FILE = "config.yml"
CLASSES_FILE = "classes.json"
METADATA_FILE = "metadata.json"

EMBEDDED_FOLDER = Path(__file__).parent / "embedded"

# Luminoth's names for what others publish: the converted checkpoint's alias.
_CONVERTED = {"accurate": "fasterrcnn_resnet50_fpn_v2", "fast": "fasterrcnn_mobilenet_v3_large_320_fpn"}
# The layers whose outputs are classes.
_OF_CLASSES = ("box_head/classes/", "box_head/deltas/")
_STATE_FORMAT = 1
_CHECKPOINT_NAME = re.compile(r"ckpt-(\d+)")
_UNFINISHED_PREFIX = ".ckpt-"


# --- Checkpoints of a run -----------------------------------------------------------------------------------


def run_folder(config: Any) -> Path:
    """Where a run keeps its checkpoints and events: `train.job_dir` / `train.run_name`.

    Without a run name it is made of the data set's folder and the model's type, so that the same
    configuration finds the same run again.
    """
    job_dir = Path(config.train.job_dir).expanduser()
    if config.train.run_name:
        return job_dir / str(config.train.run_name)
    dataset = Path(config.dataset.dir or "dataset")
    # Luminoth's examples end in `.../tf`, which alone says nothing.
    parts = [dataset.name] if dataset.name not in ("tf", "tfrecords", "records") else [*dataset.parts[-2:]]
    return job_dir / "-".join([*(part for part in parts if part.strip("./")), config.model.type])


def save_checkpoint(
    run_dir: Path,
    step: int,
    *,
    model: Any,
    optimizer: Any,
    config: Any,
    classes: Sequence[str],
    state: Mapping[str, Any],
) -> Path:
    """Saves everything training needs to go on as `run_dir/ckpt-<step>`.

    Args:
        run_dir: the run's folder, made when it is missing.
        step: updates done so far.
        model: a `DetectionModel`.
        optimizer: its built Keras optimizer.
        config: the resolved `Config`.
        classes: the class names in the order of their ids.
        state: further facts for `state.json`: seed, position in the data.

    Raises:
        CheckpointError: a weight is NaN or infinite; nothing is saved then.
        OutputError: the folder cannot be written; earlier checkpoints are untouched.
    """
    folder = Path(run_dir) / f"ckpt-{step}"
    weights = _named_weights(model)
    with _written_whole(folder) as unfinished:
        write_weights_file(
            unfinished / WEIGHTS_FILE,
            weights,
            step=step,
            optimizer=optimizer,
            trained=_trained_names(model, weights),
        )
        _write_facts(unfinished, config, classes, {**state, "step": step})
    return folder


def list_checkpoints(run_dir: Path) -> list[tuple[int, Path]]:
    """The whole checkpoints of a run as (step, folder), ascending; empty when there are none."""
    try:
        names = os.listdir(run_dir)
    except (FileNotFoundError, NotADirectoryError):
        return []
    matches = [match for name in names if (match := _CHECKPOINT_NAME.fullmatch(name))]
    folders = [(int(match.group(1)), Path(run_dir) / match.group(0)) for match in matches]
    return sorted((step, folder) for step, folder in folders if _is_checkpoint(folder))


def latest_checkpoint(run_dir: Path) -> Path | None:
    """The newest whole checkpoint of a run."""
    checkpoints = list_checkpoints(run_dir)
    return checkpoints[-1][1] if checkpoints else None


def prune_checkpoints(run_dir: Path, keep: int) -> list[Path]:
    """Removes all but the newest `keep` (at least 1) checkpoints, and what earlier writers left unfinished.

    Only for the process that writes to this run. Returns the checkpoints removed.
    """
    for leftover in Path(run_dir).glob(f"{_UNFINISHED_PREFIX}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    removed = [folder for _, folder in list_checkpoints(run_dir)[: -max(keep, 1)]]
    for folder in removed:
        # Renamed first: a removal cut short leaves no half checkpoint under a good name.
        hidden = folder.with_name(f".{folder.name}.removed")
        folder.rename(hidden)
        shutil.rmtree(hidden, ignore_errors=True)
    return removed


def read_state(folder: Path) -> dict[str, Any]:
    """A checkpoint's `state.json`.

    Raises:
        CheckpointError: it is damaged, or written by a version of Luminoth that is newer than this one.
    """
    state = _read_json(Path(folder) / STATE_FILE)
    if not isinstance(state, dict) or "step" not in state:
        raise CheckpointError(f"{folder}/{STATE_FILE}: does not say the step")
    if state.get("format", 0) > _STATE_FORMAT:
        raise CheckpointError(
            f"{folder}: written by Luminoth {state.get('versions', {}).get('luminoth', '(newer)')}, format "
            f"{state['format']}; this is {__version__}, which reads format {_STATE_FORMAT}: update Luminoth"
        )
    return state


def read_checkpoint_classes(folder: Path) -> list[str]:
    """The class names of a checkpoint, in the order of their ids."""
    classes = _read_json(Path(folder) / CLASSES_FILE)
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise CheckpointError(f"{folder}/{CLASSES_FILE}: expected a list of names")
    return classes


def restore(folder: Path, model: Any, optimizer: Any = None) -> dict[str, Any]:
    """Loads a checkpoint into a model and, unless it is None, its built optimizer.

    Returns:
        The contents of `state.json`.

    Raises:
        CheckpointError: a file is missing or damaged, or a tensor is missing, left over or of another shape;
            the model is as it was then.
    """
    folder = Path(folder)
    state = read_state(folder)
    weights = _named_weights(model)
    trained = _trained_names(model, weights)
    step = read_weights_file(folder / WEIGHTS_FILE, weights, optimizer=optimizer, trained=trained)
    if step != state["step"]:
        raise CheckpointError(
            f"{folder}: {WEIGHTS_FILE} is of step {step}, {STATE_FILE} of step {state['step']}; "
            "they do not belong together"
        )
    return state


def transfer(folder: Path, model: Any, classes: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Loads what fits by name and shape of a checkpoint into a model for other data.

    The layers whose outputs are classes fit only when the classes are the same, in the same order.

    Args:
        folder: the checkpoint's folder.
        model: a `DetectionModel`.
        classes: the model's class names in the order of their ids.

    Returns:
        Names of the tensors taken, and of the model's that were left as they are.

    Raises:
        CheckpointError: a file is missing or damaged, or nothing fits.
    """
    folder = Path(folder)
    weights = _named_weights(model)
    left_out = () if read_checkpoint_classes(folder) == list(classes) else _OF_CLASSES
    wanted = {name: variable for name, variable in weights.items() if not name.startswith(left_out)}
    taken = read_fitting_weights(folder / WEIGHTS_FILE, wanted)
    if not taken:
        raise CheckpointError(f"{folder}: none of its tensors fits the model by name and shape; is it of another kind?")
    return tuple(taken), tuple(name for name in weights if name not in taken)


# --- Finding and loading ------------------------------------------------------------------------------------


def find_checkpoint(name_or_path: str | Path) -> Path:
    """The folder of a checkpoint that a user named.

    Tried in this order: an alias that comes with the package, an id or alias in `$LUMI_HOME/checkpoints`, a
    checkpoint's folder, a run's folder (its newest checkpoint). `./name` always means a folder.

    Raises:
        CheckpointError: there is none of that name; says what there is.
    """
    name = os.fspath(name_or_path)
    if os.sep not in name:
        embedded = EMBEDDED_FOLDER / name
        if name and _is_checkpoint(embedded):
            return embedded
        names = {name, _CONVERTED.get(name, name)}
        published = [folder for folder in _published() if names & {folder.name, _metadata(folder).get("alias")}]
        if published:
            return max(published, key=lambda folder: str(_metadata(folder).get("created", "")))
    path = Path(name).expanduser()
    if _is_checkpoint(path):
        return path
    if latest := latest_checkpoint(path):
        return latest
    raise CheckpointError(_not_found(name, path))


@dataclass(frozen=True)
class LoadedModel:
    """A model with its weights and everything needed to use it.

    Attributes:
        model: a `DetectionModel`.
        config: the `Config` it was trained with.
        classes: the class names in the order of their ids.
        folder: the checkpoint's folder.
        step: updates done when it was saved.
    """

    model: Any
    config: Any
    classes: list[str]
    folder: Path
    step: int


def load_model(folder: Path, *, precision: str | None = None, xla: bool | None = None) -> LoadedModel:
    """Builds the model a checkpoint describes and loads its weights.

    Args:
        folder: the checkpoint's folder.
        precision, xla: see `build_model`; None: as the checkpoint's configuration says for evaluation.

    Raises:
        CheckpointError: a file is missing or damaged or does not fit.
    """
    from luminoth.config import load_config
    from luminoth.models.build import build_model

    folder = Path(folder)
    if not (folder / CONFIG_FILE).is_file():
        raise CheckpointError(f"{folder}/{CONFIG_FILE}: no such file; is this a checkpoint's folder?")
    config = load_config([folder / CONFIG_FILE])
    classes = read_checkpoint_classes(folder)
    model = build_model(
        config,
        len(classes),
        precision=config.eval.precision if precision is None else precision,
        xla=config.eval.xla if xla is None else xla,
        initialise=False,
    )
    state = restore(folder, model)
    return LoadedModel(model, config, classes, folder, state["step"])


def export_embedded(folder: Path, destination: Path, metadata: Mapping[str, Any], *, half: bool = False) -> Path:
    """Writes the published form of a checkpoint: no optimizer state, no paths of this machine.

    Args:
        folder: a checkpoint's folder.
        destination: the folder to create; it must not exist.
        metadata: id, name, alias, source, licence, scores, ...; `created` is added.
        half: store the weights as float16.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        OutputError: the destination exists or cannot be written.
    """
    refuse_existing(destination)
    loaded = load_model(folder)
    return export_published(
        loaded.model, loaded.config, loaded.classes, metadata, destination, step=loaded.step, half=half
    )


def export_published(
    model: Any,
    config: Any,
    classes: Sequence[str],
    metadata: Mapping[str, Any],
    destination: Path,
    *,
    step: int = 0,
    half: bool = False,
) -> Path:
    """Writes a model as a published checkpoint: weights, configuration, classes and metadata.

    Args:
        model: a `DetectionModel`.
        config: the `Config` it was built with; paths of this machine are left out.
        classes: the class names in the order of their ids.
        metadata: id, name, alias, source, licence, scores, ...; `created` is added.
        destination: the folder to create; it must not exist.
        step: updates done; 0 for weights that others trained.
        half: store the weights as float16.

    Raises:
        CheckpointError: a weight is NaN or infinite.
        OutputError: the destination exists or cannot be written.
    """
    destination = Path(destination)
    refuse_existing(destination)
    with _written_whole(destination) as unfinished:
        write_weights_file(unfinished / WEIGHTS_FILE, _named_weights(model), step=step, half=half)
        _write_facts(unfinished, _without_paths(config), classes, {"step": step})
        _write_json(unfinished / METADATA_FILE, {**metadata, "created": _now()})
    return destination


def refuse_existing(destination: Path) -> None:
    """Raises OutputError when there is something at `destination`; asked before the long work."""
    if Path(destination).exists():
        raise OutputError(f"{destination}: exists already; remove it or choose another destination")


def published_folder() -> Path:
    """Where published checkpoints are kept, each in a folder named by its id: `$LUMI_HOME/checkpoints`."""
    return Path(os.environ.get("LUMI_HOME") or "~/.luminoth").expanduser() / "checkpoints"


# --- Details ------------------------------------------------------------------------------------------------


def _named_weights(model: Any) -> dict[str, Any]:
    from luminoth.models.base import named_weights

    return named_weights(model)


def _trained_names(model: Any, weights: Mapping[str, Any]) -> list[str]:
    """Paths of the trainable weights in the order in which the optimizer numbers its slots."""
    names = {id(variable): name for name, variable in weights.items()}
    return [names[id(variable)] for variable in model.trainable_variables]


def _is_checkpoint(folder: Path) -> bool:
    return (folder / WEIGHTS_FILE).is_file() and (folder / STATE_FILE).is_file()


def _published() -> list[Path]:
    return [folder for folder in sorted(published_folder().glob("*")) if _is_checkpoint(folder)]


def _metadata(folder: Path) -> dict[str, Any]:
    path = folder / METADATA_FILE
    metadata = _read_json(path) if path.is_file() else {}
    return metadata if isinstance(metadata, dict) else {}


def _not_found(name: str, path: Path) -> str:
    aliases = [folder.name for folder in sorted(EMBEDDED_FOLDER.glob("*")) if _is_checkpoint(folder)]
    aliases += [str(_metadata(folder).get("alias") or folder.name) for folder in _published()]
    available = f"available: {', '.join(aliases)}" if aliases else "none is installed"
    if name in _CONVERTED:
        from luminoth.checkpoints.convert.published import PUBLISHED

        url = PUBLISHED[_CONVERTED[name]].url
        return (
            f"the checkpoint `{name}` has to be converted from its published weights first: fetch {url} and run "
            f"`lumi checkpoint convert {url.rpartition('/')[2]}`; {available}, or give the folder of a run or of a "
            "checkpoint"
        )
    if path.is_dir():
        return f"{path} holds no checkpoint: looked for {WEIGHTS_FILE} in it and in ckpt-<step>; {available}"
    return f"no checkpoint `{name}`: neither a folder nor a known name; {available}"


def _write_facts(folder: Path, config: Any, classes: Sequence[str], state: Mapping[str, Any]) -> None:
    from luminoth.config import dump_config

    versions = {"luminoth": __version__, "tensorflow": version("tensorflow"), "keras": version("keras")}
    _write_json(folder / STATE_FILE, {"format": _STATE_FORMAT, **state, "versions": versions, "saved": _now()})
    _write_json(folder / CLASSES_FILE, list(classes))
    (folder / CONFIG_FILE).write_text(dump_config(config), encoding="utf-8")


def _without_paths(config: Any) -> Any:
    """The configuration without where data and runs lay on the machine that trained it."""
    train = config.train.model_copy(update={"job_dir": "jobs/", "run_name": None})
    return config.model_copy(update={"train": train, "dataset": config.dataset.model_copy(update={"dir": None})})


@contextmanager
def _written_whole(folder: Path) -> Iterator[Path]:
    """Yields a hidden folder beside `folder` to write into; renames it to `folder` at the end."""
    unfinished = folder.with_name(f"{_UNFINISHED_PREFIX}{folder.name.removeprefix('ckpt-')}.{os.getpid()}")
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        yield unfinished
        for path in unfinished.iterdir():
            _to_disk(path)
        _to_disk(unfinished)
        if folder.exists():
            folder.rename(unfinished.with_name(unfinished.name + ".replaced"))
        unfinished.rename(folder)
        _to_disk(folder.parent)
        shutil.rmtree(unfinished.with_name(unfinished.name + ".replaced"), ignore_errors=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot write the checkpoint ({error.strerror or error})") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error})") from error


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
