"""`lumi cloud gcp jobs`, `describe`, `cancel` and `delete`."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from luminoth.cli.cloud_options import Place, connect, job_option, place_options
from luminoth.cli.terminal import say

if TYPE_CHECKING:
    from luminoth.cloud.jobs import Job


@click.command()
@click.option("--running", is_flag=True, help="Only jobs that are not over.")
@click.option("--limit", metavar="N", type=click.IntRange(1), default=50, show_default=True, help="The newest so many.")
@click.option("--all", "of_others", is_flag=True, help="Also jobs that were not submitted by `lumi`.")
@place_options
def jobs(place: Place, running: bool, limit: int, of_others: bool, as_json: bool) -> None:
    """List jobs, newest first.

    \b
    Examples:
      lumi cloud gcp jobs
      lumi cloud gcp jobs --running --region europe-west4
    """
    from luminoth.cloud.jobs import find_jobs

    cloud = connect(place)
    found = find_jobs(cloud, None if of_others else "labels.lumi_kind:*")
    chosen = [job for job in found if not running or not job.is_over]
    shown = chosen[:limit]
    if as_json:
        click.echo(json.dumps([job.content for job in shown], ensure_ascii=False))
    elif shown:
        from luminoth.cli.tables import table

        rows = [[job.number, job.display_name, job.state, _time(job.created), _duration(job)] for job in shown]
        click.echo(table(["ID", "NAME", "STATE", "CREATED", "DURATION"], rows, texts=4), nl=False)
    if len(chosen) > limit:
        say(f"{len(chosen) - limit} older ones are not shown (--limit)")
    if not shown:
        say(f"No {'running ' if running else ''}jobs in {cloud.project}, {cloud.region}")


@click.command()
@job_option
@place_options
def describe(place: Place, job_id: str, as_json: bool) -> None:
    """Tell all about a job.

    \b
    Examples:
      lumi cloud gcp describe --job-id train_20261031_174500
      lumi cloud gcp describe --job-id 4728593847562937856 --json
    """
    from luminoth.cloud.jobs import find_job

    job = find_job(connect(place, job_id), job_id)
    click.echo(json.dumps(job.content, ensure_ascii=False) if as_json else _describe(job))


@click.command()
@job_option
@place_options
def cancel(place: Place, job_id: str, as_json: bool) -> None:
    """End a job that is running or waiting. Its files stay.

    \b
    Examples:
      lumi cloud gcp cancel --job-id train_20261031_174500
    """
    from luminoth.cloud.jobs import cancel_job, find_job, get_job

    cloud = connect(place, job_id)
    job = find_job(cloud, job_id)
    cancel_job(cloud, job)
    job = get_job(cloud, job.name)
    _print_state(job, job.state, as_json=as_json)
    if not job.is_over:
        say(f"It is over in a while; `lumi cloud gcp describe --job-id {job.number}` tells")


@click.command()
@job_option
@place_options
def delete(place: Place, job_id: str, as_json: bool) -> None:
    """Remove a job that is over from the list. Its files and logs stay.

    \b
    Examples:
      lumi cloud gcp delete --job-id train_20261031_174500
    """
    from luminoth.cloud.jobs import delete_job, find_job

    cloud = connect(place, job_id)
    job = find_job(cloud, job_id)
    delete_job(cloud, job)
    _print_state(job, "DELETED", as_json=as_json)
    if output := _output(job):
        say(f"The files stay: {output}")


def _print_state(job: Job, state: str, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"name": job.name, "displayName": job.display_name, "state": state}, ensure_ascii=False))
    else:
        click.echo(f"{job.display_name} ({job.number}): {state}")


def _describe(job: Job) -> str:
    spec = job.content.get("jobSpec", {})
    pools = spec.get("workerPoolSpecs", [])
    pool = pools[0] if pools else {}
    machine = pool.get("machineSpec", {})
    task = pool.get("containerSpec") or pool.get("pythonPackageSpec") or {}
    program = [*task.get("command", []), *([task["pythonModule"]] if "pythonModule" in task else [])]
    accelerator = machine.get("acceleratorType")
    lines = {
        "Name": job.display_name,
        "Resource": job.name,
        "State": job.state,
        "Error": job.error,
        "Run": job.labels.get("lumi_run", ""),
        "Created": _time(job.created),
        "Started": _time(job.started),
        "Ended": _time(job.ended),
        "Duration": _duration(job),
        "Machine": machine.get("machineType", "")
        + (f" with {machine.get('acceleratorCount')} x {accelerator}" if accelerator else ""),
        "Machines": str(sum(int(each.get("replicaCount", 1)) for each in pools)),
        "Strategy": spec.get("scheduling", {}).get("strategy", ""),
        "Runs as": spec.get("serviceAccount", ""),
        "Image": task.get("imageUri") or task.get("executorImageUri", ""),
        "Command": " ".join([*program, *task.get("args", [])]),
        "Files": _output(job),
    }
    return "\n".join(f"{name + ':':<10} {value}" for name, value in lines.items() if value)


def _output(job: Job) -> str:
    return job.content.get("jobSpec", {}).get("baseOutputDirectory", {}).get("outputUriPrefix", "")


def _time(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _duration(job: Job) -> str:
    """How long it has run, without waiting for a machine."""
    if job.started is None:
        return ""
    lasted = max((job.ended or datetime.now(UTC)) - job.started, timedelta(0))
    hours, rest = divmod(round(lasted.total_seconds()), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}"
