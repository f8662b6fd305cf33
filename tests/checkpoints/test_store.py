import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from luminoth.checkpoints import index, store
from luminoth.checkpoints.entry import Entry, Status
from luminoth.checkpoints.folder import hash_files
from luminoth.checkpoints.metadata import parse_metadata, read_metadata
from luminoth.checkpoints.naming import check_fields
from luminoth.checkpoints.publish import create_checkpoint
from luminoth.checkpoints.store import Store, choose
from luminoth.errors import CheckpointError, OutputError
from tests.checkpoints.light import CLASSES, EMBEDDED_ID, light_entry, light_run
from tests.checkpoints.tiny_run import save

ROOT = Path(__file__).parents[2]


def publish(monkeypatch, home, **folders):
    """Copies of one checkpoint in LUMI_HOME: folder name -> metadata."""
    monkeypatch.setenv("LUMI_HOME", str(home))
    for name, metadata in folders.items():
        folder, _, _ = save(home / "checkpoints", step=1)
        (folder / "metadata.json").write_text(json.dumps(metadata))
        folder.rename(folder.with_name(name))


def test_finding_checkpoints_by_folder(tmp_path):
    save(tmp_path / "run", step=1)
    newest, _, _ = save(tmp_path / "run", step=2)
    assert store.find_checkpoint(tmp_path / "run") == newest
    assert store.find_checkpoint(str(tmp_path / "run" / "ckpt-1")) == tmp_path / "run" / "ckpt-1"


def test_finding_published_checkpoints_by_id_and_alias(tmp_path, monkeypatch):
    publish(
        monkeypatch,
        tmp_path,
        aaa111={"alias": "street", "created": "2024-01-01T00:00:00+00:00"},
        bbb222={"alias": "street", "created": "2025-01-01T00:00:00+00:00"},
    )
    assert store.find_checkpoint("aaa111") == tmp_path / "checkpoints" / "aaa111"
    assert store.find_checkpoint("street") == tmp_path / "checkpoints" / "bbb222"  # the newer of two


def test_a_name_comes_before_a_folder_of_that_name(tmp_path, monkeypatch):
    publish(monkeypatch, tmp_path, aaa111={"alias": "street"})
    save(tmp_path / "street", step=4)
    monkeypatch.chdir(tmp_path)
    assert store.find_checkpoint("street").name == "aaa111"
    assert store.find_checkpoint("./street").name == "ckpt-4"


def test_what_cannot_be_found_lists_what_there_is(tmp_path, monkeypatch):
    publish(monkeypatch, tmp_path, aaa111={"alias": "street"})
    with pytest.raises(CheckpointError, match=r"no checkpoint `nope`: .* available: .*street"):
        store.find_checkpoint("nope")
    with pytest.raises(
        CheckpointError,
        match=r"`accurate` is not on this machine: `lumi checkpoint download accurate` fetches .*; available: .*street",
    ):
        store.find_checkpoint("accurate")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"empty holds no checkpoint: looked for model.weights.h5"):
        store.find_checkpoint(tmp_path / "empty")


def test_listing_and_finding_import_no_tensorflow(tmp_path):
    save(tmp_path)
    code = (
        "import sys; from luminoth.checkpoints import runs, store;"
        "store.find_checkpoint(sys.argv[1]); runs.list_checkpoints(sys.argv[1]);"
        "sys.exit(any(name in sys.modules for name in ('tensorflow', 'keras', 'h5py')))"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)]).returncode == 0


# --- Which one a name means -------------------------------------------------------------------------------------


def entry(checkpoint_id, alias, created, status=Status.LOCAL):
    return Entry(checkpoint_id, alias=alias, created=created, status=status)


