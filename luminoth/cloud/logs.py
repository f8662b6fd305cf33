"""What a job writes, line by line, as Cloud Logging has it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from luminoth.cloud.access import Cloud
from luminoth.cloud.failures import explained
from luminoth.cloud.jobs import RETRIES, Job, get_job
from luminoth.errors import CloudError

SEVERITIES = ("DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL", "ALERT", "EMERGENCY")
# 60 requests a minute are allowed to all of a project.
SHORTEST_INTERVAL_SECONDS = 5.0

_PAGE = 1000
_SECONDS_BETWEEN_PAGES = 1.0
_QUIET_POLLS = 2  # lines arrive some time after they were written
_MOST_FAILURES = 5


@dataclass(frozen=True)
class LogEntry:
    """A line.

    Attributes:
        time: as Google has it, `2026-10-31T17:45:00.123456789Z`.
        insert_id: orders lines of one time.
        severity: one of `SEVERITIES`, or DEFAULT.
        task: as in `workerpool0-0`, the chief; empty: the service itself.
        message: the line.
    """

    time: str
    insert_id: str
    severity: str
    task: str
    message: str


@dataclass(frozen=True)
class LogQuery:
    """Which lines of a job.

    Attributes:
        job_number: the job's.
        task: of this task alone, as in `workerpool0-0`.
        severity: of this severity or a higher one.
        since: written then or later.
    """

    job_number: str
    task: str | None = None
    severity: str | None = None
    since: datetime | None = None

    def filter(self, last: LogEntry | None) -> str:
        """In Logging's language: what comes after `last`, in the order of time and insert id."""
        parts = ['resource.type="ml_job"', f'resource.labels.job_id="{self.job_number}"']
        if self.task:
            parts.append(f'resource.labels.task_name="{self.task}"')
        if self.severity:
            parts.append(f"severity>={self.severity}")
        if last is not None:
            # Many lines have one time: going on behind the time would lose some, going on at it repeat some.
            parts.append(f'((timestamp="{last.time}" AND insertId>"{last.insert_id}") OR timestamp>"{last.time}")')
        elif self.since is not None:
            parts.append(f'timestamp>="{self.since.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"')
        return " AND ".join(parts)


def read_logs(cloud: Cloud, query: LogQuery, last: LogEntry | None = None) -> Iterator[LogEntry]:
    """The lines there are now after `last`, oldest first.

    Raises:
        CloudError: they cannot be read.
    """
    body: dict[str, Any] = {
        "resourceNames": [f"projects/{cloud.project}"],
        "filter": query.filter(last),
        "orderBy": "timestamp asc",
        "pageSize": _PAGE,
    }
    while True:
        with explained(f"reading the logs of job {query.job_number}"):
            answer = cloud.log_entries.list(body=body).execute(num_retries=RETRIES)
        yield from (read_entry(entry) for entry in answer.get("entries", ()))
        if not answer.get("nextPageToken"):
            return
        body = {**body, "pageToken": answer["nextPageToken"]}
        time.sleep(_SECONDS_BETWEEN_PAGES)


def follow_logs(
    cloud: Cloud,
    job: Job,
    query: LogQuery,
    *,
    interval: float,
    on_state: Callable[[Job], None] = lambda job: None,
    on_failure: Callable[[CloudError], None] = lambda error: None,
) -> Iterator[LogEntry]:
    """The lines of a job, as they come, until it is over and nothing more comes.

    Failures that will pass are told and followed by another try, up to five in a row.

    Args:
        cloud: the services.
        job: it.
        query: which lines.
        interval: seconds between two looks.
        on_state: is given the job when its state is another one, and at the start.
        on_failure: is given what went wrong where following goes on.

    Raises:
        CloudError: they cannot be read.
    """
    last: LogEntry | None = None
    state, quiet, failures = "", 0, 0
    while quiet < _QUIET_POLLS:
        try:
            # Asked before the lines: what was written before the end is there when the end is seen.
            job = get_job(cloud, job.name)
            if job.state != state:
                state = job.state
                on_state(job)
            is_quiet = True
            for entry in read_logs(cloud, query, last):
                is_quiet, last = False, entry
                yield entry
            failures = 0
            quiet = quiet + 1 if is_quiet and job.is_over else 0
        except CloudError as error:
            failures += 1
            if not error.is_passing or failures > _MOST_FAILURES:
                raise
            on_failure(error)
        if quiet < _QUIET_POLLS:
            time.sleep(max(interval, SHORTEST_INTERVAL_SECONDS))


def read_entry(entry: Mapping[str, Any]) -> LogEntry:
    """An entry of Logging's answer."""
    payload = entry.get("jsonPayload", {})
    message = payload.get("message", entry.get("textPayload"))
    if message is None:
        message = json.dumps(payload or entry.get("protoPayload", {}), ensure_ascii=False, sort_keys=True)
    labels = {**entry.get("resource", {}).get("labels", {}), **entry.get("labels", {})}
    return LogEntry(
        time=entry.get("timestamp", ""),
        insert_id=entry.get("insertId", ""),
        severity=entry.get("severity", "DEFAULT"),
        task=labels.get("task_name", ""),
        message=str(message).rstrip("\n"),
    )
