"""Plays the machines of a job of Vertex AI: its containers' commands run as processes of this machine."""

import importlib.util
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

SECONDS_TO_END = 240
KILLED = -signal.SIGKILL  # the status of such a process


class Containers:
    """The machines that Vertex AI gives to jobs. What is installed on one stays there; else each start is a new one.

    Args:
        folder: where they keep it; made here.
        buckets: the folder of the buckets' folders, which machines find under `/gcs`.
        environment: what leads them to Google's services.
    """

    def __init__(self, folder, buckets, environment):
        self._folder, self._buckets, self._environment = folder, buckets, environment
        self._starts = itertools.count()
        self._processes = []

    def start(self, job):
        """Starts what a job describes, on all its machines; the first of the processes is the chief."""
        tasks = [
            (kind, index, pool["containerSpec"])
            for kind, pool in zip(("chief", "worker"), job["jobSpec"]["workerPoolSpecs"], strict=False)
            for index in range(int(pool["replicaCount"]))
        ]
        cluster = {"chief": [], "worker": []}
        for kind, _, _ in tasks:
            cluster[kind].append(f"localhost:{free_port()}")
        started = []
        for kind, index, spec in tasks:
            # As Vertex AI sets it: with keys of its own, and not where a machine is alone.
            facts = {"cluster": cluster, "task": {"type": kind, "index": index}, "environment": "cloud", "job": "{}"}
            variables = {"TF_CONFIG": json.dumps(facts)} if len(tasks) > 1 else {}
            started.append(self._run(f"{kind}-{index}", spec, variables))
        return started

    def installed_in(self, machine):
        """Where Luminoth is on a machine, as its Python finds it."""
        program = "import luminoth; print(luminoth.__file__)"
        command = [str(self._folder / machine / "bin" / "python"), "-c", program]
        return Path(subprocess.check_output(command, cwd=self._folder, env={}, text=True).strip())

    def close(self):
        """Ends what still runs."""
        for process in self._processes:
            process.close()

    def _run(self, name, spec, variables):
        machine = self._folder / name
        if not machine.exists():
            make_plain_python(machine)
        home = self._folder / f"home-{next(self._starts)}"
        home.mkdir()
        environment = {
            # Nothing of this machine's own: no other `lumi`, no settings of the tests.
            "PATH": f"{machine / 'bin'}:{os.defpath}", "HOME": str(home), "LANG": "C.UTF-8",
            "CUDA_VISIBLE_DEVICES": "-1", "PIP_NO_INDEX": "1", "PIP_NO_COMPILE": "1",
            **self._environment, **variables, **{each["name"]: each["value"] for each in spec.get("env", ())},
        }  # fmt: skip
        command = [word.replace("/gcs/", f"{self._buckets}/", 1) for word in spec["command"]]
        self._processes.append(Container([*command, *spec["args"]], home, environment))
        return self._processes[-1]


class Container(subprocess.Popen):
    """The process of one machine.

    Args:
        command: words.
        home: its working directory.
        environment: all variables.
    """

    def __init__(self, command, home, environment):
        self._log = home / "log.txt"
        with self._log.open("w") as log:
            super().__init__(command, cwd=home, env=environment, stdout=log, stderr=subprocess.STDOUT)

    def kill_now(self):
        """As the loss of the machine; returns when it is gone."""
        self.kill()
        self.wait()

    def finish(self, status=0):
        """Waits for its end; the lines that it has written, results and all else."""
        try:
            self.wait(SECONDS_TO_END)
        finally:
            self.close()
        said = self._log.read_text()
        assert self.returncode == status, said
        return said.splitlines()

    def close(self):
        if self.poll() is None:
            self.kill_now()


def make_plain_python(folder):
    """A Python in which pip finds installed what Luminoth needs, so that it need not download it, but no Luminoth."""
    venv.create(folder, symlinks=True, with_pip=importlib.util.find_spec("pip") is None)
    requirements = folder / "requirements"
    requirements.mkdir()
    for place in (Path(place) for place in sys.path if place.endswith("-packages")):
        for path in place.iterdir():
            link = requirements / path.name
            if "luminoth" not in path.name and not link.is_symlink():
                link.symlink_to(path)
    own = sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)})
    (Path(own) / "requirements.pth").write_text(f"{requirements}\n")


def free_port():
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]
