"""The options of `lumi server web`: what they are called, what they accept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

from luminoth.cli.bucket_files import LocalPath, PathOrAddress

NEWEST, BEST = "newest", "best"
LOG_FORMATS = ("text", "json")


@dataclass(frozen=True)
class Wanted:
    """What a user wants; the options of the same names."""

    configs: tuple[Path | str, ...]
    which: str
    checkpoints: tuple[str, ...]
    precision: str | None
    yes: bool
    offline: bool
    min_prob: float
    host: str
    port: int
    threads: int
    trusted_proxy: str | None
    grace: float
    max_batch: int
    max_wait_ms: float
    max_queue: int
    timeout: float
    max_upload_mb: float
    max_pixels: int
    api_key_file: Path | None
    cors_origins: tuple[str, ...]
    log_format: str


_MODEL = (
    click.option(
        "-c", "--config", "configs", multiple=True, type=PathOrAddress(), metavar="FILE",
        help="Configuration file of a run: one of its checkpoints is served. Repeatable, merged left to right.",
    ),
    click.option(
        "--which", type=click.Choice([NEWEST, BEST]), default=NEWEST, show_default=True,
        help="With -c: the run's newest checkpoint, or its best one in earlier evaluations.",
    ),
    click.option(
        "--checkpoint", "checkpoints", multiple=True, metavar="NAME",
        help="Alias or id of a checkpoint, or the folder of one or of a run. Repeatable: each is served by its name.",
    ),
    click.option(
        "--precision", type=click.Choice(["float32", "bfloat16", "float16"]),
        help="What the networks compute in. [default: as the checkpoints say]",
    ),
    click.option("-y", "--yes", is_flag=True, help="Download the checkpoints without asking when they are not here."),
    click.option("--offline", is_flag=True, help="Never use the network for that; as LUMI_OFFLINE=1 does."),
    click.option(
        "--min-prob", type=click.FloatRange(0, 1), default=0.5, show_default=True,
        help="Lowest probability that is reported when a request does not say.",
    ),
)  # fmt: skip

_SERVER = (
    click.option(
        "--host", default="127.0.0.1", show_default=True,
        help="Address to listen at; 0.0.0.0 lets other machines ask, too.",
    ),
    click.option(
        "--port", type=click.IntRange(0, 65535), default=5000, show_default=True, help="0: any that is free.",
    ),
    click.option(
        "--threads", type=click.IntRange(1), default=80, show_default=True,
        help="Requests that are worked on at once; most of them wait. More than --max-queue, so that some are left to "
        "answer those that there is no room for.",
    ),
    click.option(
        "--trust-proxy", "trusted_proxy", metavar="ADDRESS",
        help="Believe what this proxy (`*`: any) says of the client in X-Forwarded-For, -Proto and -Host.",
    ),
    click.option(
        "--grace", type=click.FloatRange(0), default=30.0, show_default=True, metavar="SECONDS",
        help="After SIGTERM or Ctrl-C: time to finish what was begun.",
    ),
)  # fmt: skip

_LIMITS = (
    click.option(
        "--max-batch", type=click.IntRange(1), default=8, show_default=True,
        help="Most pictures that go through the network at once.",
    ),
    click.option(
        "--max-wait-ms", type=click.FloatRange(0), default=5.0, show_default=True,
        help="How long a picture waits for others to share a batch with.",
    ),
    click.option(
        "--max-queue", type=click.IntRange(1), default=64, show_default=True,
        help="Most pictures of a model on their way at once; who comes then is told to ask again (503).",
    ),
    click.option(
        "--timeout", type=click.FloatRange(0, min_open=True), default=30.0, show_default=True, metavar="SECONDS",
        help="A request whose pictures wait longer is given up (503).",
    ),
    click.option(
        "--max-upload-mb", type=click.FloatRange(0, min_open=True), default=20.0, show_default=True,
        help="Largest request.",
    ),
    click.option(
        "--max-pixels", type=click.IntRange(1), default=50_000_000, show_default=True,
        help="Refuse larger pictures, before they are decoded.",
    ),
)  # fmt: skip

_ACCESS = (
    click.option(
        "--api-key-file", type=LocalPath(), metavar="FILE",
        help="Only who has one of its keys, a line each, may ask the API.",
    ),
    click.option(
        "--cors-origin", "cors_origins", multiple=True, metavar="ORIGIN",
        help="Pages of this origin, as https://example.org, may ask from a browser; `*`: any. Repeatable.",
    ),
    click.option(
        "--log-format", type=click.Choice(LOG_FORMATS), default="text", show_default=True,
        help="How each request is told on standard error; json: one object a line.",
    ),
)  # fmt: skip


def with_options(command: Callable) -> Callable:
    """Gives a function the options of `lumi server web`."""
    for option in reversed((*_MODEL, *_SERVER, *_LIMITS, *_ACCESS)):
        command = option(command)
    return command
