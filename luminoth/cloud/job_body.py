"""The request for a custom job of Vertex AI, and the check of a request against Google's own schema."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from luminoth.cloud.access import service_description
from luminoth.cloud.machines import Machine
from luminoth.cloud.names import run_prefix
from luminoth.errors import CloudArgumentError

PLAIN_IMAGE = "python:3.12-slim"
STRATEGIES = {"standard": "STANDARD", "spot": "SPOT", "flex-start": "FLEX_START"}

_CUSTOM_JOB = "GoogleCloudAiplatformV1CustomJob"
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PYTHON_TYPES = {"string": str, "integer": int, "number": (int, float), "boolean": bool}


@dataclass(frozen=True)
class Resources:
    """What a job runs on.

    Attributes:
        machine: each of its machines.
        workers: how many beside the chief.
        disk_gb: of each machine.
        strategy: a key of `STRATEGIES`.
        timeout: after which it is stopped.
        service_account: it runs as; None: the project's default for Vertex AI.
    """

    machine: Machine
    workers: int = 0
    disk_gb: int = 100
    strategy: str = "standard"
    timeout: timedelta = timedelta(days=7)
    service_account: str | None = None


def own_wheel_task(
    folder: str, arguments: Sequence[str], environment: Mapping[str, str], *, gpu: bool
) -> dict[str, Any]:
    """The uploaded wheel in a plain image of Python.

    Args:
        folder: `bucket/path` that holds the wheel and `bootstrap.sh`. Vertex AI mounts buckets at `/gcs`.
        arguments: of `lumi`.
        environment: variables.
        gpu: install TensorFlow with CUDA.
    """
    extra = {"LUMI_EXTRA": "[gpu]"} if gpu else {}
    return {
        "containerSpec": {
            "imageUri": PLAIN_IMAGE,
            "command": ["bash", f"/gcs/{folder}/bootstrap.sh"],
            "args": list(arguments),
            **_variables({**extra, **environment}),
        }
    }


def own_image_task(image: str, arguments: Sequence[str], environment: Mapping[str, str]) -> dict[str, Any]:
    """An image of the user's, in which `lumi` is installed."""
    spec = {"imageUri": image, "command": ["lumi"], "args": list(arguments), **_variables(environment)}
    return {"containerSpec": spec}


def prebuilt_task(image: str, wheel: str, arguments: Sequence[str], environment: Mapping[str, str]) -> dict[str, Any]:
    """One of Google's training images, which installs the wheel at a `gs://` address and runs it as a module."""
    return {
        "pythonPackageSpec": {
            "executorImageUri": image,
            "packageUris": [wheel],
            "pythonModule": "luminoth.cli",
            "args": list(arguments),
            **_variables(environment),
        }
    }


def job_body(
    job_id: str, kind: str, run: str, bucket: str, task: Mapping[str, Any], resources: Resources
) -> dict[str, Any]:
    """The request that creates a job.

    Args:
        job_id: the id that `lumi` gives it; its display name and a label.
        kind: train or eval.
        run: the id of the run it belongs to.
        bucket: where the run's folder is.
        task: what each machine runs, from one of the functions above.
        resources: on what.

    Raises:
        CloudArgumentError: Google's schema does not know it so, as an accelerator that does not exist.
    """
    pool = {
        "machineSpec": resources.machine.spec(),
        # The type of the disk is left to Vertex AI: newer machines do not take that of the older ones.
        "diskSpec": {"bootDiskSizeGb": resources.disk_gb},
        **task,
    }
    # Pool 0 is the chief, pool 1 the workers.
    replicas = [1, resources.workers] if resources.workers else [1]
    scheduling: dict[str, Any] = {
        "timeout": f"{round(resources.timeout.total_seconds())}s",
        "strategy": STRATEGIES[resources.strategy],
    }
    if resources.workers:  # a training never goes on with fewer workers: all of them start again and meet anew
        scheduling["restartJobOnWorkerRestart"] = True
    spec: dict[str, Any] = {
        "workerPoolSpecs": [{**pool, "replicaCount": str(count)} for count in replicas],
        "scheduling": scheduling,
        "baseOutputDirectory": {"outputUriPrefix": f"gs://{bucket}/{run_prefix(run)}"},
    }
    if resources.service_account:
        spec["serviceAccount"] = resources.service_account
    labels = {"lumi_kind": kind, "lumi_job": job_id, "lumi_run": run}
    body = {"displayName": job_id, "labels": labels, "jobSpec": spec}
    check_body(service_description("aiplatform", "v1"), _CUSTOM_JOB, body)
    return body


def parse_environment(assignments: Sequence[str]) -> dict[str, str]:
    """`NAME=VALUE` each; the value may contain `=`.

    Raises:
        CloudArgumentError: one is not.
    """
    environment = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or not _ENVIRONMENT_NAME.fullmatch(name):
            raise CloudArgumentError(f"--env {assignment}: accepted: NAME=VALUE")
        environment[name] = value
    return environment


def check_body(description: Mapping[str, Any], schema: str, body: Any) -> None:
    """Holds a request against a schema of a discovery document; Google's client does not.

    Args:
        description: the discovery document.
        schema: a name in it.
        body: plain values.

    Raises:
        CloudArgumentError: names the place in the request, what is there and what is accepted.
    """
    _check(description["schemas"], description["schemas"][schema], body, schema.rpartition("V1")[2] or schema)


def _check(schemas: Mapping[str, Any], schema: Mapping[str, Any], value: Any, place: str) -> None:
    if "$ref" in schema:
        schema = schemas[schema["$ref"]]
    kind = schema.get("type")
    if kind == "object":
        _expect(isinstance(value, dict), place, value, "a mapping")
        known, others = schema.get("properties", {}), schema.get("additionalProperties")
        for name, each in value.items():
            below = known.get(name, others)
            _expect(below is not None, f"{place}.{name}", each, f"{', '.join(known)}")
            _expect(not below.get("readOnly"), f"{place}.{name}", each, "nothing: Google sets it")
            _check(schemas, below, each, f"{place}.{name}")
    elif kind == "array":
        _expect(isinstance(value, list), place, value, "a list")
        for index, each in enumerate(value):
            _check(schemas, schema["items"], each, f"{place}[{index}]")
    elif schema.get("format") == "int64":  # JSON has no such numbers: they are texts
        _expect(re.fullmatch(r"-?\d+", str(value)) is not None, place, value, "a whole number")
    elif kind in _PYTHON_TYPES:
        is_kind = isinstance(value, _PYTHON_TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))
        _expect(is_kind, place, value, f"a value of type {kind}")
        choices = schema.get("enum")
        _expect(not choices or value in choices, place, value, ", ".join(choices or ()))


def _expect(is_right: bool, place: str, value: Any, accepted: str) -> None:
    if not is_right:
        raise CloudArgumentError(f"the request's {place} is {value!r}; accepted: {accepted}")


def _variables(environment: Mapping[str, str]) -> dict[str, Any]:
    return {"env": [{"name": name, "value": value} for name, value in environment.items()]} if environment else {}