def test_the_newest_local_one_wins():
    entries = [
        entry("a", "x", "2020", Status.LOCAL),
        entry("b", "x", "2022", Status.LOCAL),
        entry("c", "x", "2025", Status.DOWNLOADED),
        entry("d", "x", "2026", Status.NOT_DOWNLOADED),
        entry("e", "y", "2030", Status.LOCAL),
        entry("x2", "", "2030", Status.LOCAL),
    ]
    found = choose("x", entries)
    assert [found.entry.id, *(each.id for each in found.others)] == ["b", "a", "c", "d"]
    assert choose("c", entries) == (entries[2], [])
    assert choose("", entries) is None
    assert choose("X", entries) is None
    as_id = entry("x", "", "2000")
    assert choose("x", [*entries, as_id]) == (as_id, [])  # an id comes before an alias


def test_the_checkpoint_in_the_package_is_a_local_one_that_stays(tmp_path):
    own = Store(tmp_path / "store")
    [embedded] = own.entries()
    assert (embedded.id, embedded.alias, embedded.status, embedded.data["classes"]) == (
        EMBEDDED_ID,
        "toytown",
        "LOCAL",
        6,
    )
    assert hash_files(embedded.folder) == read_metadata(embedded.folder)["files"]
    for change in (own.delete, lambda name: own.edit(name, {"name": "mine"})):
        with pytest.raises(CheckpointError, match=r"`toytown` is part of the package and cannot be"):
            change("toytown")
    made = create_checkpoint(light_run(tmp_path / "run", 7), {"alias": "toytown"}, store=own)
    found = own.resolve("toytown")
    assert (found.entry, found.others) == (made, [embedded])
    assert own.resolve(EMBEDDED_ID).entry == embedded
    assert own.delete("toytown") == made  # there is but one that can be meant
    assert not (tmp_path / "elsewhere").exists()


# --- Reading ----------------------------------------------------------------------------------------------------


def test_metadata_of_format_0_is_migrated(tmp_path):
    folder = light_entry(
        tmp_path, "traffic", id="other", alias="street", papers=["Ren et al."], created="2024-01-01T02:00:00+02:00",
        scores={"AP": 0.5, "bad": None, "text": "on \x1b[31mred"}, source_sha256="ab",
    )  # fmt: skip
    [_, made] = Store(tmp_path / "checkpoints").entries()
    assert (made.id, made.alias, made.paper, made.created) == (
        "traffic",
        "street",
        ("Ren et al.",),
        "2024-01-01T00:00:00+00:00",
    )
    assert made.scores == {"AP": 0.5, "text": "on [31mred"}
    assert made.data == {"classes": len(CLASSES)}
    assert made.bytes == sum(path.stat().st_size for path in folder.iterdir())
    assert read_metadata(folder)["source_sha256"] == "ab"
    changed = Store(tmp_path / "checkpoints").edit("traffic", {"name": "Traffic"})
    assert changed.name == "Traffic"
    metadata = json.loads((folder / "metadata.json").read_text())
    assert (metadata["format"], metadata["id"], metadata["files"]) == (1, "traffic", hash_files(folder))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"format": 2, "luminoth": "9.1"}, r"of format 2, written by Luminoth 9.1; this is .*: update Luminoth"),
        ({"format": "1"}, r"of format '1', expected a number"),
        ({"format": -1}, r"of format -1, expected a number"),
        ([1], r"holds list, expected an object"),
    ],
)
def test_metadata_that_cannot_be_read(content, said):
    with pytest.raises(CheckpointError, match=f"^here: .*{said}"):
        parse_metadata(content, "here")


def test_what_cannot_be_read_is_left_out_and_said(tmp_path):
    light_entry(tmp_path, "good", alias="good")
    light_entry(tmp_path, "newer", format=7)
    (light_entry(tmp_path, "damaged") / "metadata.json").write_text("{")
    (tmp_path / "checkpoints" / "unfinished").mkdir()
    (tmp_path / "checkpoints" / ".hidden").mkdir()
    own = Store(tmp_path / "checkpoints")
    assert [each.id for each in own.entries()] == [EMBEDDED_ID, "good"]
    assert sorted(own.problems()) == ["damaged", "newer"]
    with pytest.raises(CheckpointError, match="update Luminoth"):
        own.resolve("newer")
    with pytest.raises(CheckpointError, match=r"no checkpoint has the id or alias `nope`; available: toytown, good"):
        own.resolve("nope")


