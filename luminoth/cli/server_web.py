"""`lumi server web`: a page and a JSON API in front of one detector or several."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from luminoth.cli.bucket_files import show_copies
from luminoth.cli.server_log import log_requests
from luminoth.cli.server_options import BEST, Wanted, with_options
from luminoth.cli.tensorflow_start import load_tensorflow
from luminoth.cli.terminal import say
from luminoth.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from luminoth.server.batching import Model
    from luminoth.server.served import ServedModel
    from luminoth.server.serving import Server

_DEFAULT_CHECKPOINT = "accurate"
# What a request can ask for at least: so low that the page's slider can show more without asking again.
_LOWEST_PROB = 0.05
_CHECKPOINT_OF_RUN = re.compile(r"ckpt-\d+")


@click.command()
@with_options
def web(**options: Any) -> int:
    """Serve a page and a JSON API that find objects.

    Without --checkpoint and -c it is the checkpoint `accurate`, which is downloaded the first time. The page is at /,
    what programs can ask at /docs.

    \b
    Examples:
      lumi server web --checkpoint toytown
      lumi server web --checkpoint fast --checkpoint accurate --port 8080
      lumi server web -c my-run.yml --which best
      lumi server web --host 0.0.0.0 --api-key-file keys.txt --log-format json
    """
    wanted = Wanted(**options)
    if wanted.which == BEST and not wanted.configs:
        raise click.UsageError("--which best goes with -c: it chooses among the checkpoints of a run")
    api_keys = () if wanted.api_key_file is None else _read_keys(wanted.api_key_file)
    chosen = list(_with_own_names(_choose(wanted)))
    from luminoth.server.app import create_app
    from luminoth.server.serving import Server, listen
    from luminoth.server.settings import Settings

    listener = listen(wanted.host, wanted.port)
    log_requests(wanted.log_format)
    max_upload_bytes = round(wanted.max_upload_mb * 1_000_000)
    settings = Settings(
        max_upload_bytes=max_upload_bytes,
        max_pixels=wanted.max_pixels,
        timeout=wanted.timeout,
        min_prob=wanted.min_prob,
        api_keys=api_keys,
        cors_origins=wanted.cors_origins,
    )
    models = [_served(name, folder, wanted) for name, folder in chosen]
    host, port = listener.getsockname()[:2]
    say(f"Serving {', '.join(model.name for model in models)} at http://{f'[{host}]' if ':' in host else host}:{port}/")
    app = create_app(models, settings)
    server = Server(
        app,
        listener,
        threads=wanted.threads,
        max_upload_bytes=max_upload_bytes,
        trusted_proxy=wanted.trusted_proxy,
    )
    return _run(server, models, wanted.grace)


class _Chosen(NamedTuple):
    """A checkpoint that is to be served.

    Attributes:
        name: what it is called in addresses.
        folder: where it is.
    """

    name: str
    folder: Path


def _choose(wanted: Wanted) -> Iterator[_Chosen]:
    """The checkpoints that the options name."""
    from luminoth.cli.checkpoint_fetch import chosen_checkpoint
    from luminoth.storage import is_address

    if wanted.configs:
        show_copies()
        yield _of_run(wanted)
    names = wanted.checkpoints
    if not wanted.configs and not names:
        say(f"Neither checkpoint nor config specified, assuming `{_DEFAULT_CHECKPOINT}`.")
        names = (_DEFAULT_CHECKPOINT,)
    for name in names:
        folder = chosen_checkpoint(name, yes=wanted.yes, offline=wanted.offline)
        is_place = is_address(name) or Path(name).expanduser().is_dir()
        yield _Chosen(_name_of(folder) if is_place else name, folder)


def _of_run(wanted: Wanted) -> _Chosen:
    from luminoth.checkpoints.history import best_checkpoint, judged_by
    from luminoth.checkpoints.runs import latest_checkpoint, run_folder
    from luminoth.config import load_config

    run_dir = run_folder(load_config(list(wanted.configs)))
    if wanted.which == BEST:
        best = best_checkpoint(run_dir, *judged_by(run_dir))
        say(f"Step {best.step} is the best of {best.evaluated} evaluated checkpoints ({best.value:.3f}).")
        return _Chosen(run_dir.name, best.folder)
    newest = latest_checkpoint(run_dir)
    if newest is None:
        named = " ".join(f"--config {file}" for file in wanted.configs)
        raise CheckpointError(f"{run_dir}: the run has no checkpoint yet; train it with `lumi train {named}`")
    return _Chosen(run_dir.name, newest)


def _name_of(folder: Path) -> str:
    """A checkpoint of a run is called as the run."""
    folder = folder.resolve()
    return folder.parent.name if _CHECKPOINT_OF_RUN.fullmatch(folder.name) else folder.name


def _with_own_names(chosen: Iterator[_Chosen]) -> Iterator[_Chosen]:
    """Names as they can stand in an address, no two of them equal."""
    taken: set[str] = set()
    for name, folder in chosen:
        plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "model"
        own, count = plain, 1
        while own in taken:
            count += 1
            own = f"{plain}-{count}"
        taken.add(own)
        yield _Chosen(own, folder)


def _served(name: str, folder: Path, wanted: Wanted) -> ServedModel:
    from luminoth.server.served import ServedModel

    return ServedModel(
        name,
        _loader(folder, wanted),
        network=_describe(folder),
        min_prob=_LOWEST_PROB,
        max_batch=wanted.max_batch,
        max_wait=wanted.max_wait_ms / 1000,
        max_queue=wanted.max_queue,
    )


def _loader(folder: Path, wanted: Wanted) -> Callable[[], Model]:
    """What loads a detector, in a thread that knows nothing of the command line yet."""
    context = click.get_current_context()

    def load() -> Model:
        with context.scope(cleanup=False):
            load_tensorflow()
        from luminoth.inference.detector import Detector

        return Detector(folder, prob=_LOWEST_PROB, batch_size=wanted.max_batch, precision=wanted.precision)

    return load


def _describe(folder: Path) -> str:
    """What a network is, for people: `fasterrcnn, resnet_v1_50`."""
    from luminoth.checkpoints.folder import read_checkpoint_config

    model = read_checkpoint_config(folder).model
    return ", ".join(filter(None, (model.type, getattr(model.base_network, "architecture", None))))


def _run(server: Server, models: list[ServedModel], grace: float) -> int:
    """Serves until a signal comes; the exit status."""

    def stop(number: int, frame: Any) -> None:
        signal.signal(number, signal.default_int_handler)  # a second one does not wait
        say("Stopping: what was begun is finished.")
        server.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    Thread(target=_stop_without_models, args=(server, models), daemon=True).start()
    cut_off = server.run(grace)
    for model in models:
        model.stop(timeout=1.0)
    if not any(model.can_be_used for model in models):
        raise CheckpointError("no model could be loaded, see above")
    if cut_off:
        say(f"Error: {cut_off} requests were not finished within --grace {grace:g} seconds")
    return 1 if cut_off else 0


def _stop_without_models(server: Server, models: list[ServedModel]) -> None:
    """A server whose models all failed to load is of no use."""
    for model in models:
        model.wait()
    if not any(model.can_be_used for model in models):
        server.stop()


def _read_keys(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError(f"--api-key-file {path}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"--api-key-file {path}: is not text; it holds a key a line") from error
    keys = tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))
    if not keys:
        raise ConfigError(f"--api-key-file {path}: holds no key; it needs at least one, a line each")
    return keys
