"""From a configuration to a job in Google Cloud: a plan, which needs no network, then its submission.

A run is a folder in a bucket, `lumi_<run>/`: `config.yml`, `run.json`, `packages/<job>/` with what the job installs,
and the folder of checkpoints and curves. A run is trained by one job, and by further ones that resume it; jobs evaluate
it, too. All of them carry the labels `lumi_kind`, `lumi_job` and `lumi_run`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from luminoth.cloud import jobs
from luminoth.cloud.access import Cloud
from luminoth.cloud.bucket import ensure_bucket, exists, open_bucket, read_file, upload
from luminoth.cloud.job_body import Resources, job_body, own_image_task, own_wheel_task, prebuilt_task
from luminoth.cloud.names import run_prefix
from luminoth.cloud.packaging import BOOTSTRAP_NAME, bootstrap_script
from luminoth.errors import CloudError

CONFIG_FILE, RUN_FILE, PACKAGES = "config.yml", "run.json", "packages"
TRAIN, EVAL = "train", "eval"


@dataclass(frozen=True)
class Program:
    """What a job installs and runs.

    Attributes:
        wheel: (file name, content) to upload; None: nothing is uploaded, as for an image of the user's, or what an
            earlier job of the run has uploaded is used.
        image: the user's image, with `lumi` in it.
        prebuilt: one of Google's images, which installs the wheel; it needs one.
        environment: variables.
    """

    wheel: tuple[str, bytes] | None = None
    image: str | None = None
    prebuilt: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.prebuilt and self.wheel is None:
            raise ValueError("prebuilt without a wheel to install")


@dataclass(frozen=True)
class Plan:
    """A job that could be submitted.

    Attributes:
        kind: train or eval.
        job_id, run: the ids that `lumi` gives.
        bucket: name of the bucket.
        uploads: path in the bucket -> content, in the order in which they are written.
        required: paths that must be there already.
        starts_run: its first job, which must not find another run in its place.
        body: the request.
    """

    kind: str
    job_id: str
    run: str
    bucket: str
    uploads: Mapping[str, bytes]
    required: Sequence[str]
    starts_run: bool
    body: Mapping[str, Any]

    @property
    def folder(self) -> str:
        """The run's address."""
        return f"gs://{self.bucket}/{run_prefix(self.run)}"


def plan_training(
    job_id: str, bucket: str, config: str, program: Program, resources: Resources, *, arguments: Sequence[str] = ()
) -> Plan:
    """A new run.

    Args:
        job_id: of its first job, and of the run.
        bucket: name of the bucket.
        config: the configuration as YAML; its job_dir is the run's address, its data set's an address as well.
        program: what runs; with a wheel unless it is in an image of the user's.
        resources: on what.
        arguments: more of `lumi train`.

    Raises:
        CloudArgumentError: Google's schema does not know something as it was stated.
    """
    facts = {
        "run": job_id,
        "machine": str(resources.machine),
        "workers": resources.workers,
        "image": program.image or program.prebuilt,
        "wheel": program.wheel[0] if program.wheel else None,
    }
    prefix = run_prefix(job_id)
    files = {
        f"{prefix}/{CONFIG_FILE}": config.encode(),
        f"{prefix}/{RUN_FILE}": (json.dumps(facts, indent=2) + "\n").encode(),
    }
    return _plan(TRAIN, job_id, job_id, bucket, arguments, program, resources, files)


def plan_resumption(
    run: str, job_id: str, bucket: str, program: Program, resources: Resources, *, arguments: Sequence[str] = ()
) -> Plan:
    """Another job that goes on with a run, from its newest checkpoint; arguments as for `plan_training`."""
    return _plan(TRAIN, job_id, run, bucket, arguments, program, resources)


def plan_evaluation(run: str, job_id: str, bucket: str, split: str, program: Program, resources: Resources) -> Plan:
    """An evaluation of a run's newest checkpoint on a split.

    Without a wheel or an image in `program` it uses what the run's first job has installed.
    """
    return _plan(EVAL, job_id, run, bucket, ["--split", split], program, resources)


def submit(
    cloud: Cloud,
    plan: Plan,
    *,
    force: bool = False,
    on_step: Callable[[str], None] = lambda text: None,
) -> jobs.Job:
    """Uploads what a plan needs and creates its job.

    Args:
        cloud: the services.
        plan: it.
        force: also beside another training of the same run. Both write to one folder, which spoils it unless the other
            is about to end.
        on_step: is told what is done, a line each.

    Raises:
        CloudError: it was not created. What was uploaded stays, and the message names it.
    """
    if jobs.find_labelled(cloud, "lumi_job", plan.job_id):
        raise CloudError(f"--job-id {plan.job_id}: there is such a job already; choose another id")
    if plan.kind == TRAIN and not plan.starts_run and not force:
        _check_none_trains(cloud, plan.run)
    bucket = _prepare_bucket(cloud, plan, on_step)
    for path, content in plan.uploads.items():
        on_step(f"Uploading gs://{plan.bucket}/{path} ({readable_size(len(content))})")
        upload(bucket, path, content)
    try:
        return jobs.create_job(cloud, plan.body)
    except CloudError as error:
        stays = f"; what was uploaded stays in {plan.folder}" if plan.uploads else ""
        again = f": --resume {plan.run} submits it again" if plan.starts_run else ""
        raise CloudError(f"{error}{stays}{again}", status=error.status) from error


