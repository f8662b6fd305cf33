"""What Google's libraries raise, as a `CloudError` of one line that says what to do next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from luminoth.errors import CloudError

ENABLE_COMMAND = "gcloud services enable aiplatform.googleapis.com logging.googleapis.com storage.googleapis.com"
ROLES = (
    "who submits needs roles/aiplatform.user and roles/logging.viewer on the project, roles/storage.objectAdmin and "
    "roles/storage.legacyBucketReader on the bucket, and roles/iam.serviceAccountUser on the account the job runs as"
)
QUOTA_PAGE = "https://console.cloud.google.com/iam-admin/quotas"
LOGIN_COMMAND = "gcloud auth application-default login"


@contextmanager
def explained(action: str) -> Iterator[None]:
    """Turns what Google's libraries raise in the block into `CloudError`; `action` as in "creating the job".

    Raises:
        CloudError: says what failed, why, and what to do.
    """
    import google.auth.exceptions
    import httplib2.error
    from google.api_core import exceptions as api_errors
    from googleapiclient.errors import HttpError

    try:
        yield
    except HttpError as error:
        details = error.error_details if isinstance(error.error_details, list) else ()
        raise explain_answer(action, error.status_code, error.reason or "", details) from error
    except api_errors.GoogleAPICallError as error:  # of google-cloud-storage
        raise explain_answer(action, error.code or 0, error.message, error.details) from error
    except google.auth.exceptions.DefaultCredentialsError as error:
        raise CloudError(
            f"{action}: no credentials found; `{LOGIN_COMMAND}` makes some, or name a service account's key with "
            "--credentials"
        ) from error
    except google.auth.exceptions.TransportError as error:
        raise _unreachable(action, error) from error
    except google.auth.exceptions.GoogleAuthError as error:
        raise CloudError(
            f"{action}: the credentials are expired or revoked ({_first_line(error)}); `{LOGIN_COMMAND}` renews your "
            "own, a service account needs a new key"
        ) from error
    except (httplib2.error.HttpLib2Error, api_errors.RetryError, OSError) as error:
        raise _unreachable(action, error) from error


def explain_answer(action: str, status: int, message: str, details: Sequence[Any]) -> CloudError:
    """What an answer of HTTP status 4xx or 5xx means, and what to do.

    Args:
        action: as in "creating the job".
        status: of HTTP.
        message: Google's.
        details: of Google's error; those that are mappings with `reason` and `metadata` are used.
    """
    message = " ".join(message.split()).rstrip(".")
    facts = [detail for detail in details if isinstance(detail, Mapping)]
    reasons = {fact.get("reason") for fact in facts}
    metadata = {name: value for fact in facts for name, value in (fact.get("metadata") or {}).items()}
    # What is short is quoted as a failure of a quota too: look for it first.
    if "resources are insufficient" in message.lower():
        advice = "there is none of this machine free in the region: try another --region or --accelerator, or later"
    elif status == 401:
        advice = f"the credentials are not accepted: `{LOGIN_COMMAND}`, or --credentials"
    elif status == 403 and "SERVICE_DISABLED" in reasons:
        service = metadata.get("service", "a service")
        advice = f"{service} is not enabled in this project: `{ENABLE_COMMAND}`, then wait a few minutes"
    elif status == 403:
        permission = metadata.get("permission")
        advice = f"{f'missing permission {permission}; ' if permission else ''}{ROLES}"
    elif status == 429:
        metric = metadata.get("quota_metric") or metadata.get("quotaMetric") or _violated(facts)
        advice = f"quota{f' {metric}' if metric else ''} is used up or zero: ask for more at {QUOTA_PAGE}, or wait"
    elif status >= 500:
        advice = "Google's side failed: try again in a few minutes"
    else:
        advice = ""
    text = f"{action}: {message or 'refused'} (status {status})" + (f"; {advice}" if advice else "")
    return CloudError(text, status=status, is_passing=status == 429 or status >= 500)


def _violated(facts: Sequence[Mapping[str, Any]]) -> str:
    """The subject of a `QuotaFailure`, where that is how Google says which quota."""
    subjects = [each.get("subject") for fact in facts for each in fact.get("violations") or ()]
    return ", ".join(subject for subject in subjects if subject)


def _unreachable(action: str, error: Exception) -> CloudError:
    return CloudError(
        f"{action}: Google Cloud was not reached or the connection was lost ({_first_line(error)}); is there a "
        "network, and the region right?",
        is_passing=True,
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
