"""`TF_CONFIG`: the machines that train together, as Kubernetes' and Google Cloud's services tell each of them.

    {"cluster": {"chief": ["host:port"], "worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}

Imports no TensorFlow.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from luminoth.errors import ConfigError

_CHIEF, _WORKER = "chief", "worker"
# Names that Google Cloud and older Kubeflow give the chief.
_RENAMED = {"master": _CHIEF}
_EXAMPLE = '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}'


@dataclass(frozen=True)
class Cluster:
    """The machines that train together.

    Attributes:
        tasks: (type, index, address "host:port") of each, in the order in which TensorFlow numbers them.
        index: which of them this process is.
    """

    tasks: tuple[tuple[str, int, str], ...]
    index: int

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(address for _, _, address in self.tasks)

    def name_of(self, index: int) -> str:
        """As in `worker 1` or `the chief`: a number counts all, from 0 for the chief."""
        return "the chief" if index == 0 else f"worker {index}"

    def to_json(self) -> str:
        """A `TF_CONFIG` of these machines alone."""
        jobs: dict[str, list[str]] = {}
        for job, _, address in self.tasks:
            jobs.setdefault(job, []).append(address)
        job, index, _ = self.tasks[self.index]
        return json.dumps({"cluster": jobs, "task": {"type": job, "index": index}})


def read_cluster(text: str | None) -> Cluster | None:
    """Reads the value of `TF_CONFIG`; None where it is empty or names no machine but this one.

    A `master` counts as the chief. Without either, worker 0 is the chief. Keys beside `cluster` and `task` are left
    alone.

    Raises:
        ConfigError: it is not what it should be; says what.
    """
    if not (text or "").strip():
        return None
    try:
        content = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"TF_CONFIG: is not JSON ({error}); accepted: as in {_EXAMPLE}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"TF_CONFIG: is no mapping; accepted: as in {_EXAMPLE}")
    jobs = _read_jobs(content.get("cluster") or {})
    if not jobs:
        return None
    kind, index = _read_task(content.get("task"), jobs)
    tasks = [(job, number, address) for job in (_CHIEF, _WORKER) for number, address in enumerate(jobs.get(job, []))]
    own = next(place for place, (job, number, _) in enumerate(tasks) if (job, number) == (kind, index))
    return Cluster(tuple(tasks), own) if len(tasks) > 1 else None


def _read_jobs(cluster: Any) -> dict[str, list[str]]:
    if not isinstance(cluster, dict):
        raise ConfigError(f"TF_CONFIG: cluster is no mapping; accepted: as in {_EXAMPLE}")
    jobs: dict[str, list[str]] = {}
    for name, addresses in cluster.items():
        if not isinstance(addresses, list) or not all(_is_address(address) for address in addresses):
            raise ConfigError(
                f'TF_CONFIG: cluster.{name} is {json.dumps(addresses)}; accepted: a list of addresses "host:port"'
            )
        jobs.setdefault(_RENAMED.get(name, name), []).extend(addresses)
    if len(jobs.get(_CHIEF, [])) > 1:
        raise ConfigError(f"TF_CONFIG: cluster.chief has {len(jobs[_CHIEF])} addresses; accepted: one")
    if jobs.get("ps"):
        raise ConfigError("TF_CONFIG: cluster.ps: there are no parameter servers here; accepted: chief and worker")
    listed = [address for job in (_CHIEF, _WORKER) for address in jobs.get(job, [])]
    if len(set(listed)) < len(listed):
        raise ConfigError(f"TF_CONFIG: cluster names an address twice: {', '.join(listed)}")
    return jobs


def _read_task(task: Any, jobs: dict[str, list[str]]) -> tuple[str, int]:
    if not isinstance(task, dict) or not isinstance(task.get("type"), str):
        raise ConfigError(
            f"TF_CONFIG: has a cluster, but no task.type, which says who this process is; as in {_EXAMPLE}"
        )
    kind = _RENAMED.get(task["type"], task["type"])
    if kind == "evaluator":
        raise ConfigError(
            "TF_CONFIG: task.type: evaluator: there is no such task here. Training evaluates by itself where "
            "train.eval_every_steps is set; or run `lumi eval --watch` without TF_CONFIG"
        )
    known = [job for job in (_CHIEF, _WORKER) if jobs.get(job)]
    if kind not in known:
        raise ConfigError(
            f"TF_CONFIG: task.type: {task['type']!r} is not in the cluster; accepted: {' or '.join(known)}"
        )
    try:
        index = int(task.get("index", 0))
    except (TypeError, ValueError):
        index = -1
    if not 0 <= index < len(jobs[kind]):
        raise ConfigError(
            f"TF_CONFIG: task.index: {task.get('index')!r} is out of range; the cluster has {len(jobs[kind])} of type "
            f"{kind}, so accepted: 0 to {len(jobs[kind]) - 1}"
        )
    return kind, index


def _is_address(address: Any) -> bool:
    if not isinstance(address, str):
        return False
    host, _, port = address.rpartition(":")
    return bool(host) and port.isdigit() and 0 < int(port) < 65536
