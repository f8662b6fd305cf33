import os
import re
import signal
import subprocess
import sys

import pytest

from luminoth.checkpoints import loading, runs
from luminoth.cli.main import main
from luminoth.config import dump_config
from luminoth.training import assembly
from tests.training.tiny import TinyDetector, tiny_config, write_tiny_dataset


@pytest.fixture
def files(tmp_path):
    """A data set and the configuration of a short run on it."""
    dataset = write_tiny_dataset(tmp_path / "street")
    config = tmp_path / "config.yml"
    config.write_text(dump_config(tiny_config(dataset, tmp_path / "jobs", display_every_steps=2)))
    return tmp_path, config


@pytest.fixture
def tiny_model(monkeypatch):
    monkeypatch.setattr(assembly, "build_model", lambda config, num_classes, **_: TinyDetector(num_classes))
    monkeypatch.setattr(assembly, "load_pretrained_backbone", lambda model, config: "random weights")


def lumi(capsys, *arguments):
    """Runs the command in this process: exit status, lines on standard error; standard output must be empty."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert out == ""
    return ended.value.code, err.splitlines()


def test_says_what_it_does_and_what_to_do_next(files, capsys, tiny_model):
    folder, config = files
    status, lines = lumi(capsys, "train", "-c", config)
    assert status == 0
    run = folder / "jobs" / "run"
    assert lines[0] == f"Run folder: {run}"
    assert lines[1].startswith("Device: CPU")
    assert lines[2] == "Data set: 6 images, 2 classes (car, person)"
    assert "Training to step 6; building the model" in lines
    assert "Backbone: random weights" in lines
    steps = [line for line in lines if line.startswith("Step ")]
    assert [line.split(":")[0] for line in steps] == ["Step 2/6", "Step 4/6", "Step 6/6"]
    assert "loss " in steps[1]
    assert re.search(r" images/s, 0:0\d:\d\d left \(rpn_reg ", steps[1])
    text = "\n".join(lines)
    assert f"checkpoint  {run / 'ckpt-6'}" in text
    assert f"tensorboard --logdir {run}" in text
    assert f"lumi eval -c {config}" in text

    status, lines = lumi(capsys, "train", "-c", config)
    assert status == 0
    assert any(line.startswith("Finished already: 6 of 6 steps") for line in lines)

    status, lines = lumi(capsys, "train", "-c", config, "-o", "train.max_steps=7")
    assert status == 0
    assert f"Resuming at step 6 ({run / 'ckpt-6'})" in lines
    assert "Changed since that checkpoint: train.max_steps 6 -> 7" in lines


def test_says_what_evaluations_find_and_that_it_stopped_early(files, capsys, tiny_model):
    folder, config = files
    (folder / "street" / "val.tfrecords").write_bytes((folder / "street" / "train.tfrecords").read_bytes())
    run = folder / "jobs" / "run"
    arguments = ["train", "-c", config, "-o", "train.eval_every_steps=1", "-o", "train.patience=2"]
    status, lines = lumi(capsys, *arguments, "-o", "train.best_metric=AP_large")  # there are no large objects
    assert status == 0
    assert "Evaluating step 1 on val: 6 images" in lines
    assert any(re.fullmatch(r"val at step 2: AP \d.*, AP50 \d.*, total_loss \d.*; \d+ s", line) for line in lines)
    stopped = (
        "Stopped early at step 2: AP_large on val has not got better for 2 evaluations; raise train.patience to go on"
    )
    assert stopped in lines
    assert (run / "eval" / "val-2.json").is_file()

    status, lines = lumi(capsys, *arguments, "-o", "train.best_metric=AP_large")
    assert (status, len(lines)) == (0, 8)  # nothing was built
    assert stopped in lines

    status, lines = lumi(capsys, *arguments, "-o", "train.best_metric=total_loss", "-o", "train.max_steps=3")
    assert status == 0
    assert any(line.startswith("val at step 2: total_loss ") and "(the best so far), AP " in line for line in lines)
    assert any(re.fullmatch(rf"  best        {run}/ckpt-\d: total_loss \d\.\d{{4}}", line) for line in lines)


def test_job_dir_and_run_name_go_before_the_file(files, capsys, tiny_model):
    folder, config = files
    status, _ = lumi(
        capsys, "train", "-c", config, "--job-dir", folder / "other", "--run-name", "on", "-o", "train.max_steps=1"
    )
    assert status == 0
    assert (folder / "other" / "on" / "ckpt-1").is_dir()


def test_ctrl_c_saves_and_exits_130(files, capsys, tiny_model, monkeypatch):
    folder, config = files
    make_train_step = assembly.make_train_step

    def interrupting(*args, **kwargs):
        step = make_train_step(*args, **kwargs)

        def run_step(pieces, number, *others):
            if number == 2:
                os.kill(os.getpid(), signal.SIGINT)
            return step(pieces, number, *others)

        return run_step

    monkeypatch.setattr(assembly, "make_train_step", interrupting)
    status, lines = lumi(capsys, "train", "-c", config)
    assert status == 130
    checkpoint = folder / "jobs" / "run" / "ckpt-3"
    assert lines[-1] == f"Interrupted: saved checkpoint at step 3; the same command resumes ({checkpoint})"
    assert checkpoint.is_dir()


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["-c", "nowhere.yml"], 1, "nowhere.yml: there is no such configuration file"),
        ([], 2, "Missing option '-c'"),
        (["-c", "CONFIG", "-o", "train.stepps=3"], 1, "train.stepps is not a known key"),
        (["-c", "CONFIG", "-o", "dataset.dir=gone"], 1, "gone"),
        (["-c", "CONFIG", "-o", "model.network.num_classes=3"], 1, "classes.json names 2 classes"),
        (["-c", "CONFIG", "--job-dir", "CONFIG"], 1, "the run's folder cannot be written"),
    ],
)
def test_mistakes_give_one_line(files, capsys, monkeypatch, arguments, status, message):
    monkeypatch.setattr(assembly, "build_model", lambda *_, **__: pytest.fail("a model was built"))
    folder, config = files
    arguments = [str(config) if argument == "CONFIG" else argument for argument in arguments]
    found, lines = lumi(capsys, "train", *arguments)
    assert found == status
    assert message in lines[-1]
    if status == 1:
        assert lines[-1].startswith("Error: ")
        assert len(lines) == 1
    assert not (folder / "jobs").exists()


@pytest.mark.slow
def test_sigterm_to_the_installed_command_saves_first(files):
    folder, config = files
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    command = [sys.executable, "-c", "from luminoth.cli.main import main; main()", "train", "-c", str(config)]
    options = ["-o", "train.max_steps=100000", "-o", "train.display_every_steps=1"]
    process = subprocess.Popen(command + options, stderr=subprocess.PIPE, text=True, env=environment)
    lines = []
    for line in process.stderr:
        lines.append(line)
        if line.startswith("Step 2/"):
            process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 130, "".join(lines)
    assert "the same command resumes" in lines[-1]
    [(step, checkpoint)] = runs.list_checkpoints(folder / "jobs" / "run")
    assert step >= 2
    assert loading.load_model(checkpoint).step == step
