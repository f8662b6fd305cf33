"""Runs in a bucket, through TensorFlow's own client of gs://: what is whole, what is there after whatever happened."""

import json
import os
import shutil

import pytest

from luminoth.checkpoints import in_bucket
from luminoth.checkpoints.folder import STATE_FILE, WEIGHTS_FILE, amend_state, find_damage, hash_file, read_state
from luminoth.checkpoints.in_bucket import (
    address_of,
    at_hand,
    checkpoint_at_hand,
    refresh,
    take_over,
    upload_changes,
    will_remove,
)
from luminoth.checkpoints.runs import list_checkpoints, prune_checkpoints, run_folder
from luminoth.checkpoints.store import find_checkpoint
from luminoth.config import config_from_dict
from luminoth.errors import CheckpointError, OutputError
from luminoth.storage import with_addresses
from luminoth.training import saving
from luminoth.training.events import CheckpointSaved, Doubted, RunOpened
from tests.checkpoints.light import light_run
from tests.training.conftest import dataset, tiny_model  # noqa: F401
from tests.training.running import assert_same_tensors, of_kind, run, stop_at
from tests.training.tiny import tiny_config


@pytest.fixture
def another_process(monkeypatch, tmp_path):
    """Call it: from then on nothing is known of copies made before, as in a process that has just begun."""
    count = iter(range(1000))

    def begin():
        root = tmp_path / f"process-{next(count)}"
        monkeypatch.setattr(in_bucket, "_copies", {})
        monkeypatch.setattr(in_bucket, "local_root", lambda: root)

    monkeypatch.setattr(in_bucket, "keep_copy", lambda folder, unless: None)
    begin()
    return begin


@pytest.fixture
def address(gcs_bucket, another_process):
    """Of a run in a bucket that is empty."""
    return f"gs://{gcs_bucket.name}/jobs/run"


@pytest.fixture
def there(gcs_bucket):
    """The folder that plays the run's place in the bucket."""
    return gcs_bucket / "jobs" / "run"


def save(folder, step):
    """A checkpoint as training saves it, but for TensorFlow."""
    checkpoint = light_run(folder, step)
    amend_state(checkpoint, weights=hash_file(checkpoint / WEIGHTS_FILE))
    return checkpoint


def files_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def steps_in(folder):
    return [step for step, _ in list_checkpoints(folder)]


def writes(gcs, bucket):
    """What was written and removed, in order, as (method, path in the run)."""
    done = [(method, path) for method, path in gcs.requests if method in ("PUT", "DELETE")]
    names = [path.partition("name=")[2].partition("&")[0] or path.partition(f"/b/{bucket}/o/")[2] for _, path in done]
    return [(method, name.removeprefix("jobs/run/")) for (method, _), name in zip(done, names, strict=True)]


FOUR = ["classes.json", "config.yml", "model.weights.h5", "state.json"]


def test_what_is_new_is_brought_to_the_bucket(address, there, gcs):
    folder = at_hand(address)
    assert files_in(folder) == []
    save(folder, 3)
    (folder / "metrics.jsonl").write_text('{"step": 3}\n')
    (folder / ".lock").write_text("1")
    upload_changes(folder)
    assert files_in(there) == [*(f"ckpt-3/{name}" for name in FOUR), "metrics.jsonl"]
    assert all((there / name).read_bytes() == (folder / name).read_bytes() for name in files_in(there))

    gcs.requests = []
    upload_changes(folder)
    assert writes(gcs, there.parents[1].name) == []  # nothing has changed
    amend_state(folder / "ckpt-3", validation={"AP": 0.5})
    upload_changes(folder)
    assert writes(gcs, there.parents[1].name) == [("PUT", "ckpt-3/state.json")]
    assert read_state(there / "ckpt-3")["validation"] == {"AP": 0.5}


