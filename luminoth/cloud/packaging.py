"""What a job installs: the wheel of the Luminoth that runs here, and the script that installs and starts it.

The wheel is made of the files of the package themselves, in a second and without a network, so that a job runs what
runs here: from a source tree, an editable installation or an installed wheel alike.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import io
import re
import tomllib
import zipfile
from pathlib import Path

import luminoth
from luminoth.errors import CloudArgumentError, CloudError

BOOTSTRAP_NAME = "bootstrap.sh"

_PACKAGE = Path(luminoth.__file__).parent
_WHEEL_NAME = re.compile(r"luminoth-[^-]+(-\d[^-]*)?-py3-none-any\.whl")
_ENTRY_POINTS = "[console_scripts]\nlumi = luminoth.cli.main:main\n"
_WHEEL = "Wheel-Version: 1.0\nGenerator: luminoth\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same files give the same bytes


def bootstrap_script() -> bytes:
    """The content of `bootstrap.sh`."""
    return (Path(__file__).parent / BOOTSTRAP_NAME).read_bytes()


def build_wheel(package: Path = _PACKAGE) -> tuple[str, bytes]:
    """(file name, content) of a wheel of this Luminoth.

    Args:
        package: the folder of the package. Its metadata are those of `pyproject.toml` beside it, else those it was
            installed with.

    Raises:
        CloudError: there are no metadata.
    """
    metadata, version = _metadata(package.parent / "pyproject.toml")
    folder = f"luminoth-{version}.dist-info"
    content = {
        f"{package.name}/{path.relative_to(package).as_posix()}": path.read_bytes()
        for path in sorted(package.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
    }
    content |= {
        f"{folder}/METADATA": metadata.encode(),
        f"{folder}/WHEEL": _WHEEL.encode(),
        f"{folder}/entry_points.txt": _ENTRY_POINTS.encode(),
    }
    lines = [f"{name},sha256={_digest(data)},{len(data)}\n" for name, data in content.items()]
    content[f"{folder}/RECORD"] = "".join([*lines, f"{folder}/RECORD,,\n"]).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, data)
    return f"luminoth-{version}-py3-none-any.whl", buffer.getvalue()


def read_wheel(path: Path) -> tuple[str, bytes]:
    """(file name, content) of a wheel that a user names instead.

    Raises:
        CloudArgumentError: it is not there, or not a wheel of Luminoth.
    """
    if not _WHEEL_NAME.fullmatch(path.name):
        raise CloudArgumentError(f"--package {path}: accepted: a wheel of Luminoth, luminoth-VERSION-py3-none-any.whl")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CloudArgumentError(f"--package {path}: cannot be read: {error.strerror}") from error
    if not zipfile.is_zipfile(io.BytesIO(content)):
        raise CloudArgumentError(f"--package {path}: is damaged: not a ZIP file, as wheels are")
    return path.name, content


def _metadata(project_file: Path) -> tuple[str, str]:
    """(METADATA, version). Those of a source tree come from its own file: what was installed may be older."""
    if project_file.is_file():
        project = tomllib.loads(project_file.read_text(encoding="utf-8"))["project"]
        lines = [
            "Metadata-Version: 2.1",
            f"Name: {project['name']}",
            f"Version: {project['version']}",
            f"Requires-Python: {project['requires-python']}",
            *(f"Requires-Dist: {each}" for each in project["dependencies"]),
        ]
        for extra, requirements in project["optional-dependencies"].items():
            lines.append(f"Provides-Extra: {extra}")
            lines += [f'Requires-Dist: {each}; extra == "{extra}"' for each in requirements]
        return "\n".join([*lines, ""]), project["version"]
    try:
        installed = importlib.metadata.distribution("luminoth")
    except importlib.metadata.PackageNotFoundError as error:
        raise CloudError(
            "Luminoth is not installed, so it has no metadata for a wheel; name one with --package"
        ) from error
    return installed.read_text("METADATA") or installed.read_text("PKG-INFO") or "", installed.version


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
