"""How `lumi cloud gcp train` and `eval` show a plan, submit it and follow the job."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from luminoth.cli.cloud_logs import show_logs
from luminoth.cli.terminal import say

if TYPE_CHECKING:
    from luminoth.cloud.access import Cloud
    from luminoth.cloud.gcp import Plan

_POLLING_SECONDS = 15.0


def show_plan(plan: Plan, parent: str, *, as_json: bool) -> None:
    """Prints uploads, configuration and request of a plan."""
    from luminoth.cloud.gcp import CONFIG_FILE, readable_size

    sizes = {f"gs://{plan.bucket}/{path}": len(content) for path, content in plan.uploads.items()}
    config = next((data.decode() for path, data in plan.uploads.items() if path.endswith(f"/{CONFIG_FILE}")), None)
    if as_json:
        content = {"parent": parent, "uploads": sizes, "config": config, "request": plan.body}
        click.echo(json.dumps(content, ensure_ascii=False))
        return
    click.echo("Uploads:")
    for address, size in sizes.items():
        click.echo(f"  {address} ({readable_size(size)})")
    for path in plan.required:
        click.echo(f"  gs://{plan.bucket}/{path} must be there already")
    if not sizes and not plan.required:
        click.echo("  none")
    if config is not None:
        click.echo(f"\nConfiguration:\n{config}")
    click.echo(f"\nRequest to create a job in {parent}:\n{json.dumps(plan.body, indent=2, ensure_ascii=False)}")


def submit_plan(cloud: Cloud, plan: Plan, *, force: bool, follow: bool, as_json: bool) -> int:
    """Submits it and says what to do next; exit status."""
    from luminoth.cloud.gcp import submit

    try:
        job = submit(cloud, plan, force=force, on_step=say)
    except KeyboardInterrupt:
        say(f"`lumi cloud gcp jobs{where(cloud)}` shows whether {plan.job_id} was created before the interruption")
        raise
    if as_json:
        click.echo(json.dumps(job.content, ensure_ascii=False))
    else:
        click.echo(f"{plan.job_id}: {job.name}")
    say(f"Files of the run: {plan.folder}")
    say(
        f"https://console.cloud.google.com/vertex-ai/locations/{cloud.region}/training/{job.number}?project={cloud.project}"
    )
    if follow:
        return show_logs(cloud, job, interval=_POLLING_SECONDS, as_json=as_json)
    say(f"`lumi cloud gcp logs --job-id {plan.job_id}{where(cloud)}` shows what it does")
    return 0


def where(cloud: Cloud) -> str:
    """The options that lead another command to the same region, where it is not the default."""
    from luminoth.cloud.access import DEFAULT_REGION

    return "" if cloud.region == DEFAULT_REGION else f" --region {cloud.region}"
