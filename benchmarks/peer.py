"""Processes that measure when asked and sleep in between.

Two libraries are compared fairly when neither finds the other's threads, allocator or settings in its way, and when
both are measured within the same minute. So each contestant is a process of its own, started once, and the one that
leads asks them in turn:

    worker = Worker("benchmarks.torchvision_worker", {"what": "inference", ...})
    worker.ask("run 800x1066")    # {"seconds": 1.43}
    worker.ask("memory")          # {"peak_mib": 1310.0}

A request is a line on the worker's standard input, the answer a line of JSON on its standard output. Waiting is a
blocking read, and what a waiting process nevertheless burns is counted (`Worker.idle_load`), because a thread pool that
spins for work would slow the other down. Needs neither TensorFlow nor torch.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

# What a worker's `prepare` returns: what can be run by name, and facts about it for the report.
Prepared = tuple[Mapping[str, Callable[[], object]], dict[str, Any]]


class WorkerError(RuntimeError):
    """A worker ended or answered nonsense; the message ends with the last lines it wrote."""


class Worker:
    """A process that runs `serve`, seen from outside.

    Args:
        module: what to run, with `python -m`, from the project's folder.
        job: handed to the module's `prepare`.
        python: the interpreter.
        environment: variables in addition to this process's.

    Attributes:
        facts: what `prepare` said.
    """

    def __init__(
        self, module: str, job: Mapping[str, Any], *, python: str = sys.executable, environment: Mapping | None = None
    ) -> None:
        self.name = f"{module} {json.dumps(job)}"
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        # An environment's own programs (a compiler's helpers, say) lie beside its interpreter.
        programs = os.pathsep.join([str(Path(python).parent), os.environ.get("PATH", "")])
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 - lives as long as the worker
        self._process = subprocess.Popen(
            [python, "-m", module, json.dumps(job)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PATH": programs, **(environment or {})},
        )
        self._idle_cpu = self._idle_wall = 0.0
        self._left_at: tuple[float, float] | None = None
        try:
            self.facts: dict[str, Any] = self._answer()["ready"]
        except BaseException:
            self.close()
            raise
        self._leave()

    def ask(self, request: str) -> dict[str, Any]:
        """Sends one request and waits for its answer.

        Raises:
            WorkerError: the process ended instead.
        """
        self._return()
        try:
            self._process.stdin.write(request + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise WorkerError(self._last_words()) from None
        answer = self._answer()
        self._leave()
        return answer

    def seconds(self, case: str) -> float:
        """Runs a case once."""
        return self.ask(f"run {case}")["seconds"]

    @property
    def cpu_seconds(self) -> float | None:
        """User and system time of all its threads so far; None where there is no /proc."""
        return _cpu_seconds(self._process.pid)

    @property
    def idle_load(self) -> float | None:
        """Cores kept busy while it had nothing to do; None where that cannot be seen (no /proc) or it never waited."""
        return self._idle_cpu / self._idle_wall if self._idle_wall > 0 else None

    def close(self) -> None:
        """Ends the process."""
        self._process.stdin.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._said.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if not line:
            raise WorkerError(self._last_words())
        return json.loads(line)

    def _last_words(self) -> str:
        self._process.wait()
        self._said.seek(0)
        lines = self._said.read().splitlines()[-25:]
        return "\n".join([f"{self.name}: ended with status {self._process.returncode}", *lines])

    def _leave(self) -> None:
        cpu = _cpu_seconds(self._process.pid)
        self._left_at = None if cpu is None else (cpu, time.perf_counter())

    def _return(self) -> None:
        cpu = _cpu_seconds(self._process.pid)
        if self._left_at is not None and cpu is not None:
            self._idle_cpu += cpu - self._left_at[0]
            self._idle_wall += time.perf_counter() - self._left_at[1]


def serve(prepare: Callable[[dict[str, Any]], Prepared]) -> None:
    """The worker's side: prepares, then answers until its input ends.

    Libraries that print do so to standard error: standard output carries answers only.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    cases, facts = prepare(json.loads(sys.argv[1]))
    say({"ready": facts})
    for line in sys.stdin:
        match line.split():
            case ["run", case]:
                started = time.perf_counter()
                cases[case]()
                say({"seconds": time.perf_counter() - started})
            case ["memory"]:
                say({"peak_mib": peak_memory()})


def peak_memory() -> float | None:
    """The most memory this process ever had resident, in MiB; None where /proc does not say."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), None)


def machine_cpu_seconds() -> float | None:
    """Time that all cores were busy since the machine started, whoever with; None where there is no /proc."""
    try:
        user, nice, system, _idle, _waiting, irq, softirq, steal = Path("/proc/stat").read_text().split()[1:9]
    except OSError:
        return None
    return sum(map(int, (user, nice, system, irq, softirq, steal))) / os.sysconf("SC_CLK_TCK")


def _cpu_seconds(pid: int) -> float | None:
    """User and system time of all threads of a process so far."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")
