"""`gs://` addresses on the command line: what is copied is shown, and options may name files in a bucket."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from luminoth.cli.tensorflow_start import load_tensorflow
from luminoth.cli.terminal import Progress, say
from luminoth.errors import DataError, OutputError

_MB = 1_000_000
_SAID_BYTES = 10 * _MB  # less is there before one has read the line


class PathOrAddress(click.Path):
    """A path, or the `gs://` address of what is read, which stays a text."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        from luminoth.storage import is_address

        return value if is_address(value) else super().convert(value, parameter, context)


class LocalPath(click.Path):
    """A path; an address would be taken for a folder called `gs:`. Arguments are those of `click.Path`."""

    def __init__(self, **kinds: bool) -> None:
        super().__init__(path_type=Path, **kinds)

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        from luminoth.storage import is_address

        if is_address(value):
            self.fail(f"{value} is in a bucket; accepted: a path on this machine (`gcloud storage cp -r` copies)")
        return super().convert(value, parameter, context)


def show_copies() -> None:
    """From here to the end of the command a bar shows what is copied from buckets."""
    from luminoth.storage import copies_told

    context = click.get_current_context()
    if "gs://" in str(context.params):
        load_tensorflow()  # through which Cloud Storage is reached
    context.with_resource(copies_told(_bar))


@contextmanager
def _bar(what: str, size: int) -> Iterator[Callable[[int], None]]:
    if size < _SAID_BYTES:
        yield lambda count: None
        return
    say(f"Copying {what} ({size / _MB:,.0f} MB)")
    bar = Progress("Copying", -(-size // _MB), "MB")
    try:
        yield lambda count: bar.advance(count / _MB)
    finally:
        bar.close()


def check_output(option: str, place: str | None) -> None:
    """What an option names to write to must be a file; shows before the long work."""
    from luminoth.storage import is_address

    if is_address(place) and (place.endswith("/") or place.count("/") < 3):
        raise click.UsageError(f"{option} {place}: names no file; accepted: as in gs://BUCKET/FOLDER/FILE")


@contextmanager
def output_path(place: str) -> Iterator[Path]:
    """A path to write to; what is there at the end of the block is brought to `place`, if that is an address.

    Raises:
        OutputError: it cannot be written there.
    """
    from luminoth.storage import is_address, name_of, upload

    if not is_address(place):
        yield Path(place)
        return
    with tempfile.TemporaryDirectory(prefix="lumi-output-") as folder:
        path = Path(folder) / name_of(place)
        yield path
        try:
            upload(path, place)
        except OSError as error:
            raise OutputError(f"{place}: cannot be written ({error.strerror})") from error


@contextmanager
def input_path(place: str, *suffixes_beside: str) -> Iterator[Path]:
    """A path to read what is at `place`, and what is called so but for its suffix where there is such a file.

    Raises:
        DataError: it is an address, and cannot be read.
    """
    from luminoth.storage import download, exists, is_address, name_of, stands_for

    if not is_address(place):
        yield Path(place)
        return
    with tempfile.TemporaryDirectory(prefix="lumi-input-") as folder:
        path = Path(folder) / name_of(place)
        stands_for(path, place)
        stem = place.removesuffix(path.suffix)
        try:
            beside = {stem + suffix: path.with_suffix(suffix) for suffix in suffixes_beside if exists(stem + suffix)}
            download({place: path, **beside}, place)
        except OSError as error:
            raise DataError(f"{place}: cannot be read ({error.strerror})") from error
        yield path
