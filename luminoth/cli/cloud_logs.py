"""`lumi cloud gcp logs`, and the following of a job after its submission."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from luminoth.cli.cloud_options import Place, connect, job_option, place_options, usage_errors
from luminoth.cli.terminal import say
from luminoth.errors import CloudError

if TYPE_CHECKING:
    from luminoth.cloud.access import Cloud
    from luminoth.cloud.jobs import Job
    from luminoth.cloud.logs import LogEntry, LogQuery

_JOB_ENDED_BADLY = 3


@click.command()
@job_option
@click.option("--task", metavar="NAME", help="Of one task, as in workerpool0-0, the first machine.")
@click.option(
    "--severity", type=click.Choice(["debug", "info", "notice", "warning", "error", "critical"], case_sensitive=False),
    help="Of this severity or a higher one; what a program writes to standard error counts as error.",
)  # fmt: skip
@click.option("--since", metavar="TIME", help="From then on: how long ago (2h), or a time (2026-10-31T17:45).")
@click.option(
    "--polling-interval", metavar="SECONDS", type=click.FloatRange(5), default=15.0, show_default=True,
    help="Between two looks for new lines.",
)  # fmt: skip
@click.option("--no-follow", is_flag=True, help="Show what is there and end.")
@place_options
def logs(
    place: Place,
    job_id: str,
    task: str | None,
    severity: str | None,
    since: str | None,
    polling_interval: float,
    no_follow: bool,
    as_json: bool,
) -> int:
    """Show what a job writes, until it is over. Ctrl-C ends the showing, not the job.

    Exit status 3: the job failed or was cancelled.

    \b
    Examples:
      lumi cloud gcp logs --job-id train_20261031_174500
      lumi cloud gcp logs --job-id train_20261031_174500 --severity error --since 2h --no-follow
    """
    from luminoth.cloud.jobs import find_job
    from luminoth.cloud.logs import LogQuery, read_logs
    from luminoth.cloud.names import parse_since

    with usage_errors():
        start = parse_since(since, datetime.now(UTC)) if since else None
    cloud = connect(place, job_id)
    job = find_job(cloud, job_id)
    query = LogQuery(job.number, task, severity and severity.upper(), start or job.created)
    if no_follow:
        for entry in read_logs(cloud, query):
            _print_entry(entry, as_json)
        return 0
    return show_logs(cloud, job, query, interval=polling_interval, as_json=as_json)


def show_logs(cloud: Cloud, job: Job, query: LogQuery | None = None, *, interval: float, as_json: bool) -> int:
    """Prints the lines of a job until it is over; the exit status that follows from how it ended."""
    from luminoth.cloud.logs import LogQuery, follow_logs

    latest = job

    def on_state(job: Job) -> None:
        nonlocal latest
        latest = job
        say(f"{job.display_name}: {job.state}" + (f": {job.error}" if job.error else ""))

    entries = follow_logs(
        cloud,
        job,
        query or LogQuery(job.number, since=job.created),
        interval=interval,
        on_state=on_state,
        on_failure=lambda error: say(f"Warning: {error}; trying again"),
    )
    try:
        for entry in entries:
            _print_entry(entry, as_json)
    except (KeyboardInterrupt, CloudError):
        say(f"The job goes on; `lumi cloud gcp cancel --job-id {job.number}` ends it")
        raise
    return 0 if latest.succeeded else _JOB_ENDED_BADLY


def _print_entry(entry: LogEntry, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(asdict(entry), ensure_ascii=False))
    else:
        click.echo(f"{entry.time[:19].replace('T', ' ')}  {entry.task or 'service'}  {entry.message}")