def test_the_state_is_written_last_and_removed_first(address, there, gcs):
    folder = at_hand(address)
    for step in (1, 2):
        save(folder, step)
    upload_changes(folder)
    gcs.requests = []
    save(folder, 3)
    will_remove(prune_checkpoints(folder, 2))
    upload_changes(folder)
    done = writes(gcs, there.parents[1].name)
    assert done[:4] == [("PUT", f"ckpt-3/{name}") for name in FOUR]
    assert done[4] == ("DELETE", "ckpt-1/state.json")
    assert sorted(done[5:]) == [("DELETE", f"ckpt-1/{name}") for name in FOUR[:3]]
    assert steps_in(there) == [2, 3]
    assert not (there / "ckpt-1").exists()


def test_a_checkpoint_that_is_written_anew_is_none_meanwhile(address, there, gcs):
    folder = at_hand(address)
    save(folder, 1)
    upload_changes(folder)
    (folder / "ckpt-1" / WEIGHTS_FILE).write_bytes(b"other weights")
    amend_state(folder / "ckpt-1", weights=hash_file(folder / "ckpt-1" / WEIGHTS_FILE))
    gcs.requests = []
    upload_changes(folder)
    assert writes(gcs, there.parents[1].name) == [
        ("DELETE", "ckpt-1/state.json"), ("PUT", "ckpt-1/model.weights.h5"), ("PUT", "ckpt-1/state.json")
    ]  # fmt: skip


def test_the_state_comes_back_when_only_another_file_has_changed(address, there):
    folder = at_hand(address)
    save(folder, 1)
    upload_changes(folder)
    (folder / "ckpt-1" / ".state.json.unfinished").write_text("half")  # left by a full disk
    (folder / "ckpt-1" / "classes.json").write_text('["tram"]')
    upload_changes(folder)
    assert files_in(there) == [f"ckpt-1/{name}" for name in FOUR]
    assert json.loads((there / "ckpt-1" / "classes.json").read_text()) == ["tram"]


def test_what_is_gone_here_alone_stays_in_the_bucket(address, there):
    """As where something tidies up the folder for temporary files."""
    folder = at_hand(address)
    for step in (1, 2):
        save(folder, step)
    upload_changes(folder)
    (folder / "ckpt-1" / STATE_FILE).unlink()
    shutil.rmtree(folder / "ckpt-2")
    upload_changes(folder)
    assert steps_in(there) == [1, 2]
    refresh(folder)
    assert steps_in(folder) == [1, 2]


def test_one_checkpoint_is_copied_alone(address, there, gcs, another_process):
    light_run(there, 5, 20)
    bucket = there.parents[1].name
    assert checkpoint_at_hand(f"{address}/ckpt-5").name == "ckpt-5"
    assert gcs.asked(f"GET /{bucket}/jobs/run/ckpt-20") == []
    assert checkpoint_at_hand(address).name == "ckpt-20"
    assert steps_in(at_hand(address)) == [5, 20]
    assert len(gcs.asked(rf"GET /{bucket}/jobs/run/ckpt-\d+/model")) == 2  # each once


def test_a_state_without_weights_is_no_checkpoint(address, there):
    light_run(there, 5, 20)
    (there / "ckpt-20" / WEIGHTS_FILE).unlink()
    assert steps_in(at_hand(address)) == [5]
    assert checkpoint_at_hand(address).name == "ckpt-5"


def test_what_another_training_finished_meanwhile_is_not_removed(address, there):
    folder = at_hand(address)
    light_run(there, 100)
    take_over(folder)
    assert steps_in(there) == [100]
    refresh(folder)
    assert steps_in(folder) == [100]


def test_a_run_may_be_called_as_a_checkpoint(dataset, gcs_bucket, tiny_model, another_process):  # noqa: F811
    light_run(gcs_bucket / "jobs" / "ckpt-7", 1)
    config = tiny_config(dataset, f"gs://{gcs_bucket.name}/jobs", run_name="ckpt-1", max_steps=2)
    run(config)
    assert steps_in(gcs_bucket / "jobs" / "ckpt-1") == [2]
    assert steps_in(gcs_bucket / "jobs" / "ckpt-7") == [1]


