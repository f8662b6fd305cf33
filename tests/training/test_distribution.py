"""Several devices, machines and micro-batches make the updates of one process; a worker may stop, or be killed."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from luminoth.checkpoints.folder import read_state
from luminoth.checkpoints.runs import list_checkpoints
from luminoth.models import build
from luminoth.training import loop
from luminoth.training.events import StepDone
from tests.training.tiny import frozen_norm, tiny_config, write_tiny_dataset

ROOT = Path(__file__).parents[2]
STEPS = 6
TOLERANCE = 1e-4  # of losses and weights; rounding alone is about 1e-6


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_tiny_dataset(tmp_path_factory.mktemp("street"))


@pytest.fixture(scope="module")
def trained(dataset, tmp_path_factory):
    """Trains in this process, with batch norm that is not trained; gives losses by step and the run's folder."""

    def run(**train):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(build, "_refuse_frozen_random_weights", lambda config: None)
            losses = {}

            def on_event(event):
                if isinstance(event, StepDone):
                    losses[event.step] = dict(event.losses)

            config = frozen_norm(tiny_config(dataset, tmp_path_factory.mktemp("run"), max_steps=STEPS, **train))
            return losses, loop.train(config, on_event=on_event).folder

    return run


@pytest.fixture(scope="module")
def alone(trained):
    """What one process makes of batches of two pictures."""
    return trained(batch_size=2)


def start(folder, name, dataset, *, cluster=None, index=0, **job):
    """Starts `tests.training.worker`; see there."""
    result = folder / f"{name}.json"
    job = {"data": str(dataset), "job_dir": str(folder), "result": str(result), **job}
    environment = dict(os.environ)
    if cluster:
        environment["TF_CONFIG"] = json.dumps(
            {"cluster": cluster, "task": {"type": ["master", "worker"][index], "index": 0}}
        )
    command = [sys.executable, "-m", "tests.training.worker", json.dumps(job)]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    process.result = result
    return process


def finish(process):
    """What came of it; None where it was killed."""
    try:
        _, said = process.communicate(timeout=240)
    finally:
        process.kill()
    if process.returncode == -signal.SIGKILL:
        return None
    assert process.returncode == 0, said
    outcome = json.loads(process.result.read_text())
    return {**outcome, "losses": {int(step): values for step, values in outcome["losses"].items()}}


def train_pair(folder, name, dataset, **of_worker):
    """Both outcomes of a chief and a worker, each with its share of batches of two pictures."""
    ports = [free_port(), free_port()]
    cluster = {"master": [f"localhost:{ports[0]}"], "worker": [f"localhost:{ports[1]}"]}
    train = {"max_steps": STEPS, "batch_size": 2, "wait_for_workers_secs": 100}
    processes = [
        start(folder, f"{name}{index}", dataset, cluster=cluster, index=index, train=train, **extra)
        for index, extra in enumerate([{}, of_worker])
    ]
    return [finish(process) for process in processes]


def free_port():
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def pair(dataset, tmp_path_factory):
    """One training of two workers in three parts: the worker is asked to stop, then killed, then both go on to the end.

    Gives the run's folder and, of each part, both outcomes and the checkpoints there are afterwards.
    """
    folder = tmp_path_factory.mktemp("pair")
    parts = []
    for name, extra in {
        "asked": {"signal": [signal.SIGTERM, 1]},
        "killed": {"signal": [signal.SIGKILL, 4]},
        "whole": {},
    }.items():
        outcomes = train_pair(folder, name, dataset, **extra)
        parts.append((*outcomes, [step for step, _ in list_checkpoints(folder / "run")]))
    return folder / "run", parts


def assert_equal_losses(losses, expected):
    assert losses.keys() == expected.keys()
    for step, values in expected.items():
        assert {name: losses[step][name] for name in values} == pytest.approx(values, abs=TOLERANCE), step


def assert_equal_weights(run, expected):
    tensors, expected_tensors = weights_of(run), weights_of(expected)
    assert tensors.keys() == expected_tensors.keys()
    for name, value in expected_tensors.items():
        np.testing.assert_allclose(tensors[name], value, atol=TOLERANCE, rtol=0, err_msg=name)


def weights_of(run):
    tensors = {}
    with h5py.File(run / f"ckpt-{STEPS}" / "model.weights.h5") as file:
        file.visititems(
            lambda name, item: (
                tensors.update({name: item[()]} if item.dtype.kind == "f" else {}) if hasattr(item, "dtype") else None
            )
        )
    return tensors


def test_two_workers_equal_one_process(alone, pair):
    losses, folder = alone
    run, parts = pair
    for worker in (0, 1):
        # The killed worker could not say what it saw.
        seen = {step: values for part in parts if part[worker] for step, values in part[worker]["losses"].items()}
        assert_equal_losses(seen, {step: losses[step] for step in (seen if worker else losses)})
    assert_equal_weights(run, folder)
    assert read_state(run / f"ckpt-{STEPS}")["data"]["images_seen"] == 2 * STEPS


def test_one_worker_that_is_asked_to_stop_stops_all_after_the_same_step(pair):
    chief, worker, checkpoints = pair[1][0]
    assert (chief["step"], chief["interrupted"]) == (worker["step"], worker["interrupted"]) == (2, True)
    assert checkpoints == [2]
    assert chief["events"][-2:] == ["Interrupted", "CheckpointSaved"]
    assert worker["events"] == ["WorkerJoined"]  # the chief tells the rest


def test_a_killed_worker_leaves_a_checkpoint_and_its_name(pair):
    chief, worker, checkpoints = pair[1][1]
    assert worker is None
    assert checkpoints == [2, 4]
    assert chief["error"].startswith("WorkerError: stopped after step 4: lost worker 1 (localhost:")
    assert chief["error"].endswith(f"{pair[0]}/ckpt-4. Start all workers again to go on")
    assert list(chief["losses"]) == [3, 4]


def test_the_restarted_pair_goes_on_to_the_end(pair):
    chief, worker, checkpoints = pair[1][2]
    assert (chief["step"], worker["step"], chief["interrupted"]) == (STEPS, STEPS, False)
    assert checkpoints == [2, 4, STEPS]
    assert list(chief["losses"]) == list(worker["losses"]) == [5, 6]


def test_two_devices_equal_one(alone, dataset, tmp_path):
    losses, folder = alone
    train = {"max_steps": STEPS, "batch_size": 1, "batch_size_per": "replica", "strategy": "mirrored"}
    outcome = finish(start(tmp_path, "devices", dataset, devices=2, train=train))
    assert_equal_losses(outcome["losses"], losses)
    assert_equal_weights(tmp_path / "run", folder)
    assert read_state(tmp_path / "run" / f"ckpt-{STEPS}")["data"]["images_seen"] == 2 * STEPS


def test_two_micro_batches_equal_one_batch(alone, trained):
    losses, folder = alone
    accumulated, run = trained(batch_size=1, accumulate_steps=2)
    assert_equal_losses(accumulated, losses)
    assert_equal_weights(run, folder)
    assert read_state(run / f"ckpt-{STEPS}")["data"]["images_seen"] == 2 * STEPS
