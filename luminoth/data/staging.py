"""Files on their way into a folder: written out of sight and moved in when all are whole."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from luminoth.errors import OutputError


@contextmanager
def staging_folder(target: Path) -> Iterator[Path]:
    """A hidden folder on `target`'s file system, deleted at the end with whatever is left in it.

    It lies in `target` when that is there (which may be the root of a file system), else beside it. After an error,
    folders that were made on the way to `target` are gone too.

    Raises:
        OutputError: it cannot be made.
    """
    parent = target if target.is_dir() else target.absolute().parent
    made = [folder for folder in (parent, *parent.parents) if not folder.exists()]
    try:
        parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.partial-", dir=parent))
    except OSError as error:
        raise OutputError(f"{target}: cannot be written ({error.strerror or error}); choose another folder") from error
    try:
        yield folder
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        for empty in made:
            with suppress(OSError):
                empty.rmdir()
        if isinstance(error, OSError):
            name = f" ({os.path.relpath(error.filename, folder)})" if error.filename else ""
            raise OutputError(f"{target}: cannot be written: {error.strerror or error}{name}") from error
        raise
    shutil.rmtree(folder, ignore_errors=True)


def move_into(staged: Path, target: Path) -> None:
    """Moves what a staging folder holds into `target`, which is made if need be; files of the same names give way."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(staged.iterdir()):
        os.replace(path, target / path.name)
