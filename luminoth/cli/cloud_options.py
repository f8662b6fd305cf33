"""What the commands of `lumi cloud gcp` share: options, connecting, usage errors."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from luminoth.cli.bucket_files import LocalPath
from luminoth.cli.terminal import say
from luminoth.errors import CloudArgumentError, CloudError

if TYPE_CHECKING:
    from luminoth.cloud.access import Cloud
    from luminoth.cloud.gcp import Program
    from luminoth.cloud.job_body import Resources

# Luminoth's options, of a service that has ended, and what takes their place.
_OLD_OPTIONS = {
    "--scale-tier": "--machine-type, --accelerator and --worker-count",
    "--master-type": "--machine-type and --accelerator",
    "--worker-type": "--machine-type and --accelerator, which count for all machines",
    "--parameter-server-type": "nothing: there are no parameter servers any more",
    "--parameter-server-count": "nothing: there are no parameter servers any more; --worker-count adds machines",
    "--service-account-json": "--credentials",
}


@dataclass(frozen=True)
class Place:
    """Whose project, where, with which rights; the options of the same names."""

    project: str | None
    region: str
    credentials: Path | None


def place_options(command: Callable) -> Callable:
    """`--project --region --credentials --json`; the command gets `place` and `as_json`."""

    def with_place(*, project: str | None, region: str, credentials: Path | None, **others: Any) -> Any:
        return command(place=Place(project, region, credentials), **others)

    with_place.__name__, with_place.__doc__ = command.__name__, command.__doc__
    with_place.__click_params__ = getattr(command, "__click_params__", [])
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print results as JSON."),
        click.option(
            "--credentials", metavar="FILE", type=LocalPath(dir_okay=False),
            help="Key of a service account; by default the application default credentials.",
        ),
        click.option("--region", metavar="REGION", default="us-central1", show_default=True, help="Of Vertex AI."),
        click.option(
            "--project", metavar="ID",
            help="By default $GOOGLE_CLOUD_PROJECT, else $GCLOUD_PROJECT, else that of the service account.",
        ),
    ):  # fmt: skip
        with_place = option(with_place)
    return with_place


def job_option(command: Callable) -> Callable:
    """`--job-id` of a job that exists."""
    return click.option(
        "--job-id", metavar="ID", required=True,
        help="Which job: the id that `lumi` gave it, its number, or its full name projects/.../customJobs/...",
    )(command)  # fmt: skip


def resource_options(command: Callable) -> Callable:
    """What a job runs on, and in which image."""
    for option in reversed(
        (
            click.option("--machine-type", metavar="TYPE", help="By default g2-standard-12."),
            click.option("--accelerator", metavar="NAME", help="By default what the machine has: NVIDIA_L4."),
            click.option("--accelerator-count", metavar="N", type=click.IntRange(0), help="By default 1; 0: CPU only."),
            click.option("--image", metavar="URI", help="Your own image, with `lumi` in it; no package is uploaded."),
            click.option("--prebuilt", metavar="URI", help="One of Google's images for training, with Python 3.11."),
            click.option(
                "--package", metavar="WHEEL", type=LocalPath(dir_okay=False),
                help="Wheel of Luminoth to upload instead of the one that is running.",
            ),
            click.option("--service-account", metavar="EMAIL", help="The account that the job runs as."),
            click.option(
                "--strategy", type=click.Choice(["standard", "spot", "flex-start"]),
                default="standard", show_default=True,
                help="spot: cheaper, may be stopped at any time; flex-start: waits for free machines.",
            ),
            click.option("--timeout", metavar="TIME", default="7d", show_default=True, help="The longest it may run."),
            click.option("--disk-gb", type=click.IntRange(10), default=100, show_default=True, help="Of each machine."),
            click.option("--env", "environment", metavar="K=V", multiple=True, help="Environment variable of the job."),
            click.option("--follow", is_flag=True, help="Show the logs until the job is over; status 3 if it fails."),
            click.option(
                "--dry-run", is_flag=True,
                help="Show what would be uploaded and requested; needs neither credentials nor a network.",
            ),
            *(click.option(name, hidden=True, expose_value=False, callback=_refuse) for name in _OLD_OPTIONS),
        )
    ):  # fmt: skip
        command = option(command)
    return command


def connect(place: Place, job_id: str | None = None) -> Cloud:
    """The services; a full name in `job_id` decides project and region."""
    from luminoth.cloud import access
    from luminoth.cloud.names import check_job_reference, parse_resource
    from luminoth.web import is_offline

    if is_offline():
        raise CloudError("LUMI_OFFLINE is set, so Google Cloud is not asked")
    if not logging.getLogger().isEnabledFor(logging.DEBUG):  # what is refused is said once, by the command
        for name in ("googleapiclient", "google", "urllib3"):
            logging.getLogger(name).setLevel(logging.ERROR)
    with usage_errors():
        named = parse_resource(check_job_reference(job_id)) if job_id else None
        project = named[0] if named else access.find_project(place.project, place.credentials)
        region = access.check_region(named[1] if named else place.region)
    return access.connect(project, region, access.find_credentials(place.credentials))


@contextmanager
def usage_errors() -> Iterator[None]:
    """What was stated wrongly is wrong usage, exit status 2."""
    try:
        yield
    except CloudArgumentError as error:
        raise click.UsageError(str(error)) from error


def choose_resources(
    *, machine_type: str | None, accelerator: str | None, accelerator_count: int | None, workers: int, disk_gb: int,
    strategy: str, timeout: str, service_account: str | None,
) -> Resources:  # fmt: skip
    """From the options; says which machine that is, and what is doubtful about it."""
    from luminoth.cloud.job_body import Resources
    from luminoth.cloud.machines import choose_machine, warn_of_machine
    from luminoth.cloud.names import parse_duration

    with usage_errors():
        machine = choose_machine(machine_type, accelerator, accelerator_count)
        limit = parse_duration(timeout, "--timeout")
    say(f"Machine: {machine}" + (f"; {workers + 1} of them" if workers else ""))
    if warning := warn_of_machine(machine):
        say(f"Warning: {warning}")
    return Resources(machine, workers, disk_gb, strategy, limit, service_account)


def choose_program(
    *, image: str | None, prebuilt: str | None, package: Path | None, environment: tuple[str, ...], uploads_wheel: bool
) -> Program:
    """From the options; `uploads_wheel`: the job installs a wheel that is uploaded for it."""
    from luminoth.cloud.gcp import Program
    from luminoth.cloud.job_body import parse_environment
    from luminoth.cloud.packaging import build_wheel, read_wheel

    if image and (prebuilt or package):
        raise click.UsageError("--image brings its own Luminoth: it goes with neither --prebuilt nor --package")
    with usage_errors():
        variables = parse_environment(environment)
        wheel = None
        if package is not None:
            wheel = read_wheel(package)
        elif not image and (uploads_wheel or prebuilt):
            wheel = build_wheel()
    return Program(wheel, image, prebuilt, variables)


class _GoneError(click.ClickException):
    """Wrong usage that one line explains best."""

    exit_code = 2


def _refuse(context: click.Context, option: click.Parameter, value: Any) -> None:
    if value is not None:
        name = option.opts[0]
        raise _GoneError(f"{name} was an option of Luminoth's `cloud gc`; in its place: {_OLD_OPTIONS[name]}")
