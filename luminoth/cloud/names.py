"""How things are called in Google Cloud: ids of jobs and runs, buckets, `gs://` addresses, durations."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from luminoth.errors import CloudArgumentError

# Ids are values of labels as well, which have no capitals and at most 63 characters.
_LUMI_ID = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_RESOURCE = re.compile(r"projects/([^/]+)/locations/([^/]+)/customJobs/(\d+)")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]")
_PROJECT = re.compile(r"([a-z][a-z0-9.-]*:)?[a-z][a-z0-9-]{4,28}[a-z0-9]|\d+")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def new_job_id(kind: str, now: datetime) -> str:
    """As in `train_20261031_174500`; `kind` is train or eval."""
    return f"{kind}_{now:%Y%m%d_%H%M%S}"


def check_lumi_id(text: str, option: str) -> str:
    """An id that `lumi` gives to a job or a run, unchanged.

    Raises:
        CloudArgumentError: it is not one.
    """
    if not _LUMI_ID.fullmatch(text):
        raise CloudArgumentError(
            f"{option} {text}: accepted: a small letter, then small letters, digits, `_` and `-`, 63 at most together"
        )
    return text


def parse_resource(text: str) -> tuple[str, str, str] | None:
    """(project, region, number) of a job's full name `projects/P/locations/R/customJobs/N`; None: it is not one."""
    found = _RESOURCE.fullmatch(text)
    return (found[1], found[2], found[3]) if found else None


def check_job_reference(text: str, option: str = "--job-id") -> str:
    """What may name a job that exists: its number, its full name or the id `lumi` gave it; unchanged.

    Raises:
        CloudArgumentError: it is none of these.
    """
    if text.isdecimal() or parse_resource(text) or _LUMI_ID.fullmatch(text):
        return text
    raise CloudArgumentError(
        f"{option} {text}: accepted: a job's number, its full name projects/.../locations/.../customJobs/..., or the "
        "id that `lumi cloud gcp jobs` shows as NAME"
    )


def check_project(text: str) -> str:
    """The id or number of a project, unchanged.

    Raises:
        CloudArgumentError: it is not one.
    """
    if not _PROJECT.fullmatch(text):
        raise CloudArgumentError(
            f"project {text!r}: accepted: a project's id (6 to 30 small letters, digits and `-`) or number, not its "
            "display name; `gcloud projects list` shows them"
        )
    return text


def default_bucket(project: str, region: str) -> str:
    """The bucket for a project's jobs in a region."""
    return f"lumi-{re.sub('[.:]', '-', project)}-{region}"


def check_bucket(text: str) -> str:
    """A bucket's name, with or without `gs://`.

    Raises:
        CloudArgumentError: no bucket can be called so.
    """
    name = text.removeprefix("gs://").rstrip("/")
    if not _BUCKET.fullmatch(name):
        raise CloudArgumentError(
            f"--bucket {text}: accepted: the name of a bucket, 3 to 63 small letters, digits, `-`, `_` and `.`"
        )
    return name


def run_prefix(run: str) -> str:
    """The folder of a run in its bucket."""
    return f"lumi_{run}"


def split_address(address: str, option: str) -> tuple[str, str]:
    """(bucket, path without slashes around it) of `gs://bucket/path`.

    Raises:
        CloudArgumentError: it is no such address.
    """
    bucket, _, path = address.removeprefix("gs://").partition("/")
    if not address.startswith("gs://") or not _BUCKET.fullmatch(bucket):
        raise CloudArgumentError(f"{option} {address}: accepted: an address in a bucket, gs://BUCKET/FOLDER")
    return bucket, path.strip("/")


def parse_duration(text: str, option: str) -> timedelta:
    """`90s`, `30m`, `12h`, `7d`.

    Raises:
        CloudArgumentError: it is not one, or zero.
    """
    found = _DURATION.fullmatch(text.strip())
    if not found or not float(found[1]):
        raise CloudArgumentError(f"{option} {text}: accepted: a number with s, m, h or d, as in 12h or 7d")
    try:
        return timedelta(seconds=float(found[1]) * _SECONDS[found[2]])
    except OverflowError:
        raise CloudArgumentError(f"{option} {text}: is too long") from None


def parse_since(text: str, now: datetime) -> datetime:
    """A moment: how long ago (`2h`), or a date with or without a time (`2026-10-31T17:45`; UTC unless it says).

    Raises:
        CloudArgumentError: it is neither.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        try:
            return now - parse_duration(text, "--since")
        except (CloudArgumentError, OverflowError):
            raise CloudArgumentError(
                f"--since {text}: accepted: how long ago, as in 30m, 2h or 3d, or a time as in 2026-10-31T17:45"
            ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def parse_run(text: str, option: str) -> tuple[str | None, str]:
    """(bucket or None, id) of a run: its address `gs://BUCKET/lumi_<id>`, its folder's name, or its id.

    Raises:
        CloudArgumentError: it is none of these.
    """
    bucket, folder = split_address(text, option) if text.startswith("gs://") else (None, text.rstrip("/"))
    if bucket is not None and not folder.startswith("lumi_"):
        raise CloudArgumentError(f"{option} {text}: accepted: the folder of a run, gs://BUCKET/lumi_<id>, or its id")
    return bucket, check_lumi_id(folder.removeprefix("lumi_"), option)
