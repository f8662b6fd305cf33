"""Jobs of Vertex AI: create exactly one, find, list, cancel, delete."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from luminoth.cloud.access import Cloud
from luminoth.cloud.failures import explained
from luminoth.cloud.names import parse_resource
from luminoth.errors import CloudError

# What Google's client does about answers that will pass, by itself; for requests that may be sent twice.
RETRIES = 3

_OVER = {"SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED", "PARTIALLY_SUCCEEDED"}
_PAGE = 100
_MOST_ATTEMPTS = 3
_SECONDS_BEFORE_LOOKING = 5.0  # what was just created may not be listed at once


@dataclass(frozen=True)
class Job:
    """A custom job as Vertex AI describes it.

    Attributes:
        content: all of the description.
    """

    content: Mapping[str, Any]

    @property
    def name(self) -> str:
        """`projects/.../locations/.../customJobs/<number>`."""
        return self.content["name"]

    @property
    def number(self) -> str:
        return self.name.rpartition("/")[2]

    @property
    def display_name(self) -> str:
        return self.content.get("displayName", "")

    @property
    def labels(self) -> Mapping[str, str]:
        return self.content.get("labels", {})

    @property
    def state(self) -> str:
        """As in `RUNNING`."""
        return self.content.get("state", "JOB_STATE_UNSPECIFIED").removeprefix("JOB_STATE_")

    @property
    def is_over(self) -> bool:
        return self.state in _OVER

    @property
    def succeeded(self) -> bool:
        return self.state == "SUCCEEDED"

    @property
    def created(self) -> datetime | None:
        return _moment(self.content.get("createTime"))

    @property
    def started(self) -> datetime | None:
        """When its container first ran."""
        return _moment(self.content.get("startTime"))

    @property
    def ended(self) -> datetime | None:
        return _moment(self.content.get("endTime"))

    @property
    def error(self) -> str:
        """Why it failed, in Google's words; empty where it did not."""
        return self.content.get("error", {}).get("message", "")


def create_job(cloud: Cloud, body: Mapping[str, Any]) -> Job:
    """Creates a job, once, whatever happens on the way.

    Creating is not idempotent. So nothing is sent again blindly: after a failure of Google's side or of the connection
    the jobs with the request's label `lumi_job` are listed, and only if there is none the request is sent again. Should
    there be two in the end, since what is listed may lag behind, all but the first are cancelled.

    Args:
        cloud: the services.
        body: from `job_body`.

    Raises:
        CloudError: Google refuses it, or could not be asked what became of it.
    """
    job_id = body["labels"]["lumi_job"]
    for attempt in range(_MOST_ATTEMPTS):
        try:
            with explained(f"creating the job {job_id}"):
                answer = cloud.jobs.create(parent=cloud.parent, body=body).execute(http=cloud.send_once)
        except CloudError as error:
            # 429 was not done, and will not be a few seconds later.
            if not error.is_passing or error.status == 429:
                raise
            time.sleep(_SECONDS_BEFORE_LOOKING)
            found = _created_as(cloud, job_id, error)
            if found:
                return found
            if attempt == _MOST_ATTEMPTS - 1:
                raise
            continue
        return Job(answer) if attempt == 0 else _keep_first(cloud, job_id, Job(answer))
    raise AssertionError("the last attempt returns or raises")


def find_jobs(cloud: Cloud, filter: str | None = None) -> list[Job]:
    """All jobs of the project in the region, or those that a filter of Vertex AI chooses; newest first.

    Raises:
        CloudError: they cannot be listed.
    """
    found, token = [], None
    while True:
        with explained(f"listing jobs in {cloud.region}"):
            request = cloud.jobs.list(parent=cloud.parent, filter=filter, pageSize=_PAGE, pageToken=token)
            answer = request.execute(num_retries=RETRIES)
        found += [Job(each) for each in answer.get("customJobs", ())]
        token = answer.get("nextPageToken")
        if not token:
            # The service has no order of its own to ask for.
            return sorted(found, key=lambda job: job.content.get("createTime", ""), reverse=True)


def find_labelled(cloud: Cloud, label: str, value: str) -> list[Job]:
    """The jobs with a label (`lumi_job`, `lumi_run`), newest first.

    Raises:
        CloudError: they cannot be listed.
    """
    return find_jobs(cloud, f"labels.{label}={value}")


def find_job(cloud: Cloud, reference: str) -> Job:
    """The job that a user named: by its number, its full name, or the id `lumi` gave it.

    Raises:
        CloudError: there is none.
    """
    resource = parse_resource(reference)
    number = resource[2] if resource else reference
    if number.isdecimal():
        return get_job(cloud, reference if resource else f"{cloud.parent}/customJobs/{number}")
    found = find_labelled(cloud, "lumi_job", reference)
    if not found:
        raise CloudError(
            f"--job-id {reference}: there is no such job in {cloud.project}, {cloud.region}; `lumi cloud gcp jobs` "
            "lists them, and another region has others"
        )
    return found[0]


def get_job(cloud: Cloud, name: str) -> Job:
    """The job of a full name, as it is now.

    Raises:
        CloudError: there is none.
    """
    with explained(f"looking at the job {name.rpartition('/')[2]} in {cloud.region}"):
        return Job(cloud.jobs.get(name=name).execute(num_retries=RETRIES))


def cancel_job(cloud: Cloud, job: Job) -> None:
    """Asks for a job's end; it is over some time later.

    Raises:
        CloudError: it is over already, or may not be cancelled.
    """
    if job.is_over:
        raise CloudError(f"{job.display_name} ({job.number}) is over ({job.state}): there is nothing to cancel")
    with explained(f"cancelling the job {job.number}"):
        cloud.jobs.cancel(name=job.name, body={}).execute(num_retries=RETRIES)


def delete_job(cloud: Cloud, job: Job) -> None:
    """Removes a job that is over from the list; its files and logs stay.

    Raises:
        CloudError: it is not over, or may not be deleted.
    """
    if not job.is_over:
        raise CloudError(
            f"{job.display_name} ({job.number}) is {job.state}: only a job that is over can be deleted; "
            f"`lumi cloud gcp cancel --job-id {job.number}` ends it"
        )
    with explained(f"deleting the job {job.number}"):
        cloud.jobs.delete(name=job.name).execute(num_retries=RETRIES)


def _created_as(cloud: Cloud, job_id: str, failure: CloudError) -> Job | None:
    try:
        found = find_labelled(cloud, "lumi_job", job_id)
    except CloudError as error:
        raise CloudError(
            f"{failure}; whether the job exists could not be found out ({error}): look with `lumi cloud gcp jobs` "
            "before you submit again"
        ) from failure
    return found[-1] if found else None


def _keep_first(cloud: Cloud, job_id: str, created: Job) -> Job:
    found = find_labelled(cloud, "lumi_job", job_id) or [created]
    *later, first = found
    for job in later:
        if not job.is_over:
            cancel_job(cloud, job)
    return first


def _moment(text: str | None) -> datetime | None:
    """A time as Google writes it, with up to nine digits of a second."""
    if not text:
        return None
    whole, _, fraction = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{whole}.{fraction[:6]:0<6}").replace(tzinfo=UTC)
