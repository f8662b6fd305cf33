"""Where the training runs: devices, machines, and how the work is spread over them.

A *worker* is a process with the devices of its machine; a *replica* is the model on one device. Worker 0 is the chief:
it alone writes and reports. Where `TF_CONFIG` names several machines, each of them runs the same command.
"""

from __future__ import annotations

import os
import signal
import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from luminoth.errors import ConfigError, TrainingError, WorkerError
from luminoth.training.workers.cluster import Cluster, read_cluster
from luminoth.training.workers.rendezvous import is_listening, meet

# How TensorFlow says that a worker does not answer: its connection broke, its heartbeat stopped (after some ten
# seconds), or what it sent was no part of the step.
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.DeadlineExceededError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.InternalError,
)


@dataclass(frozen=True)
class Workers:
    """All processes of a training, as one of them sees them.

    Attributes:
        strategy: what model, optimizer and batches are made under.
        cluster: the machines; None for one alone.
        note: what a person should know of the choice of devices; empty: nothing.
    """

    strategy: tf.distribute.Strategy
    cluster: Cluster | None = None
    note: str = ""

    @property
    def count(self) -> int:
        return 1 if self.cluster is None else len(self.cluster.addresses)

    @property
    def index(self) -> int:
        """Which worker this process is, from 0."""
        return 0 if self.cluster is None else self.cluster.index

    @property
    def is_chief(self) -> bool:
        """Whether this process writes checkpoints, curves and reports."""
        return self.index == 0

    @property
    def replicas(self) -> int:
        """Of all workers together."""
        return self.strategy.num_replicas_in_sync

    @property
    def local_replicas(self) -> int:
        return self.replicas // self.count

    def divide_batch(self, train: Any) -> Any:
        """The section `train` with a global `batch_size` that all replicas can share.

        Raises:
            ConfigError: they cannot.
        """
        size = train.batch_size
        if not isinstance(size, int):
            raise ConfigError(f"train.batch_size: {size} cannot be found out for {self.count} workers; state a number")
        if train.batch_size_per == "replica":
            return train.model_copy(update={"batch_size": size * self.replicas, "batch_size_per": "global"})
        if size % self.replicas:
            raise ConfigError(
                f"train.batch_size: {size} images cannot be divided among {self.replicas} devices; accepted: a "
                f"multiple of {self.replicas}, or train.batch_size_per: replica with the images of one device"
            )
        return train

    def describe(self, train: Any) -> str:
        """Devices, workers and batch in words, as in `2 workers with 4 GPUs each, 2 of 16 images on each GPU`."""
        device = _describe_local(self.local_replicas)
        words = device if self.count == 1 else f"{self.count} workers, each with {device}"
        if self.replicas > 1:
            words += f"; {train.batch_size // self.replicas} of the batch's {train.batch_size} images on each device"
        if train.accumulate_steps > 1:
            words += f"; {train.accumulate_steps} batches a step"
        return words + (f" ({self.note})" if self.note else "")

    def gather(self, numbers: Sequence[float]) -> np.ndarray:
        """Some numbers of each worker, on all of them: [count, len(numbers)] float64. Waits for the slowest."""
        if self.count == 1:
            return np.array([numbers], np.float64)
        rows = np.zeros((self.count, len(numbers)), np.float64)
        rows[self.index] = numbers
        with self.losses_explained():
            summed = _sum_over_replicas(self.strategy, tf.constant(rows)).numpy()
        return summed / self.local_replicas

    def from_chief(self, numbers: Sequence[float]) -> list[float]:
        """The chief's numbers, on all workers."""
        return self.gather(numbers)[0].tolist()

    def check_equal(self, facts: Mapping[str, Any], advice: str) -> None:
        """Makes sure that all workers have the same.

        Args:
            facts: what is compared, under its name in words.
            advice: what a person can do.

        Raises:
            TrainingError: on all workers; names the one that differs, and in what.
        """
        checks = self.gather([zlib.crc32(repr(fact).encode()) for fact in facts.values()])
        differences = [
            f"worker {index} ({self.cluster.addresses[index]}) has other {', '.join(names)} than the chief"
            for index, row in enumerate(checks)
            if (names := [name for name, own, chiefs in zip(facts, row, checks[0], strict=True) if own != chiefs])
        ]
        if differences:
            raise TrainingError(f"{'; '.join(differences)}. {advice}")

    def wait_for_all(self) -> None:
        """Returns when all workers are here: who ends early would take TensorFlow's service from the others."""
        try:
            self.gather([0.0])  # (to sum up an empty tensor ends the process, on TensorFlow 2.21)
        except WorkerError:
            if not self.is_chief:  # who has saved everything misses nobody
                raise

    @contextmanager
    def losses_explained(self) -> Iterator[None]:
        """Turns TensorFlow's errors about a worker that is gone into one that names it.

        Raises:
            WorkerError: in the place of the former.
        """
        try:
            yield
        except _LOST as error:
            if self.count == 1:
                raise
            raise WorkerError(self._explain_loss(error)) from error

    def _explain_loss(self, error: tf.errors.OpError) -> str:
        addresses = self.cluster.addresses
        others = [index for index in range(self.count) if index != self.index]
        silent = [index for index in others if not is_listening(addresses[index])]
        named = ", ".join(f"{self.cluster.name_of(index)} ({addresses[index]})" for index in silent or others)
        if silent:
            return f"lost {named}: the process has ended, or its machine cannot be reached"
        reason = (error.message or type(error).__name__).strip().splitlines()[0][:200]
        return f"no step with {named} can be made any more: {reason}"