def test_texts_cannot_steer_a_terminal():
    metadata = parse_metadata(
        {"name": "a\x1b]0;b\x07\nc\u202ed", "paper": "one", "licence": 5, "x": "y" * 9999}, "here"
    )
    assert (metadata["name"], metadata["paper"], metadata["licence"], len(metadata["x"])) == (
        "a ]0;b c d",
        ["one"],
        "",
        2000,
    )


def test_the_index_spares_reading_and_is_never_believed_against_the_folders(tmp_path, monkeypatch):
    own = Store(tmp_path / "store")
    run = light_run(tmp_path / "run", 7)
    first = create_checkpoint(run, {"alias": "first"}, store=own)
    second = create_checkpoint(run, {"alias": "second"}, store=own)
    read = []
    monkeypatch.setattr(index, "read_entry", lambda path: read.append(path.name) or replace(first, id=path.name))
    by_alias = {each.alias: each for each in own.entries()}
    assert (by_alias["first"], by_alias["second"], read) == (first, second, [])

    (second.folder / "metadata.json").touch()
    own.entries()
    assert read == [second.id]
    for damage in ("", "[]", '{"format": 1, "checkpoints": 3}', '{"format": 99}', "{" * 100_000):
        (own.folder / "index.json").write_text(damage)
        read.clear()
        own.entries()
        assert sorted(read) == sorted([first.id, second.id])
    monkeypatch.undo()
    shutil.rmtree(first.folder)
    assert [each.alias for each in own.entries() if not each.is_embedded] == ["second"]


# --- Changing ---------------------------------------------------------------------------------------------------


def test_editing(tmp_path):
    own = Store(tmp_path / "store")
    made = create_checkpoint(light_run(tmp_path / "run", 7), {"alias": "first", "name": "a"}, store=own)
    changed = own.edit("first", {"alias": "second", "name": "", "dataset.name": "Streets", "description": "a=b"})
    assert changed == own.resolve("second").entry
    assert (changed.id, changed.alias, changed.name, changed.description) == (made.id, "second", "", "a=b")
    assert changed.data == {"classes": 2, "images": 30, "name": "Streets"}
    assert read_metadata(made.folder)["files"] == hash_files(made.folder)
    assert own.look_up("first") is None


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"id": "x"}, "id: no field that can be set; there are: name, alias"),
        ({"dataset.num_classes": "3"}, "is counted"),
        ({"alias": "a b"}, "alias=a b: an alias is one word"),
        ({"alias": "../x"}, "an alias is one word"),
        ({"alias": "-x"}, "an alias is one word"),
        ({"alias": "best"}, "not `best`"),
        ({"alias": "0123456789ab"}, "12 hexadecimal digits"),
    ],
)
def test_fields_that_are_refused(tmp_path, fields, said):
    with pytest.raises(CheckpointError, match=said):
        check_fields(fields)
    with pytest.raises(CheckpointError, match=said):
        create_checkpoint(light_run(tmp_path / "run", 7), fields, store=Store(tmp_path / "store"))
    assert not (tmp_path / "store").exists()


def test_aliases_in_any_script():
    assert check_fields({"alias": "straße-2.1", "name": " x "}) == {"alias": "straße-2.1", "name": "x"}


@pytest.mark.parametrize("name", ["..", ".", "", "../run", "/", ".lock", "index.json", "*", "a/../b"])
def test_deleting_cannot_reach_outside(tmp_path, name):
    own = Store(tmp_path / "store")
    run = light_run(tmp_path / "run", 7)
    create_checkpoint(run, {}, store=own)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(CheckpointError, match="no checkpoint has the id or alias"):
        own.delete(name)
    assert sorted(tmp_path.rglob("*")) == before
    with pytest.raises(OutputError, match="cannot be the id"), own.adding(name):
        pass