def find_run(cloud: Cloud, reference: str) -> str:
    """The id of the run that a job belongs to; `reference` names the job as for `find_job`, or the run.

    Raises:
        CloudError: there is no such job, or `lumi` has not submitted it.
    """
    if not reference[0].isdecimal() and "/" not in reference:
        found = jobs.find_labelled(cloud, "lumi_job", reference)
        # Jobs may have been deleted; their files stay.
        return found[0].labels.get("lumi_run", reference) if found else reference
    job = jobs.find_job(cloud, reference)
    if "lumi_run" not in job.labels:
        raise CloudError(f"{job.name}: was not submitted by `lumi cloud gcp train`: it has no label lumi_run")
    return job.labels["lumi_run"]


def read_run(cloud: Cloud, bucket: str, run: str) -> dict[str, Any]:
    """The facts about a run that its first job has left, or nothing.

    Raises:
        CloudError: there is no such bucket, or it cannot be read.
    """
    content = read_file(open_bucket(cloud, bucket), f"{run_prefix(run)}/{RUN_FILE}")
    try:
        facts = json.loads(content or b"{}")
    except ValueError:
        facts = None
    return facts if isinstance(facts, dict) else {}


def readable_size(size: int) -> str:
    """Bytes, as in `2.4 MB`."""
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB" if size >= 1e3 else f"{size} bytes"


def _plan(
    kind: str,
    job_id: str,
    run: str,
    bucket: str,
    arguments: Sequence[str],
    program: Program,
    resources: Resources,
    first_files: Mapping[str, bytes] | None = None,
) -> Plan:
    """`first_files`: those of a run that begins, path -> content; None: it has begun."""
    config = f"{run_prefix(run)}/{CONFIG_FILE}"
    # Each job has packages of its own: those of an earlier one may still be installed by a machine that starts again.
    packages = f"{run_prefix(run)}/{PACKAGES}/{job_id if program.wheel else run}"
    uploads, required = _packages_of(program, packages)
    if first_files is None:
        required = [config, *required]
    command = [kind, "-c", f"gs://{bucket}/{config}", *arguments]
    task = _task_of(program, f"{bucket}/{packages}", command, gpu=resources.machine.accelerator is not None)
    body = job_body(job_id, kind, run, bucket, task, resources)
    return Plan(kind, job_id, run, bucket, {**(first_files or {}), **uploads}, required, first_files is not None, body)


def _packages_of(program: Program, folder: str) -> tuple[dict[str, bytes], list[str]]:
    """(what is uploaded into a folder for a program to be installed from, what must be there already)."""
    if program.image:
        return {}, []
    if program.wheel is None:
        return {}, [f"{folder}/{BOOTSTRAP_NAME}"]
    name, content = program.wheel
    uploads = {f"{folder}/{name}": content}
    return (uploads if program.prebuilt else {**uploads, f"{folder}/{BOOTSTRAP_NAME}": bootstrap_script()}), []


def _task_of(program: Program, packages: str, command: Sequence[str], *, gpu: bool) -> dict[str, Any]:
    if program.image:
        return own_image_task(program.image, command, program.environment)
    if program.prebuilt and program.wheel:
        return prebuilt_task(program.prebuilt, f"gs://{packages}/{program.wheel[0]}", command, program.environment)
    return own_wheel_task(packages, command, program.environment, gpu=gpu)


def _check_none_trains(cloud: Cloud, run: str) -> None:
    going = [
        job
        for job in jobs.find_labelled(cloud, "lumi_run", run)
        if job.labels.get("lumi_kind") == TRAIN and not job.is_over
    ]
    if going:
        job = going[0]
        raise CloudError(
            f"{run}: {job.display_name} ({job.number}) is training it ({job.state}), and two jobs that write to one "
            f"run spoil it; `lumi cloud gcp cancel --job-id {job.number}` ends that one, --force submits all the same"
        )


def _prepare_bucket(cloud: Cloud, plan: Plan, on_step: Callable[[str], None]) -> Any:
    if not plan.starts_run:
        bucket = open_bucket(cloud, plan.bucket)
        for path in plan.required:
            if not exists(bucket, path):
                advice = (
                    "--rebuild uploads one" if path.endswith(BOOTSTRAP_NAME) else "is that the run's id and bucket?"
                )
                raise CloudError(f"gs://{plan.bucket}/{path}: there is no such file; {advice}")
        return bucket
    bucket, is_new = ensure_bucket(cloud, plan.bucket)
    if is_new:
        on_step(f"Created the bucket gs://{plan.bucket} in {cloud.region}")
    elif exists(bucket, f"{run_prefix(plan.run)}/{CONFIG_FILE}"):
        raise CloudError(
            f"{plan.folder}: a run of that id has its files there; --resume {plan.run} goes on with it, another "
            "--job-id starts another one"
        )
    return bucket
