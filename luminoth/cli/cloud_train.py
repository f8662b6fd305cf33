"""`lumi cloud gcp train`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from luminoth.cli.config_options import config_files_option, overrides_option
from luminoth.cli.terminal import say

if TYPE_CHECKING:
    from luminoth.cloud.gcp import Plan, Program
    from luminoth.cloud.job_body import Resources


@click.command()
@config_files_option()
@overrides_option("train.batch_size=2")
@click.option("--dataset", metavar="GS_DIR", help="Address of the records, gs://...; the same as -o dataset.dir=...")
@click.option("--bucket", metavar="NAME", help="By default lumi-<project>-<region>; created where it is missing.")
@click.option("--job-id", metavar="ID", help="By default train_<date>_<time>.")
@click.option("--resume", metavar="ID", help="Go on with the run of an earlier job, from its newest checkpoint.")
@click.option("--worker-count", metavar="N", type=click.IntRange(0), default=0, help="Machines beside the first.")
@click.option("--force", is_flag=True, help="With --resume: also while another job trains the same run.")
@resource_options
@place_options
def train(
    place: Place,
    files: tuple[str, ...],
    overrides: tuple[str, ...],
    dataset: str | None,
    bucket: str | None,
    job_id: str | None,
    resume: str | None,
    worker_count: int,
    force: bool,
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
    """Train in Google Cloud.

    Uploads the configuration and this Luminoth to a bucket and creates a job of Vertex AI. The run's folder there,
    gs://BUCKET/lumi_<id>, takes the place of train.job_dir. The records must be in a bucket already.

    \b
    Examples:
      lumi cloud gcp train -c config.yml --dataset gs://my-bucket/tf --dry-run
      lumi cloud gcp train -c config.yml --dataset gs://my-bucket/tf --follow
      lumi cloud gcp train -c config.yml --dataset gs://my-bucket/tf --accelerator NVIDIA_H100_80GB --strategy spot
      lumi cloud gcp train --resume train_20261031_174500
    """
    _check_usage(files, overrides, dataset, resume, force)
    from luminoth.cloud import access, gcp, names

    with usage_errors():
        project = access.find_project(place.project, place.credentials)
        named = names.parse_resource(resume) if resume else None
        region = access.check_region(named[1] if named else place.region)
        bucket = names.check_bucket(bucket or names.default_bucket(project, region))
        job_id = names.check_lumi_id(job_id or names.new_job_id(gcp.TRAIN, datetime.now(UTC)), "--job-id")
        if resume:
            names.check_job_reference(resume, "--resume")
        if resume and dry_run:
            names.check_lumi_id(resume, "--resume")
    config = None
    if resume is None:
        config = _resolve(files, overrides, dataset, f"gs://{bucket}/{names.run_prefix(job_id)}", job_id)
    resources = choose_resources(
        machine_type=machine_type, accelerator=accelerator, accelerator_count=accelerator_count, workers=worker_count,
        disk_gb=disk_gb, strategy=strategy, timeout=timeout, service_account=service_account,
    )  # fmt: skip
    program = choose_program(
        image=image, prebuilt=prebuilt, package=package, environment=environment, uploads_wheel=True
    )
    with usage_errors():
        if config is not None:
            plan = _plan_new(config, job_id, bucket, program, resources)
        elif dry_run:
            plan = gcp.plan_resumption(resume, job_id, bucket, program, resources)
    if dry_run:
        from luminoth.cli.cloud_submit import show_plan

        show_plan(plan, f"projects/{project}/locations/{region}", as_json=as_json)
        return 0
    from luminoth.cli.cloud_submit import submit_plan

    cloud = connect(place, resume)
    if resume is not None:
        run = gcp.find_run(cloud, resume)
        _warn_of_change(gcp.read_run(cloud, bucket, run), resources)
        with usage_errors():
            plan = gcp.plan_resumption(run, job_id, bucket, program, resources)
    return submit_plan(cloud, plan, force=force, follow=follow, as_json=as_json)


def _check_usage(
    files: tuple[str, ...], overrides: tuple[str, ...], dataset: str | None, resume: str | None, force: bool
) -> None:
    if resume:
        if files or overrides or dataset:
            raise click.UsageError(
                "--resume goes on with the run's own configuration: leave out --config, --override and --dataset"
            )
    elif not files:
        raise click.UsageError("Missing option '-c': name a configuration file, or with --resume a run to go on with")
    elif force:
        raise click.UsageError("--force goes with --resume: a new run has no other job")


def _resolve(
    files: tuple[str, ...], overrides: tuple[str, ...], dataset: str | None, folder: str, run_name: str
) -> Any:
    """The configuration as the job gets it: of the run's folder, with records in a bucket."""
    from luminoth.cli.checkpoint_fetch import chosen_checkpoint
    from luminoth.cloud.names import split_address
    from luminoth.training.fine_tuning import resolve_fine_tuning

    named = {"train.job_dir": folder, "dataset.dir": dataset}
    stated = [*overrides, *(f"{key}={json.dumps(value)}" for key, value in named.items() if value is not None)]
    resolved = resolve_fine_tuning(
        files,
        stated,
        find=lambda name: chosen_checkpoint(name, yes=False, offline=True),
        find_own=lambda config: None,  # a new run has none
    )
    for warning in resolved.warnings:
        say(f"Warning: {warning}")
    config = resolved.config
    if config.dataset.dir is None:
        raise click.UsageError("no data set: name the records' address with --dataset gs://BUCKET/FOLDER")
    with usage_errors():
        split_address(config.dataset.dir, "dataset.dir")
    if config.train.from_checkpoint is not None:
        _check_downloadable(config.train.from_checkpoint)
    if config.train.run_name is None:
        config = config.model_copy(update={"train": config.train.model_copy(update={"run_name": run_name})})
    return config


def _plan_new(config: Any, job_id: str, bucket: str, program: Program, resources: Resources) -> Plan:
    from luminoth.cloud.gcp import plan_training
    from luminoth.config import dump_config

    # The job downloads the checkpoint that it starts from.
    arguments = [] if config.train.from_checkpoint is None else ["--yes"]
    return plan_training(job_id, bucket, dump_config(config), program, resources, arguments=arguments)


def _check_downloadable(name: str) -> None:
    """A checkpoint that a training starts from must be one that the job gets under the same name."""
    from luminoth.checkpoints.downloadable import find_remote
    from luminoth.checkpoints.store import Store
    from luminoth.storage import is_address

    if is_address(name):
        return
    found = None if "/" in name else Store().look_up(name)
    remote = find_remote(name)
    is_remote = remote is not None and (found is None or remote.id == found.entry.id)
    if not is_remote and not (found and found.entry.is_embedded):
        raise click.UsageError(
            f"train.from_checkpoint: {name} is on this machine only; accepted: the gs:// address of a "
            "checkpoint or run, or the alias or id of a checkpoint that can be downloaded (`lumi checkpoint list`)"
        )


def _warn_of_change(facts: dict[str, Any], resources: Resources) -> None:
    before = facts.get("machine")
    if before and before != str(resources.machine):
        say(f"Warning: the run began on {before}; this job asks for {resources.machine}")