def test_deleting_a_link_leaves_what_it_leads_to(tmp_path):
    run = light_run(tmp_path / "run", 7)
    own = Store(tmp_path / "store")
    own.folder.mkdir()
    (own.folder / "linked").symlink_to(run, target_is_directory=True)
    made = create_checkpoint(run, {"alias": "made"}, store=own)
    (made.folder / "outside").symlink_to(run, target_is_directory=True)
    assert own.delete("linked").id == "linked"
    own.delete("made")
    assert sorted(os.listdir(own.folder)) == [".lock", "index.json"]
    assert (run / "model.weights.h5").is_file()


def test_a_shared_alias_is_not_deleted(tmp_path):
    own = Store(tmp_path / "store")
    run = light_run(tmp_path / "run", 7)
    ids = {create_checkpoint(run, {"alias": "same"}, store=own).id for _ in range(2)}
    with pytest.raises(
        CheckpointError, match=r"`same` is the alias of 2 checkpoints; delete one by its id: "
    ) as caught:
        own.delete("same")
    assert all(each in str(caught.value) for each in ids)
    assert {each.id for each in own.entries()} == {*ids, EMBEDDED_ID}


def test_nothing_is_left_of_what_fails(tmp_path, monkeypatch):
    own = Store(tmp_path / "store")
    with pytest.raises(CheckpointError, match=r"state.json: cannot be read"):
        create_checkpoint(tmp_path, {}, store=own)
    with pytest.raises(RuntimeError), own.adding("abc") as folder:  # noqa: PT012
        (folder / "file").write_text("half")
        raise RuntimeError
    assert sorted(os.listdir(own.folder)) == [".lock", "index.json"]
    with own.adding("abc") as folder:
        (folder / "file").write_text("whole")
    with pytest.raises(OutputError, match=r"abc: exists already; .*lumi checkpoint delete abc"), own.adding("abc"):
        pass
    monkeypatch.setattr(store, "bring_to_disk", lambda folder: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(OutputError, match=r"store: the store of checkpoints cannot be changed \(No space left\)"):
        create_checkpoint(light_run(tmp_path / "run", 7), {}, store=own)
    assert sorted(os.listdir(own.folder)) == [".lock", "abc", "index.json"]


def test_a_store_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot be changed .*LUMI_HOME"):
        create_checkpoint(light_run(tmp_path / "run", 7), {}, store=Store(tmp_path / "file" / "store"))


def test_what_is_being_written_is_left_alone_by_others(tmp_path):
    own = Store(tmp_path / "store")
    with own.adding("slow") as unfinished:
        (unfinished / "file").write_text("half")
        create_checkpoint(light_run(tmp_path / "run", 7), {}, store=own)  # clears leftovers
        (own.folder / ".unfinished-dead").mkdir()
        create_checkpoint(light_run(tmp_path / "more", 7), {}, store=own)
        assert not (own.folder / ".unfinished-dead").exists()
    assert (own.folder / "slow" / "file").read_text() == "half"


def test_waiting_for_a_lock_ends(tmp_path, monkeypatch):
    own = Store(tmp_path / "store")
    run = light_run(tmp_path / "run", 7)
    create_checkpoint(run, {}, store=own)
    monkeypatch.setattr(store, "_LOCK_SECONDS", 0.05)
    held = store._wait_for(own.folder / ".lock")
    with pytest.raises(OutputError, match="another process has been changing the store"):
        create_checkpoint(run, {}, store=own)
    assert len(own.entries()) == 2  # readers wait for nobody
    os.close(held)
    create_checkpoint(run, {}, store=own)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
@pytest.mark.parametrize(
    ("what", "told"),
    [("killed", {"kills": 40, "left": [".lock"]}), ("together", {"first": 10, "third": 1})],
)
def test_several_processes(tmp_path, what, told):
    done = subprocess.run(
        [sys.executable, "-m", "tests.checkpoints.killed_writers", what, str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == told