def test_another_process_finds_it_as_it_was(address, there, another_process):
    folder = at_hand(address)
    for step in (5, 20):
        save(folder, step)
    (folder / "eval").mkdir()
    (folder / "eval" / "val-5.json").write_text("{}")
    (folder / "events.out.tfevents.1").write_text("curves")
    upload_changes(folder)

    another_process()
    found = at_hand(f"{address}/")
    assert found != folder
    assert files_in(found) == [
        *(f"ckpt-20/{name}" for name in FOUR),
        *(f"ckpt-5/{name}" for name in FOUR),
        "eval/val-5.json",
    ]
    assert all((found / name).read_bytes() == (folder / name).read_bytes() for name in files_in(found))
    assert find_damage(found / "ckpt-20") is None
    # Whether an evaluation is newer than its checkpoint is seen by their times.
    for name in ("eval/val-5.json", f"ckpt-5/{WEIGHTS_FILE}"):
        assert (found / name).stat().st_mtime_ns == pytest.approx((there / name).stat().st_mtime_ns, abs=100_000), name
    assert address_of(found) == address
    assert address_of(found / "ckpt-5") == f"{address}/ckpt-5"
    assert address_of(there) == str(there)


def test_it_sees_what_training_adds_and_removes(address, another_process):
    training = at_hand(address)
    for step in (1, 2):
        save(training, step)
    upload_changes(training)
    trained = in_bucket._copies[address]

    another_process()
    evaluating = at_hand(address)
    amend_state(training / "ckpt-2", validation={"AP": 0.25})
    save(training, 3)
    shutil.rmtree(training / "ckpt-1")
    trained.to_remove.add("ckpt-1")
    trained.upload_changes()
    weights = (evaluating / "ckpt-2" / WEIGHTS_FILE).stat().st_ino
    refresh(evaluating)
    assert steps_in(evaluating) == [2, 3]
    assert not (evaluating / "ckpt-1").exists()
    assert read_state(evaluating / "ckpt-2")["validation"] == {"AP": 0.25}
    assert (evaluating / "ckpt-2" / WEIGHTS_FILE).stat().st_ino == weights  # not copied again

    (evaluating / "eval").mkdir()
    (evaluating / "eval" / "val-3.json").write_text("{}")
    upload_changes(evaluating)
    refresh(training)  # a copy of another process's: nothing happens
    trained.refresh()
    assert (training / "eval" / "val-3.json").read_text() == "{}"


def test_the_rest_of_an_upload_is_no_checkpoint_and_is_removed_by_training_alone(address, there, another_process):
    folder = at_hand(address)
    for step in (1, 2):
        save(folder, step)
    upload_changes(folder)
    (there / "ckpt-2" / STATE_FILE).unlink()

    another_process()
    folder = at_hand(address)
    assert steps_in(folder) == [1]
    (folder / "metrics.jsonl").write_text("")
    upload_changes(folder)  # as an evaluation does: it may be an upload that is under way
    assert (there / "ckpt-2" / WEIGHTS_FILE).exists()
    take_over(folder)
    assert files_in(there) == [*(f"ckpt-1/{name}" for name in FOUR), "metrics.jsonl"]


class _KilledError(BaseException):
    """The process ends here."""