def join_workers(train: Any) -> Workers:
    """Finds the devices that are to train, and the other machines, where there are any; waits for these.

    To be called before TensorFlow has computed anything.

    Args:
        train: `config.train`.

    Raises:
        ConfigError: `TF_CONFIG` is not as it should be, or the devices cannot share the batch.
        WorkerError: another worker has not come in time.
    """
    cluster = read_cluster(os.environ.get("TF_CONFIG")) if train.strategy in ("auto", "multi_worker") else None
    if cluster is None:
        if train.strategy == "multi_worker":
            raise ConfigError(
                "train.strategy: multi_worker, but the environment variable TF_CONFIG names no other machine; see "
                "docs/distributed.md"
            )
        strategy, note = _local_strategy(train)
        workers = Workers(strategy, None, note)
    else:
        meet(cluster.addresses, cluster.index, timeout=train.wait_for_workers_secs, name="TF_CONFIG")
        workers = Workers(_multi_worker_strategy(cluster), cluster)
    if train.xla and workers.replicas > 1:
        raise ConfigError(
            f"train.xla: true compiles for one device, and {workers.replicas} train; set it to false, or "
            "train.strategy to one_device"
        )
    return workers


def make_strategy(train: Any = None) -> tf.distribute.Strategy:
    """The strategy for this machine alone: one device, or the GPUs that `config.train` asks for.

    GPU memory is taken as it is needed, not all at once, so that an evaluation fits beside a training.
    """
    if train is not None:
        return _local_strategy(train)[0]
    _take_memory_as_needed()
    return tf.distribute.get_strategy()


def describe_device() -> str:
    """The device the default strategy uses, in words for a person."""
    return _describe_local(1)


def weights_checksum(variables: Sequence[Any]) -> int:
    """One number for the values of all variables, to the last bit."""
    checksum = 0
    for variable in variables:
        checksum = zlib.crc32(np.ascontiguousarray(variable.numpy()).tobytes(), checksum)
    return checksum


def _local_strategy(train: Any) -> tuple[tf.distribute.Strategy, str]:
    """One device or several of this machine, and what a person should know of the choice."""
    _take_memory_as_needed()
    # Logical ones: a machine's CPU can be divided into several, which tests do.
    kind = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    devices = [device.name for device in tf.config.list_logical_devices(kind)]
    if train.strategy == "one_device" or len(devices) == 1:
        return tf.distribute.get_strategy(), ""
    size, is_shared = train.batch_size, train.batch_size_per == "global" and isinstance(train.batch_size, int)
    if train.strategy == "auto" and is_shared and size % len(devices):
        note = f"1 of {len(devices)}: they cannot share train.batch_size {size}"
        return tf.distribute.get_strategy(), note
    return tf.distribute.MirroredStrategy(devices), ""


def _multi_worker_strategy(cluster: Cluster) -> tf.distribute.Strategy:
    _take_memory_as_needed()
    os.environ["TF_CONFIG"] = cluster.to_json()  # as TensorFlow wants it: no `master`, no tasks of other kinds
    implementations = tf.distribute.experimental.CommunicationImplementation
    has_gpus = bool(tf.config.list_physical_devices("GPU"))
    options = tf.distribute.experimental.CommunicationOptions(
        implementation=implementations.AUTO if has_gpus else implementations.RING
    )
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
    except tf.errors.OpError as error:
        raise ConfigError(
            f"TF_CONFIG: TensorFlow cannot start at this worker's address {cluster.addresses[cluster.index]} "
            f"({(error.message or type(error).__name__).splitlines()[0]}); is the port used by something else?"
        ) from error
    except RuntimeError as error:
        raise TrainingError(f"several machines must be joined before TensorFlow computes anything ({error})") from error
    _hear_signals_again()
    return strategy


def _hear_signals_again() -> None:
    """TensorFlow's service for several workers takes SIGTERM for itself and does nothing with it."""
    if threading.current_thread() is threading.main_thread():
        handler = signal.getsignal(signal.SIGTERM)
        signal.signal(signal.SIGTERM, signal.SIG_DFL if handler is None else handler)


def _take_memory_as_needed() -> None:
    for gpu in tf.config.list_physical_devices("GPU"):
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:  # TensorFlow runs already, in a process that set this up itself
            break


def _describe_local(replicas: int) -> str:
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        name = tf.config.experimental.get_device_details(gpus[0]).get("device_name", gpus[0].name)
        return f"GPU {name}" if replicas == 1 else f"{replicas} GPUs {name}"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"CPU, {cores} cores" if replicas == 1 else f"CPU as {replicas} devices, {cores} cores"


def _sum_over_replicas(strategy: tf.distribute.Strategy, value: tf.Tensor) -> tf.Tensor:
    def add(value: tf.Tensor) -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(value))

    @tf.function(autograph=False)
    def add_everywhere(value: tf.Tensor) -> tf.Tensor:
        return strategy.experimental_local_results(strategy.run(add, args=(value,)))[0]

    return add_everywhere(value)
