"""`lumi server web`: which models it serves under which names, what it refuses; once as a process with a real model."""

import http.client
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from luminoth.cli import server_web
from luminoth.data.toytown import draw_scene
from luminoth.image import encode_png
from luminoth.inference.detector import Detector
from luminoth.server import serving
from tests.checkpoints.light import evaluated, light_run
from tests.cli.conftest import lumi
from tests.server.fakes import PixelModel

__all__ = ["lumi"]


@pytest.fixture(autouse=True)
def process_as_it_was():
    """A server sets up signals and logging, which belong to the whole process."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    loggers = [logging.getLogger(name) for name in ("luminoth.server", "waitress", "luminoth.server.access")]
    before = [(logger, logger.handlers, logger.propagate, logger.level) for logger in loggers]
    yield
    for logger, logger.handlers, logger.propagate, level in before:
        logger.setLevel(level)
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def served(monkeypatch, tmp_path):
    """In place of serving, what would be served is kept: {"folders": [...], "client": Flask's client, ...}."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LUMI_HOME", str(tmp_path / "home"))
    kept = {"folders": []}

    def loader(folder, wanted):
        kept["folders"].append(Path(folder).resolve())
        return PixelModel

    def init(self, app, listener, **options):
        listener.close()
        kept.update(client=app.test_client(), options=options)

    def run(self, grace):
        for _ in range(200):
            if kept["client"].get("/readyz").status_code == 200:
                break
            time.sleep(0.01)
        kept["models"] = kept["client"].get("/api/models").get_json().get("models")  # none without a key
        return 0

    monkeypatch.setattr(server_web, "_loader", loader)
    monkeypatch.setattr(serving.Server, "__init__", init)
    monkeypatch.setattr(serving.Server, "run", run)
    return kept


def names(served):
    return [model["name"] for model in served["models"]]


def test_several_checkpoints_by_their_names(served, lumi, tmp_path):
    run = tmp_path / "runs" / "my run"
    light_run(run, 10, 20)
    other = light_run(tmp_path / "other" / "my run", 5)
    status, out, err = lumi(
        "server", "web", "--port", 0, "--checkpoint", "toytown", "--checkpoint", run, "--checkpoint", other
    )
    assert (status, out) == (0, "")
    assert names(served) == ["toytown", "my-run", "my-run-2"]
    assert served["folders"][1:] == [run / "ckpt-20", other]
    assert served["models"][0]["network"] == "fasterrcnn, thin_resnet"
    assert "Serving toytown, my-run, my-run-2 at http://127.0.0.1:" in err


def test_the_newest_or_the_best_of_a_run(served, lumi, tmp_path):
    config = tmp_path / "config.yml"
    config.write_text("train: {job_dir: jobs, run_name: traffic}\n")
    run = tmp_path / "jobs" / "traffic"
    status, _, err = lumi("server", "web", "--port", 0, "-c", config)
    assert status == 1
    assert "the run has no checkpoint yet" in err
    light_run(run, 10, 20, 30)
    assert lumi("server", "web", "--port", 0, "-c", config)[0] == 0
    status, _, err = lumi("server", "web", "--port", 0, "-c", config, "--which", "best")
    assert status == 1
    assert "no checkpoint was evaluated" in err
    evaluated(run, 10, 0.3)
    evaluated(run, 20, 0.6)
    evaluated(run, 30, 0.5)
    status, _, err = lumi("server", "web", "--port", 0, "-c", config, "--which", "best")
    assert status == 0
    assert "Step 20 is the best of 3 evaluated checkpoints (0.600)" in err
    assert served["folders"] == [run / "ckpt-30", run / "ckpt-20"]
    assert names(served) == ["traffic"]


def test_options_reach_the_server(served, lumi, tmp_path):
    keys = tmp_path / "keys.txt"
    keys.write_text("# of the team\nfirst\n\n second \n")
    arguments = ["--max-upload-mb", 0.001, "--min-prob", 0.9, "--threads", 3, "--trust-proxy", "10.0.0.1"]
    lumi("server", "web", "--port", 0, "--checkpoint", "toytown", *arguments)
    assert served["options"] == {"threads": 3, "max_upload_bytes": 1000, "trusted_proxy": "10.0.0.1"}
    assert served["models"][0]["default_prob"] == 0.9
    answer = served["client"].post("/api/toytown/predict/", data=bytes(1001), content_type="image/png")
    assert answer.status_code == 413
    lumi("server", "web", "--port", 0, "--checkpoint", "toytown", "--api-key-file", keys)
    with_keys = [served["client"].get("/api/models", headers={"X-API-Key": key}) for key in ("first", "second", "x")]
    assert [answer.status_code for answer in with_keys] == [200, 200, 401]


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--which", "best", "--checkpoint", "toytown"], 2, "--which best goes with -c"),
        (["--checkpoint", "nix"], 1, "nix"),
        (["--checkpoint", "toytown", "--api-key-file", "nix.txt"], 1, "--api-key-file nix.txt: cannot be read"),
        (["--checkpoint", "toytown", "--api-key-file", "empty.txt"], 1, "holds no key"),
        (["--checkpoint", "toytown", "--port", "70000"], 2, "--port"),
        (["--checkpoint", "toytown", "--host", "999.1.1.1"], 1, "cannot listen there"),
    ],
)
def test_what_is_refused(served, lumi, tmp_path, arguments, status, words):
    (tmp_path / "empty.txt").write_text("# nothing\n")
    ended, out, err = lumi("server", "web", *arguments)
    assert (ended, out) == (status, "")
    assert words in err
    assert "client" not in served


