"""Whose project, with which rights: settings, credentials and the clients of Google's services."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from luminoth.cloud.failures import explained
from luminoth.cloud.names import check_project
from luminoth.errors import CloudArgumentError, CloudError

DEFAULT_REGION = "us-central1"
# Other addresses of the services, for tests. Where both are on this machine, no credentials are looked for.
VERTEX_VARIABLE = "LUMI_GCP_VERTEX_ENDPOINT"
LOGGING_VARIABLE = "LUMI_GCP_LOGGING_ENDPOINT"

_PROJECT_VARIABLES = ("GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT")
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_SECONDS_TO_ANSWER = 60


@dataclass(frozen=True)
class Cloud:
    """The services of a project in a region.

    Attributes:
        project, region: as in `my-project`, `us-central1`.
        jobs: Vertex AI's `projects.locations.customJobs`.
        log_entries: Logging's `entries`.
        storage: a `google.cloud.storage.Client`.
        send_once: what to `execute` a request with that must not be sent twice.
    """

    project: str
    region: str
    jobs: Any
    log_entries: Any
    storage: Any
    send_once: Any

    @property
    def parent(self) -> str:
        return f"projects/{self.project}/locations/{self.region}"


@contextmanager
def google_libraries() -> Iterator[None]:
    """Says how to install Google's libraries where an import in the block does not find them.

    Raises:
        CloudError: they are not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise CloudError(
            f"Google's libraries are not installed (no module {error.name}): in Luminoth's source tree, "
            '`pip install ".[gcp]"`'
        ) from error


def find_project(stated: str | None, key_file: Path | None, environment: Mapping[str, str] = os.environ) -> str:
    """The project: as stated, else of GOOGLE_CLOUD_PROJECT, GCLOUD_PROJECT or the service account's key.

    Raises:
        CloudArgumentError: none of them says.
        CloudError: the key cannot be read.
    """
    named = (stated, *(environment.get(name) for name in _PROJECT_VARIABLES))
    project = next((name for name in named if name), None)
    if project is None and key_file is not None:
        project = read_key(key_file).get("project_id")
    if not project:
        raise CloudArgumentError("no project: name it with --project, or set GOOGLE_CLOUD_PROJECT")
    return check_project(project)


def read_key(path: Path) -> dict[str, Any]:
    """The content of a service account's key.

    Raises:
        CloudError: it is not there, or not a key.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CloudError(f"--credentials {path}: cannot be read: {error.strerror}") from error
    except ValueError:
        content = None
    if not isinstance(content, dict) or content.get("type") != "service_account":
        raise CloudError(
            f"--credentials {path}: is not a service account's key; accepted: the JSON file that `gcloud iam "
            "service-accounts keys create` writes"
        )
    return content


@functools.cache
def service_description(name: str, version: str) -> dict[str, Any]:
    """Google's discovery document of a service, as its library ships it; needs no network."""
    with google_libraries():
        from googleapiclient.discovery_cache import get_static_doc

    return json.loads(get_static_doc(name, version))


def check_region(region: str) -> str:
    """A region in which Vertex AI runs jobs, unchanged; by what Google's library knows, without a network.

    Raises:
        CloudArgumentError: there is none of that name.
    """
    known = sorted(endpoint["location"] for endpoint in service_description("aiplatform", "v1")["endpoints"])
    known = [name for name in known if "-" in name]  # not the continents
    if region not in known:
        raise CloudArgumentError(f"--region {region}: Vertex AI is in {', '.join(known)}")
    return region


def endpoints_are_local() -> bool:
    """Whether the services are played by something on this machine."""
    addresses = [os.environ.get(name, "") for name in (VERTEX_VARIABLE, LOGGING_VARIABLE)]
    return all(urlsplit(address).hostname in ("127.0.0.1", "localhost", "::1") for address in addresses)


def find_credentials(key_file: Path | None) -> Any:
    """The service account's of `key_file`, else the application default credentials.

    Raises:
        CloudError: there are none, or they cannot be read.
    """
    with google_libraries():
        import google.auth
        from google.auth.credentials import AnonymousCredentials
        from google.oauth2 import service_account

    if endpoints_are_local():
        return AnonymousCredentials()
    if key_file is not None:
        try:
            return service_account.Credentials.from_service_account_info(read_key(key_file), scopes=[_SCOPE])
        except ValueError as error:  # includes google.auth's own
            raise CloudError(f"--credentials {key_file}: is not a whole key: {error}") from error
    with explained("finding credentials"):
        return google.auth.default(scopes=[_SCOPE])[0]


def connect(project: str, region: str, credentials: Any) -> Cloud:
    """The clients; asks nothing of Google yet.

    Raises:
        CloudError: Google's libraries are not installed.
    """
    with google_libraries():
        import google_auth_httplib2
        import httplib2
        from google.cloud import storage
        from googleapiclient.discovery import build_from_document

    def service(name: str, version: str, variable: str, address: str) -> Any:
        http = google_auth_httplib2.AuthorizedHttp(credentials, http=httplib2.Http(timeout=_SECONDS_TO_ANSWER))
        endpoint = os.environ.get(variable) or address
        return build_from_document(
            service_description(name, version), http=http, client_options={"api_endpoint": endpoint}
        )

    vertex = service("aiplatform", "v1", VERTEX_VARIABLE, f"https://{region}-aiplatform.googleapis.com")
    logging = service("logging", "v2", LOGGING_VARIABLE, "https://logging.googleapis.com")
    return Cloud(
        project,
        region,
        jobs=vertex.projects().locations().customJobs(),
        log_entries=logging.entries(),
        storage=storage.Client(project=project, credentials=credentials),
        send_once=_SendOnce(credentials),
    )


class _SendOnce:
    """Sends a request of googleapiclient through `requests`, once.

    httplib2 sends a POST again when the connection is lost before the answer: the job would be created twice.
    """

    def __init__(self, credentials: Any) -> None:
        from google.auth.transport.requests import AuthorizedSession

        self._session = AuthorizedSession(credentials)

    def request(
        self, uri: str, method: str = "GET", body: Any = None, headers: Any = None, **_: Any
    ) -> tuple[Any, bytes]:
        """As `httplib2.Http.request`."""
        import httplib2

        answer = self._session.request(method, uri, data=body, headers=headers, timeout=_SECONDS_TO_ANSWER)
        facts = {**answer.headers, "status": answer.status_code}
        response = httplib2.Response({name.lower(): value for name, value in facts.items()})
        response.reason = answer.reason
        return response, answer.content
