"""Opening a run: what it goes on from, what may have changed since, who holds it. Nothing is trained here."""

import json
import os

import pytest

from luminoth.checkpoints.folder import WEIGHTS_FILE, hash_file, write_facts
from luminoth.checkpoints.runs import list_checkpoints
from luminoth.errors import CheckpointError, OutputError
from luminoth.training.changed_settings import compare_settings
from luminoth.training.run import held_run, open_run, put_aside
from tests.checkpoints.light import write_weights
from tests.training.tiny import CLASSES, tiny_config


@pytest.fixture
def config(dataset, tmp_path):
    return tiny_config(dataset, tmp_path)


def add_checkpoint(config, step, **state):
    """As training saves it, without TensorFlow."""
    folder = open_run(config).folder / f"ckpt-{step}"
    folder.mkdir(parents=True)
    write_weights(folder / WEIGHTS_FILE, step=step, optimizer=True)
    written = hash_file(folder / WEIGHTS_FILE)
    data = {"images_seen": 2 * step, "images": 6, "hash": open_run(config).data_hash}
    write_facts(folder, config, CLASSES, {"step": step, "seed": 5, "data": data, "weights": written, **state})
    return folder


def test_it_goes_on_from_the_newest(config):
    assert (open_run(config).checkpoint, open_run(config).start_step) == (None, 0)
    for step in (2, 10, 9):
        add_checkpoint(config, step)
    found = open_run(config)
    assert (found.checkpoint.name, found.start_step, found.images_seen, found.seed) == ("ckpt-10", 10, 20, 5)
    assert (found.changes, found.damaged) == ((), ())


def cut(checkpoint):
    os.truncate(checkpoint / WEIGHTS_FILE, 500)


def cut_one_of_an_earlier_version(checkpoint):
    """Which has no checksum."""
    cut(checkpoint)
    state = json.loads((checkpoint / "state.json").read_text())
    del state["weights"]
    (checkpoint / "state.json").write_text(json.dumps(state))


def change_a_bit(checkpoint):
    content = bytearray((checkpoint / WEIGHTS_FILE).read_bytes())
    content[len(content) // 2] ^= 1
    (checkpoint / WEIGHTS_FILE).write_bytes(content)


def empty_the_state(checkpoint):
    (checkpoint / "state.json").write_bytes(b"")


def remove_the_configuration(checkpoint):
    (checkpoint / "config.yml").unlink()


@pytest.mark.parametrize(
    "damage", [cut, cut_one_of_an_earlier_version, change_a_bit, empty_the_state, remove_the_configuration]
)
def test_damaged_checkpoints_are_passed_over_and_put_aside(config, damage):
    for step in (1, 2, 3):
        add_checkpoint(config, step)
    for step in (2, 3):
        damage(open_run(config).folder / f"ckpt-{step}")
    found = open_run(config)
    assert (found.checkpoint.name, found.start_step) == ("ckpt-1", 1)
    assert [folder.name for folder, _ in found.damaged] == ["ckpt-3", "ckpt-2"]

    lines = put_aside(found)
    assert lines[0].startswith(f"{found.folder / 'ckpt-3'}: damaged (")
    assert lines[0].endswith("now called ckpt-3.damaged; going on from step 1, the newest checkpoint that is whole")
    assert [step for step, _ in list_checkpoints(found.folder)] == [1]
    assert (found.folder / "ckpt-2.damaged").is_dir()

    damage(add_checkpoint(config, 3))  # once more
    put_aside(open_run(config))
    assert (found.folder / "ckpt-3.damaged-2").is_dir()


def test_without_a_whole_checkpoint_nothing_starts_over(config):
    cut(add_checkpoint(config, 1))
    with pytest.raises(
        CheckpointError, match=r"none of its checkpoints is whole \(ckpt-1: model.weights.h5 is not what"
    ):
        open_run(config)
    assert os.listdir(config.train.job_dir + "/run") == ["ckpt-1"]


def with_model(config, section, **values):
    part = getattr(config.model, section).model_copy(update=values)
    return config.model_copy(update={"model": config.model.model_copy(update={section: part})})


def with_train(config, **values):
    return config.model_copy(update={"train": config.train.model_copy(update=values)})


def test_what_the_weights_mean_may_not_change_and_the_rest_is_told(config):
    add_checkpoint(config, 1)
    with pytest.raises(CheckpointError, match=r"holds another training \(ckpt-1\): model.anchors.base_size was 16"):
        open_run(with_model(config, "anchors", base_size=32.0))
    changed = with_model(with_train(config, batch_size=1, max_steps=None), "loss", rpn_cls_loss_weight=2.0)
    assert sorted(open_run(changed).changes) == [
        "model.loss.rpn_cls_loss_weight 1.0 -> 2.0", "train.batch_size 2 -> 1", "train.max_steps 6 -> empty",
    ]  # fmt: skip


def test_what_only_the_start_needs_may_change_silently(config):
    other = with_model(config, "base_network", weights="elsewhere.h5")
    other = with_train(other, job_dir="elsewhere", run_name="moved")
    assert compare_settings(config, other) == compare_settings(config, config)


def test_other_records_are_told(config):
    add_checkpoint(config, 1, data={"images_seen": 2, "images": 5, "hash": "0" * 64})
    assert open_run(config).changes == ("other records (5 images before, 6 now)",)


def test_a_run_is_held_by_one_training(config):
    with held_run(config) as run:
        add_checkpoint(config, 1)
        with (
            pytest.raises(OutputError, match=rf"run: another training writes to it \(process {os.getpid()} on "),
            held_run(config),
        ):
            pytest.fail("two trainings hold one run")
        assert open_run(config).start_step == 1  # looking is free
    with held_run(config) as run:
        assert run.start_step == 1


def test_a_run_that_never_began_leaves_nothing(config, tmp_path):
    with held_run(config):
        assert os.listdir(tmp_path / "run") == [".lock"]
    assert os.listdir(tmp_path) == []


def test_a_run_that_saves_nothing_holds_nothing(config, tmp_path):
    quiet = with_train(config, no_log=True)
    with held_run(quiet) as one, held_run(quiet) as other:
        assert one.folder is other.folder is None
    assert os.listdir(tmp_path) == []
