"""`lumi eval` as typed: table, files, errors, watching."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

import luminoth.cli.eval as eval_module
from luminoth.checkpoints.loading import LoadedModel
from luminoth.errors import CheckpointError, ConfigError, DataError, LuminothError
from luminoth.evaluation import checkpoint as checkpoint_module
from tests.evaluation.scripted import CLASSES, ScriptedDetector, as_answers, write_records

PICTURES = [
    ((60, 80), [[10, 10, 30, 40], [40, 20, 72, 52]], [0, 1], [0, 0]),
    ((60, 80), [], [], []),
    ((90, 50), [[5, 5, 45, 80]], [2], [0]),
]


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """A data set, a configuration and a run whose checkpoints load as a detector that finds everything."""
    write_records(tmp_path / "tf", PICTURES)
    (tmp_path / "config.yml").write_text(
        f"train: {{job_dir: {tmp_path}/jobs, run_name: streets}}\ndataset: {{dir: {tmp_path}/tf}}\n"
    )

    def load_model(folder):
        from luminoth.config import load_config

        classes = json.loads((folder / "classes.json").read_text())
        config = load_config([tmp_path / "config.yml"])
        script = [as_answers(picture) for picture in PICTURES]
        if not config.model.network.with_rcnn:
            script = [[(box, score, 0) for box, score, _ in answers] for answers in script]
        return LoadedModel(ScriptedDetector(script), config, classes, folder, int(folder.name.split("-")[-1]))

    monkeypatch.setattr(checkpoint_module, "load_model", load_model)
    return tmp_path


def add_checkpoint(workspace: Path, step: int, classes=CLASSES, run="streets") -> Path:
    folder = workspace / "jobs" / run / f"ckpt-{step}"
    folder.mkdir(parents=True)
    (folder / "classes.json").write_text(json.dumps(list(classes)))
    (folder / "config.yml").write_text((workspace / "config.yml").read_text())
    (folder / "state.json").write_text(json.dumps({"step": step, "format": 1}))
    (folder / "model.weights.h5").write_bytes(b"")
    return folder


def lumi_eval(workspace: Path, *arguments: str, config: bool = True) -> SimpleNamespace:
    files = ["-c", str(workspace / "config.yml")] if config else []
    result = CliRunner().invoke(eval_module.eval, [*files, *arguments], standalone_mode=False)
    if result.exception and not isinstance(result.exception, LuminothError):
        raise result.exception
    return SimpleNamespace(out=result.stdout, err=result.stderr, error=result.exception)


def written(workspace: Path, run: str = "streets") -> list[str]:
    """The JSON files of evaluations; each has its detections beside it."""
    folder = workspace / "jobs" / run / "eval"
    names = sorted(path.stem for path in folder.glob("*.json"))
    assert sorted(path.name for path in folder.glob("*.npz")) == [f"{name}.detections.npz" for name in names]
    return [f"{name}.json" for name in names]


def test_newest_checkpoint_by_default(workspace):
    for step in (100, 20):
        add_checkpoint(workspace, step)
    result = lumi_eval(workspace)
    assert result.error is None
    lines = [line.split() for line in result.out.splitlines()]
    assert lines[0] == ["ckpt-100", "(step", "100)", "on", "val:", "3", "images,", "3", "objects"]
    assert ["AP", "1.0000", "1.0000", "to", "1.0000"] in lines
    assert ["AP_large", "-"] in lines
    assert ["bus", "1", "1.0000", "1.0000", "1.000", "0.900", "1.000", "1.000"] in lines
    assert ["missed", "0", "0.0000"] in lines
    assert ["rpn_cls_loss", "2.0000"] in lines
    assert ["total_loss", "3.5000"] in lines  # 2 + 0 + 0 + (0 + 1, none, 2) / 3 + 0.5
    assert "Evaluating" not in result.out
    assert "3 images, 3 classes" in result.err
    assert written(workspace) == ["val-100.json"]
    assert list((workspace / "jobs" / "streets" / "eval_val").glob("events*"))


def test_checkpoint_and_split_by_name(workspace):
    write_records(workspace / "tf", PICTURES[:1], split="test")
    first = add_checkpoint(workspace, 20)
    add_checkpoint(workspace, 100)
    result = lumi_eval(workspace, "--checkpoint", str(first), "--split", "test")
    assert result.out.startswith("ckpt-20 (step 20) on test: 1 images, 2 objects")
    assert written(workspace) == ["test-20.json"]


def test_checkpoint_without_configuration(workspace):
    other = add_checkpoint(workspace, 7, run="other")
    result = lumi_eval(workspace, "--checkpoint", str(other.parent), config=False)
    assert result.out.startswith("ckpt-7 (step 7) on val")
    assert written(workspace, "other") == ["val-7.json"]


def test_results_go_to_the_run_of_the_checkpoint(workspace):
    other = add_checkpoint(workspace, 7, run="other")
    lumi_eval(workspace, "--checkpoint", str(other))
    assert written(workspace, "other") == ["val-7.json"]
    assert written(workspace) == []


def test_published_checkpoint(workspace, monkeypatch):
    folder = add_checkpoint(workspace, 7, run="published").rename(workspace / "published-7")
    result = lumi_eval(workspace, "--checkpoint", str(folder))
    assert result.error is None
    assert written(workspace) == ["val-published-7.json"]
    assert not (workspace / "jobs" / "streets" / "eval_val").exists()


def test_same_classes_in_another_order(workspace):
    add_checkpoint(workspace, 1, ["bus", "car", "person"])
    lines = [line.split() for line in lumi_eval(workspace).out.splitlines()]
    # The scripted detector answers 0 for a car, which is this checkpoint's bus: only persons are right.
    assert ["person", "1", "1.0000", "1.0000"] in [line[:4] for line in lines]
    assert ["bus", "1", "0.0000", "0.0000"] in [line[:4] for line in lines]


def test_region_proposals_alone_have_no_classes(workspace):
    add_checkpoint(workspace, 1)
    with (workspace / "config.yml").open("a") as config:
        config.write("model: {network: {with_rcnn: false}}\n")
    lines = [line.split() for line in lumi_eval(workspace).out.splitlines()]
    assert ["object", "3", "1.0000", "1.0000"] in [line[:4] for line in lines]


def test_batch_size_and_limit(workspace):
    add_checkpoint(workspace, 1)
    for batch_size in ("1", "3"):
        lines = lumi_eval(workspace, "--batch-size", batch_size, "--max-detections", "5").out.split()
        assert "AR_5" in lines
        assert lines[lines.index("AP") + 1] == "1.0000"


@pytest.mark.parametrize("stated", [True, False])
def test_resizing_as_in_training_unless_stated(workspace, monkeypatch, stated):
    add_checkpoint(workspace, 1)
    seen = {}

    def evaluate(model, files, *, resize, **settings):
        seen["resize"] = resize
        raise DataError("seen enough")

    monkeypatch.setattr(checkpoint_module, "evaluate", evaluate)
    load_model = checkpoint_module.load_model

    def load_trained_at_300(folder):
        from dataclasses import replace

        from luminoth.config import load_config

        return replace(load_model(folder), config=load_config([], ["dataset.image_preprocessing.min_size=300"]))

    monkeypatch.setattr(checkpoint_module, "load_model", load_trained_at_300)
    lumi_eval(workspace, *(["-o", "dataset.image_preprocessing.min_size=200"] if stated else []))
    assert seen["resize"].min_size == (200 if stated else 300)


def test_override_of_the_model_is_warned_of(workspace):
    add_checkpoint(workspace, 1)
    result = lumi_eval(workspace, "-o", "model.rcnn.proposals.class_nms_threshold=0.4")
    assert "-o model.rcnn.proposals.class_nms_threshold has no effect" in result.err


# --- Errors -------------------------------------------------------------------------------------------------------


def assert_fails(result, kind, *parts):
    assert isinstance(result.error, kind)
    message = str(result.error)
    assert "\n" not in message
    for part in parts:
        assert part in message
    assert result.out == ""


def test_no_checkpoint(workspace):
    folder = workspace / "jobs" / "streets"
    assert_fails(lumi_eval(workspace), CheckpointError, str(folder), f"lumi train -c {workspace}/config.yml")
    assert not folder.exists()


def test_only_older_checkpoints(workspace):
    add_checkpoint(workspace, 100)
    result = lumi_eval(workspace, "--from-global-step", "200")
    assert_fails(result, CheckpointError, "step 100", "--from-global-step 200")
    assert lumi_eval(workspace, "--from-global-step", "100").error is None


def test_unknown_checkpoint(workspace):
    assert_fails(lumi_eval(workspace, "--checkpoint", "nonesuch"), CheckpointError, "nonesuch")


def test_unknown_split(workspace):
    add_checkpoint(workspace, 1)
    assert_fails(lumi_eval(workspace, "--split", "test"), DataError, "test.tfrecords", "there are records of: val")


def test_unknown_folder(workspace):
    add_checkpoint(workspace, 1)
    result = lumi_eval(workspace, "-o", f"dataset.dir={workspace}/nowhere")
    assert_fails(result, DataError, f"{workspace}/nowhere", "no such folder")
    assert_fails(lumi_eval(workspace, "-o", "dataset.dir=null"), ConfigError, "dataset.dir")


def test_empty_split(workspace):
    add_checkpoint(workspace, 1)
    write_records(workspace / "tf", [], split="empty")
    assert_fails(lumi_eval(workspace, "--split", "empty"), DataError, "empty.tfrecords", "no pictures")


def test_split_without_objects(workspace):
    add_checkpoint(workspace, 1)
    write_records(workspace / "tf", [((60, 80), [[0, 0, 9, 9]], [0], [1]), PICTURES[1]], split="bare")
    assert_fails(lumi_eval(workspace, "--split", "bare"), DataError, "bare.tfrecords", "none of the 2 pictures")
    assert written(workspace) == []


def test_other_classes(workspace):
    folder = add_checkpoint(workspace, 1, ["car", "tram"])
    assert_fails(
        lumi_eval(workspace), CheckpointError, str(folder), "Differing: bus, person, tram", "2: car, tram",
        f"{workspace}/tf/classes.json has 3: car, bus, person",
    )  # fmt: skip


def test_wrong_usage(workspace):
    from click import UsageError

    for arguments, config in (
        (["--watch", "--checkpoint", "toytown"], True),
        (["--watch", "--report", "page.html"], True),
        (["--watch", "--compare", "x.json"], True),
        (["--again"], True),
        (["--from-detections", "x.json", "--checkpoint", "toytown"], True),
        (["--checkpoint", "best"], False),
        ([], False),
        (["--batch-size", "0"], True),
    ):
        with pytest.raises(UsageError):
            lumi_eval(workspace, *arguments, config=config)


# --- Watching -----------------------------------------------------------------------------------------------------


class Clock:
    """In place of `time.sleep`: each pause does the next of `events`, the one after the last is Ctrl-C."""

    def __init__(self, *events):
        self._events = list(events)

    def __call__(self, seconds):
        if not self._events:
            raise KeyboardInterrupt
        self._events.pop(0)()


def test_watch_takes_each_checkpoint_once_in_order(workspace, monkeypatch):
    add_checkpoint(workspace, 300)
    add_checkpoint(workspace, 20)
    clock = Clock(lambda: None, lambda: [add_checkpoint(workspace, step) for step in (900, 600)], lambda: None)
    monkeypatch.setattr(eval_module.time, "sleep", clock)
    result = lumi_eval(workspace, "--watch")
    assert result.error is None
    titles = [line.split()[0] for line in result.out.splitlines() if line.startswith("ckpt-")]
    assert titles == ["ckpt-20", "ckpt-300", "ckpt-600", "ckpt-900"]
    assert result.err.count("Waiting") == 2
    assert len(written(workspace)) == 4


def test_watch_from_a_step_and_before_the_run_exists(workspace, monkeypatch):
    clock = Clock(lambda: [add_checkpoint(workspace, step) for step in (10, 20, 30)])
    monkeypatch.setattr(eval_module.time, "sleep", clock)
    lumi_eval(workspace, "--watch", "--from-global-step", "20")
    assert written(workspace) == ["val-20.json", "val-30.json"]


def test_watch_leaves_out_what_training_removed(workspace, monkeypatch):
    import shutil

    gone, there = add_checkpoint(workspace, 10), add_checkpoint(workspace, 20)
    read = checkpoint_module.read_checkpoint_classes

    def removed_before_reading(folder):
        shutil.rmtree(gone, ignore_errors=True)
        return read(folder)

    monkeypatch.setattr(checkpoint_module, "read_checkpoint_classes", removed_before_reading)
    monkeypatch.setattr(eval_module.time, "sleep", Clock())
    result = lumi_eval(workspace, "--watch")
    assert result.error is None
    assert f"{gone}: left out" in result.err
    assert written(workspace) == ["val-20.json"]
    assert there.exists()


def test_watch_waits_for_a_checkpoint_that_is_being_written(workspace, monkeypatch):
    def begin():
        add_checkpoint(workspace, 10).rename(workspace / "jobs" / "streets" / ".ckpt-10.4711")

    def finish():
        assert written(workspace) == []
        (workspace / "jobs" / "streets" / ".ckpt-10.4711").rename(workspace / "jobs" / "streets" / "ckpt-10")

    monkeypatch.setattr(eval_module.time, "sleep", Clock(begin, lambda: None, finish))
    assert lumi_eval(workspace, "--watch").error is None
    assert written(workspace) == ["val-10.json"]


def test_watch_leaves_out_what_was_evaluated_before(workspace, monkeypatch):
    add_checkpoint(workspace, 10)
    lumi_eval(workspace)
    add_checkpoint(workspace, 20)
    monkeypatch.setattr(eval_module.time, "sleep", Clock())
    result = lumi_eval(workspace, "--watch")
    assert "ckpt-10: evaluated on val before, left out (--again" in result.err
    assert [line.split()[0] for line in result.out.splitlines() if line.startswith("ckpt-")] == ["ckpt-20"]
    assert lumi_eval(workspace, "--watch", "--again").out.count(" on val:") == 2


# --- Best, comparisons, detections, reports ------------------------------------------------------------------------


def set_ap(workspace, step, value, split="val"):
    path = workspace / "jobs" / "streets" / "eval" / f"{split}-{step}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"metrics": {"AP": value}}))


def test_best_checkpoint_of_earlier_evaluations(workspace):
    write_records(workspace / "tf", PICTURES, split="test")
    for step in (10, 20, 30):
        add_checkpoint(workspace, step)
    for step, value in ((5, 0.9), (10, 0.5), (20, 0.7), (30, 0.6)):
        set_ap(workspace, step, value)
    set_ap(workspace, 30, 0.99, split="test")
    result = lumi_eval(workspace, "--checkpoint", "best", "--split", "test")
    assert result.out.startswith("ckpt-20 (step 20) on test")  # chosen on val
    assert "The best of 4 evaluated on val" in result.err
    assert "AP 0.7000" in result.err
    assert "better ones are not kept any more: step 5" in result.err
    result = lumi_eval(workspace, "--checkpoint", "best", "--from-global-step", "25")
    assert_fails(result, CheckpointError, "the best checkpoint is of step 20", "--from-global-step 25")


def test_best_where_none_was_evaluated(workspace):
    add_checkpoint(workspace, 10)
    result = lumi_eval(workspace, "--checkpoint", "best")
    assert_fails(result, CheckpointError, "no checkpoint was evaluated on 'val' yet", "eval/val-<step>.json")


def test_comparison_with_an_earlier_evaluation(workspace):
    add_checkpoint(workspace, 10)
    add_checkpoint(workspace, 20)
    lumi_eval(workspace, "--checkpoint", str(workspace / "jobs/streets/ckpt-10"))
    earlier = workspace / "jobs" / "streets" / "eval" / "val-10.json"
    result = lumi_eval(workspace, "--compare", str(earlier))
    assert f"Compared with {earlier}:" in result.out
    lines = [line.split() for line in result.out.splitlines()]
    assert ["AP50", "bus", "1.0000", "1.0000", "+0.0000", "+0.0000", "to", "+0.0000", "unclear"] in lines
    assert "AP50 is higher in 0 classes, lower in 0, the same in 3." in result.out
    kept = json.loads(earlier.with_name("val-20.json").read_text())
    assert kept["comparison"]["with"] == str(earlier)
    assert kept["comparison"]["AP"]["difference"] == 0.0
    earlier.with_name("val-10.detections.npz").unlink()
    result = lumi_eval(workspace, "--compare", str(earlier))
    assert isinstance(result.error, DataError)
    assert f"--checkpoint {workspace}/jobs/streets/ckpt-10" in str(result.error)


def test_detections_written_and_read_give_the_same_figures(workspace):
    add_checkpoint(workspace, 10)
    file = workspace / "found.json"
    first = json.loads(lumi_eval(workspace, "--detections", str(file), "--json").out)
    assert len(json.loads(file.read_text())) == 3
    dataset = f"dataset.dir={workspace}/tf"
    result = lumi_eval(workspace, "--from-detections", str(file), "-o", dataset, "--json", config=False)
    assert result.error is None
    second = json.loads(result.out)
    assert (second["checkpoint"], second["step"], second["losses"]) == (None, None, {})
    for key in ("metrics", "by_class", "thresholds", "errors", "voc"):
        assert second[key] == first[key]
    assert (first["losses"]["total_loss"], first["step"]) == (3.5, 10)
    table = lumi_eval(workspace, "--from-detections", str(file), "-o", dataset, config=False).out
    assert table.startswith("found.json on val: 3 images, 3 objects")
    assert "loss" not in table


def test_detections_of_something_else(workspace):
    file = workspace / "theirs.json"
    file.write_text('[{"image_id": "elsewhere.jpg", "category_id": 1, "bbox": [0, 0, 5, 5], "score": 1}]')
    assert_fails(lumi_eval(workspace, "--from-detections", str(file)), DataError, str(file), "elsewhere.jpg")
    assert_fails(lumi_eval(workspace, "--from-detections", str(workspace / "no.json")), DataError, "no.json")


def test_report_and_pictures_for_tensorboard(workspace, monkeypatch):
    from luminoth.evaluation import report

    seen = {}
    monkeypatch.setattr(report, "write_report", lambda path, *things, **settings: seen.update(settings, path=path))
    add_checkpoint(workspace, 10)
    result = lumi_eval(workspace, "--report", "page.html", "--files-per-class", "3")
    assert "Wrote the report page.html" in result.err
    assert (seen["path"], seen["files_per_class"], seen["proposals"]) == (Path("page.html"), 3, None)
    assert (seen["subject"].name, seen["subject"].step, seen["subject"].split) == ("ckpt-10", 10, "val")
    assert (seen["comparison"], seen["other_name"], seen["other_detections"]) == (None, "", None)
