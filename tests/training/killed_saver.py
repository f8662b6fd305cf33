"""Run as a program: a process that saves checkpoints of a run is killed, or finds no room; what is then in the run?

    python -m tests.training.killed_saver killed FOLDER    prints {"kills": ..., "steps": ...}
    python -m tests.training.killed_saver full FOLDER      prints {"failures": ..., "steps": ...}

A program of its own, because it forks: the tests' own process has TensorFlow's threads. It does without TensorFlow; a
training is a few numbers that follow from its step.
"""

import json
import os
import random
import resource
import shutil
import signal
import sys
import time
from pathlib import Path

import h5py
import numpy as np

from luminoth.checkpoints import runs
from luminoth.checkpoints.folder import amend_state, find_damage, read_state
from luminoth.config import Config
from luminoth.errors import OutputError

KILLS = 100
KEEP = 2
CONFIG = Config()


class Weight:
    """What of a variable saving knows."""

    path = "slot"

    def __init__(self, step: int) -> None:
        self.step = step

    def numpy(self) -> np.ndarray:
        return np.full([300, 40], self.step, np.float32)


class Training:
    """Model and optimizer in one."""

    def __init__(self, step: int) -> None:
        self.step = step

    @property
    def variables(self) -> list[Weight]:
        return [Weight(self.step)]


runs._named_weights = lambda training: {"head/kernel": Weight(training.step)}
runs._trained_names = lambda training, weights: list(weights)


def save(run: Path, step: int, best: int) -> None:
    """What training does when a checkpoint is due, and when that was evaluated."""
    training = Training(step)
    folder = runs.save_checkpoint(
        run, step, model=training, optimizer=training, config=CONFIG, classes=["car"], state={"seed": step}
    )
    amend_state(folder, validation=[step])
    runs.prune_checkpoints(run, KEEP, best)


def check(run: Path, at_least: int, best: int) -> int:
    """All checkpoints are whole, the newest is not older than `at_least`, and the best is there; the newest's step."""
    checkpoints = runs.list_checkpoints(run)
    for step, folder in checkpoints:
        assert find_damage(folder) is None, (folder, find_damage(folder))
        state = read_state(folder)
        assert (state["step"], state["seed"], state.get("validation", [step])) == (step, step, [step]), state
        with h5py.File(folder / runs.WEIGHTS_FILE) as file:
            for name in ("weights/head/kernel", "optimizer/00000"):
                assert (file[name][()] == step).all(), folder
    steps = [step for step, _ in checkpoints]
    assert not at_least or steps[-1] >= at_least, (steps, at_least)
    assert at_least < best or best in steps, (steps, best)
    return steps[-1] if steps else 0


def fork(work) -> int:
    """A child that does `work` and ends; 0, or 1 after an error that a person would be told."""
    child = os.fork()
    if child == 0:
        status = 2
        try:
            work()
            status = 0
        except OutputError:
            status = 1
        finally:
            os._exit(status)
    return child


def train(run: Path, best: int) -> None:
    """Goes on from the newest checkpoint, for ever."""
    newest = runs.latest_checkpoint(run)
    step = read_state(newest)["step"] if newest else 0
    while True:
        step += 1
        save(run, step, best)


def killed(run: Path) -> dict:
    """Kills it at moments that nobody chose, a hundred times."""
    chance = random.Random(0)
    best, newest, kills = 3, 1, 0
    save(run, 1, best)
    started = time.monotonic()
    save(run, 2, best)
    seconds = time.monotonic() - started
    for _ in range(KILLS):
        child = fork(lambda: train(run, best))
        time.sleep(chance.uniform(0.0, 3 * seconds))
        os.kill(child, signal.SIGKILL)
        kills += os.WIFSIGNALED(os.waitpid(child, 0)[1])
        newest = check(run, newest, best)
    save(run, newest + 1, best)
    left = [name for name in os.listdir(run) if not name.startswith("ckpt-")]
    assert left == [], left
    return {"kills": kills, "steps": newest}


def killed_at_every_call(run: Path) -> dict:
    """Kills it before each single thing that it asks of the file system."""
    save(run, 1, 1)
    steps = {1}
    for number in range(1000):

        def work(number: int = number) -> None:
            calls = 0

            def count(event: str, arguments: tuple) -> None:
                nonlocal calls
                if event.startswith(("open", "os.", "shutil.")) and event != "os.kill":
                    calls += 1
                    if calls > number:
                        os.kill(os.getpid(), signal.SIGKILL)

            sys.addaudithook(count)
            save(run, 9, 1)

        status = os.waitpid(fork(work), 0)[1]
        steps.add(check(run, 1, 1))
        shutil.rmtree(run / "ckpt-9", ignore_errors=True)
        if not os.WIFSIGNALED(status):
            return {"calls": number, "steps": sorted(steps)}
    raise AssertionError("it never came to an end")


def full(run: Path) -> dict:
    """Lets files grow to so many bytes and no further, as a full disk does: an error is told, no checkpoint hurt."""
    save(run, 1, 1)
    failures, steps = 0, []
    for limit in (0, 1, 100, 1000, 5000, 20000, 48000, 60000, 96000, 98000, 100000, 102000, 104000, 10**6):

        def work(limit: int = limit) -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            save(run, 2, 1)

        status = os.waitstatus_to_exitcode(os.waitpid(fork(work), 0)[1])
        assert status in (0, 1), f"with {limit} bytes it ended with {status}"
        failures += status
        steps.append(check(run, 1, 1))
        assert steps[-1] == (1 if status else 2), (limit, steps)
        left = {name for name in os.listdir(run) if not name.startswith("ckpt-")}
        assert left == set(), left
    return {"failures": failures, "steps": steps[-1]}


if __name__ == "__main__":
    works = {"killed": killed, "killed_at_every_call": killed_at_every_call, "full": full}
    print(json.dumps(works[sys.argv[1]](Path(sys.argv[2]))))