def test_a_kill_before_any_change_of_the_bucket_leaves_a_whole_checkpoint(
    address, there, another_process, monkeypatch, tmp_path
):
    """Each change in turn, of an upload that brings a checkpoint, writes one anew and removes another."""
    folder = at_hand(address)
    for step in (1, 2):
        save(folder, step)
    upload_changes(folder)
    before = tmp_path / "before"
    shutil.copytree(there, before)
    upload, remove = in_bucket.upload, in_bucket.remove
    kills = 0
    while True:
        shutil.rmtree(there)
        shutil.copytree(before, there)
        another_process()
        folder = at_hand(address)
        save(folder, 3)
        (folder / "ckpt-2" / WEIGHTS_FILE).write_bytes(b"written anew")
        amend_state(folder / "ckpt-2", weights=hash_file(folder / "ckpt-2" / WEIGHTS_FILE))
        shutil.rmtree(folder / "ckpt-1")
        will_remove([folder / "ckpt-1"])
        left = iter([True] * kills)

        def counted(change, left=left):
            def wrapped(*arguments):
                if not next(left, False):
                    raise _KilledError
                change(*arguments)

            return wrapped

        monkeypatch.setattr(in_bucket, "upload", counted(upload))
        monkeypatch.setattr(in_bucket, "remove", counted(remove))
        try:
            upload_changes(folder)
        except _KilledError:
            is_killed = True
        else:
            is_killed = False
        monkeypatch.setattr(in_bucket, "upload", upload)
        monkeypatch.setattr(in_bucket, "remove", remove)

        another_process()
        found = at_hand(address)
        whole = steps_in(found)
        assert whole, kills
        assert all(find_damage(found / f"ckpt-{step}") is None for step in whole), (kills, whole)
        if not is_killed:
            assert whole == [2, 3]
            break
        kills += 1
    assert kills == 4 + 3 + 4


