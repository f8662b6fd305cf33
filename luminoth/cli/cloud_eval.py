"""`lumi cloud gcp eval`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from luminoth.cli.cloud_options import (
    Place,
    choose_program,
    choose_resources,
    connect,
    place_options,
    resource_options,
    usage_errors,
)


@click.command("eval")
@click.option(
    "--train-folder", metavar="RUN", required=True,
    help="The run: its folder gs://BUCKET/lumi_<id>, or its id together with --bucket.",
)  # fmt: skip
@click.option("--split", default="val", show_default=True, help="Which records: <split>.tfrecords.")
@click.option("--bucket", metavar="NAME", help="By default that of --train-folder, else lumi-<project>-<region>.")
@click.option("--job-id", metavar="ID", help="By default eval_<date>_<time>.")
@click.option("--rebuild", is_flag=True, help="Upload this Luminoth instead of using the one the training installed.")
@resource_options
@place_options
def eval_(
    place: Place,
    train_folder: str,
    split: str,
    bucket: str | None,
    job_id: str | None,
    rebuild: bool,
    machine_type: str | None,
    accelerator: str | None,
    accelerator_count: int | None,
    image: str | None,
    prebuilt: str | None,
    package: Path | None,
    service_account: str | None,
    strategy: str,
    timeout: str,
    disk_gb: int,
    environment: tuple[str, ...],
    follow: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Evaluate a run's newest checkpoint in Google Cloud.

    The result is in the job's logs, and in the run's folder as that of `lumi eval`.

    \b
    Examples:
      lumi cloud gcp eval --train-folder gs://my-bucket/lumi_train_20261031_174500 --dry-run
      lumi cloud gcp eval --train-folder train_20261031_174500 --split test --follow
    """
    from luminoth.cloud import access, gcp, names

    with usage_errors():
        project = access.find_project(place.project, place.credentials)
        region = access.check_region(place.region)
        named_bucket, run = names.parse_run(train_folder, "--train-folder")
        if bucket and named_bucket and names.check_bucket(bucket) != named_bucket:
            raise click.UsageError(f"--train-folder {train_folder} is not in --bucket {bucket}: leave one of them out")
        bucket = named_bucket or names.check_bucket(bucket or names.default_bucket(project, region))
        job_id = names.check_lumi_id(job_id or names.new_job_id(gcp.EVAL, datetime.now(UTC)), "--job-id")
    resources = choose_resources(
        machine_type=machine_type, accelerator=accelerator, accelerator_count=accelerator_count, workers=0,
        disk_gb=disk_gb, strategy=strategy, timeout=timeout, service_account=service_account,
    )  # fmt: skip
    program = choose_program(
        image=image, prebuilt=prebuilt, package=package, environment=environment, uploads_wheel=rebuild
    )
    with usage_errors():
        plan = gcp.plan_evaluation(run, job_id, bucket, split, program, resources)
    from luminoth.cli.cloud_submit import show_plan, submit_plan

    if dry_run:
        show_plan(plan, f"projects/{project}/locations/{region}", as_json=as_json)
        return 0
    return submit_plan(connect(place), plan, force=False, follow=follow, as_json=as_json)