def test_a_server_whose_models_all_fail_ends(monkeypatch, lumi):
    def fail():
        raise OSError("no memory")

    monkeypatch.setattr(server_web, "_loader", lambda folder, wanted: fail)
    status, _, err = lumi("server", "web", "--port", 0, "--checkpoint", "toytown")
    assert status == 1
    assert "Error: no model could be loaded" in err


# --- A process ----------------------------------------------------------------------------------------------------


def _address(process):
    """What it says it serves at."""
    for line in process.stderr:
        if line.startswith("Serving "):
            return line.split("http://")[1].strip("/\n")
    raise AssertionError("the server ended")


def _predict(address, body):
    connection = http.client.HTTPConnection(address, timeout=60)
    connection.request("POST", "/api/toytown/predict/", body, {"Content-Type": "image/png"})
    answer = connection.getresponse()
    content = json.loads(answer.read())
    connection.close()
    return answer.status, content


def _get_status(address, path):
    connection = http.client.HTTPConnection(address, timeout=60)
    connection.request("GET", path)
    status = connection.getresponse().status
    connection.close()
    return status


@pytest.mark.slow
def test_the_real_server_answers_as_the_detector_and_ends_well():
    program = "from luminoth.cli.main import main; main()"
    command = [sys.executable, "-c", program, "server", "web", "--checkpoint", "toytown", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--log-format", "json"], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    log = []
    try:
        address = _address(process)
        reader = threading.Thread(target=lambda: log.extend(process.stderr))
        reader.start()
        assert _get_status(address, "/healthz") == 200  # while the model loads
        pictures = [draw_scene(seed, 16)[0][:, 20 * seed :] for seed in range(4)]
        expected = Detector("toytown", prob=0.5).predict(pictures)
        bodies = [encode_png(np.ascontiguousarray(each)) for each in pictures]
        deadline = time.monotonic() + 60
        while _get_status(address, "/readyz") != 200:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        answers = {}

        def ask(number):
            answers[number] = _predict(address, bodies[number % 4])

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(24)]
        for thread in threads:
            thread.start()
        while len(answers) < 3:  # then all have been sent, and most wait
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGTERM)
        for thread in threads:
            thread.join(60)
        assert process.wait(30) == 0
        reader.join(10)
    finally:
        process.kill()
        process.stderr.close()
        process.stdout.close()
    assert len(answers) == 24
    for number, (status, content) in answers.items():
        assert status == 200
        assert _same(content["objects"], expected[number % 4]), number
    lines = [json.loads(line) for line in log if line.startswith("{")]
    assert [line["status"] for line in lines].count(200) >= 25
    assert any("Stopping" in line for line in log)
    assert not any("Traceback" in line for line in log)


def _same(objects, expected):
    """Scores may differ in the last digit between batches of different sizes."""
    alike = [(each["label"], each["bbox"]) for each in objects] == [(each["label"], each["bbox"]) for each in expected]
    return alike and np.allclose([each["prob"] for each in objects], [each["prob"] for each in expected], atol=2e-4)