def test_training_in_a_bucket_is_that_on_a_disk(dataset, address, there, tmp_path, tiny_model, another_process):  # noqa: F811
    settings = {"max_steps": 6, "save_checkpoint_steps": 2, "save_summaries_steps": 1}
    expected, _ = run(tiny_config(dataset, tmp_path / "disk", **settings))

    config = tiny_config(dataset, address.removesuffix("/run"), **settings)
    stopped, events = run(config, stop_at(3))
    assert stopped.interrupted
    assert [address_of(event.folder) for event in of_kind(events, CheckpointSaved)] == [
        f"{address}/ckpt-{n}" for n in (2, 3)
    ]
    another_process()
    _, events = run(config)
    assert of_kind(events, RunOpened)[0].start_step == 3
    assert steps_in(there) == [3, 4, 6]
    for step in (4, 6):
        assert_same_tensors(there / f"ckpt-{step}", expected.folder / f"ckpt-{step}")
    lines = [json.loads(line) for line in (there / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert len(list(there.glob("events.*"))) == 2  # also that of the first part
    assert {"config.yml", "classes.json"} < set(files_in(there))
    assert not [name for name in files_in(there) if "/." in f"/{name}"]
    assert f"job_dir: {address.removesuffix('/run')}" in (there / "config.yml").read_text()


def test_a_damaged_checkpoint_is_put_aside(dataset, address, there, tiny_model, another_process):  # noqa: F811
    config = tiny_config(dataset, address.removesuffix("/run"), max_steps=4, save_checkpoint_steps=2)
    run(config)
    os.truncate(there / "ckpt-4" / WEIGHTS_FILE, 1000)
    another_process()
    _, events = run(config)
    assert of_kind(events, RunOpened)[0].start_step == 2
    doubt = next(event.message for event in of_kind(events, Doubted) if "damaged" in event.message)
    assert with_addresses(doubt).startswith(f"{address}/ckpt-4: damaged (model.weights.h5 is not what was saved")
    assert (there / "ckpt-4.damaged" / WEIGHTS_FILE).stat().st_size == 1000
    assert find_damage(there / "ckpt-4") is None


def test_an_upload_that_is_refused_is_told_and_tried_again(dataset, address, there, gcs, tiny_model, monkeypatch):  # noqa: F811
    monkeypatch.setattr(saving, "_SECONDS_TO_RETRY", 1e-9)  # at each step
    gcs.failures = [(rf"POST .*name=jobs/run/ckpt-{step}/model", 403) for step in (2, 3, 4) for _ in range(3)]
    settings = {"max_steps": 6, "save_checkpoint_steps": 2, "checkpoints_max_keep": 1}
    here = []

    def look(event):
        if isinstance(event, Doubted) and "not saved" in event.message:
            here.append(steps_in(in_bucket._copies[address].folder))

    _, events = run(tiny_config(dataset, address.removesuffix("/run"), **settings), look)
    assert here == [[2], [3], [4]]  # the disk does not fill up meanwhile
    assert [event.step for event in of_kind(events, CheckpointSaved)] == [5, 6]
    doubts = [event.message for event in of_kind(events, Doubted) if "not saved" in event.message]
    assert len(doubts) == 3
    assert doubts[0].startswith(f"step 2 is not saved: {address}/ckpt-2/model.weights.h5: cannot be written")
    assert "roles/storage.objectAdmin" in doubts[0]
    assert "The newest checkpoint is none." in doubts[0]
    assert steps_in(there) == [6]
    assert files_in(there / "ckpt-6") == FOUR


def test_what_could_not_be_brought_at_the_end_stays_here(dataset, address, there, gcs, tiny_model):  # noqa: F811
    gcs.failures = [(r"POST .*name=jobs/run/ckpt-2/model", 403)] * 20
    config = tiny_config(dataset, address.removesuffix("/run"), max_steps=2)
    with pytest.raises(OutputError, match=r"ckpt-2/model.weights.h5: cannot be written .*; it stays on this disk"):
        run(config)
    copy = in_bucket._copies[address]
    assert find_damage(copy.folder / "ckpt-2") is None
    assert not copy.may_go()
    gcs.failures = []
    copy.upload_changes()
    assert copy.may_go()
    assert steps_in(there) == [2]


def test_a_bucket_that_cannot_be_written_shows_before_anything_is_built(dataset, another_process, gcs, gcs_bucket):  # noqa: F811
    with pytest.raises(OutputError, match=r"no-such-bucket/jobs/run: the run's folder cannot be written .*job_dir"):
        run(tiny_config(dataset, "gs://no-such-bucket/jobs"))
    gcs.failures = [(r"POST .*\.writable", 403)] * 3
    with pytest.raises(OutputError, match=r"cannot be written \(Cloud Storage refuses: .*gcloud auth"):
        run(tiny_config(dataset, f"gs://{gcs_bucket.name}/jobs"))


def test_the_default_name_of_a_run(gcs_bucket, another_process):
    config = config_from_dict(
        {"train": {"job_dir": f"gs://{gcs_bucket.name}/jobs"}, "dataset": {"dir": "gs://data/street/tf"}}
    )
    assert address_of(run_folder(config)) == f"gs://{gcs_bucket.name}/jobs/street-tf-fasterrcnn"


def test_checkpoints_are_named_by_their_addresses(address, there, gcs_bucket, another_process):
    light_run(there, 5, 20)
    shutil.copytree(there / "ckpt-20", gcs_bucket / "published")
    assert find_checkpoint(address).name == "ckpt-20"
    assert find_checkpoint(f"{address}/ckpt-5/").name == "ckpt-5"
    assert files_in(find_checkpoint(f"gs://{gcs_bucket.name}/published")) == FOUR
    assert checkpoint_at_hand(f"{address}/ckpt-6") is None
    with pytest.raises(CheckpointError, match="other: neither a checkpoint nor a run with one is at this address"):
        find_checkpoint(f"gs://{gcs_bucket.name}/other")


def test_a_checkpoint_is_made_of_a_run_in_a_bucket(address, there, lumi, monkeypatch, tmp_path):
    monkeypatch.setenv("LUMI_HOME", str(tmp_path / "home"))
    light_run(there, 5, 20)
    status, out, err = lumi("checkpoint", "create", f"{address}/ckpt-5", "-e", "alias=five", "--json")
    assert (status, json.loads(out)["alias"]) == (0, "five")
    assert f"Made of {address}/ckpt-5, " in err
    status, _, err = lumi("checkpoint", "create", f"{address}/ckpt-6")
    assert (status, err.splitlines()[-1][: len(address) + 14]) == (1, f"Error: {address}/ckpt-6")


def test_a_refusal_to_read_is_no_run_without_checkpoints(address, gcs):
    gcs.failures = [(r"GET /storage", 403)] * 10
    with pytest.raises(CheckpointError, match=r"cannot be copied \(Cloud Storage refuses"):
        at_hand(address)
