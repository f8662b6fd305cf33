"""Run as a program: processes that change a store are killed, or get in each other's way; what is then in the store?

    python -m tests.checkpoints.killed_writers killed FOLDER      prints {"kills": ..., "left": ...}
    python -m tests.checkpoints.killed_writers together FOLDER    prints {"created": ..., "listed": ...}

A program of its own, because it forks: the tests' own process has TensorFlow's threads.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import h5py  # noqa: F401  before forking, so that children start at once

from luminoth.checkpoints.archive import export_checkpoint, import_checkpoint
from luminoth.checkpoints.folder import hash_files
from luminoth.checkpoints.metadata import read_metadata
from luminoth.checkpoints.publish import create_checkpoint
from luminoth.checkpoints.store import Store
from luminoth.errors import LuminothError
from tests.checkpoints.light import light_run

KILLS = 40


def fork(work) -> int:
    """A child that does `work` and ends."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return child


def check_whole(store: Store) -> list[str]:
    """Everything that is listed is complete and as published; the ids."""
    assert not store.problems(), store.problems()
    own = [entry for entry in store.entries() if not entry.is_embedded]
    for entry in own:
        assert hash_files(entry.folder) == read_metadata(entry.folder)["files"], entry.folder
        assert entry.alias in ("first", "second", "third"), entry
    return [entry.id for entry in own]


def killed(folder: Path) -> dict:
    """Kills a process that creates, imports, edits and deletes, at moments that nobody chose."""
    run, store = light_run(folder / "run", 7), Store(folder / "store")
    shared = create_checkpoint(run, {"alias": "first"}, store=Store(folder / "other"))
    tar = export_checkpoint(shared, folder)
    chance = random.Random(0)

    def work() -> None:
        while True:
            entry = create_checkpoint(run, {"alias": "second"}, store=store)
            store.edit(entry.id, {"alias": "third"})
            import_checkpoint(tar, store=store)
            store.delete(entry.id)
            store.delete(shared.id)

    kills = 0
    for _ in range(KILLS):
        child = fork(work)
        time.sleep(chance.uniform(0.003, 0.06))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        kills += os.WIFSIGNALED(status)
        ids = check_whole(store)
        for each in ids if len(ids) > 3 else []:
            store.delete(each)
        if shared.id in ids and len(ids) <= 3:
            store.delete(shared.id)  # so that the next one can import it
    create_checkpoint(run, {"alias": "first"}, store=store)
    hidden = {path.name for path in store.folder.iterdir() if path.name.startswith(".")}
    index = json.loads((store.folder / "index.json").read_text(encoding="utf-8"))
    assert sorted(index["checkpoints"]) == sorted(check_whole(store))
    return {"kills": kills, "left": sorted(hidden)}


def together(folder: Path) -> dict:
    """Two processes create, one deletes what it finds, one lists and reads all the while."""
    run, store = light_run(folder / "run", 7), Store(folder / "store")
    end = time.monotonic() + 2.0

    def create(alias: str) -> None:
        for _ in range(10):
            create_checkpoint(run, {"alias": alias}, store=store)

    def delete() -> None:
        while time.monotonic() < end:
            for entry in store.entries():
                if entry.alias == "second":
                    store.delete(entry.id)

    def look() -> None:
        count = 0
        while time.monotonic() < end:
            for entry in store.entries():
                assert entry.id
                assert entry.data["classes"] in (2, 6), entry
                if entry.alias == "first":  # nobody deletes these
                    assert hash_files(entry.folder) == read_metadata(entry.folder)["files"]
            count += 1
        assert count > 3

    def import_same() -> None:
        import_checkpoint(tar, store=store)

    tar = export_checkpoint(create_checkpoint(run, {"alias": "third"}, store=Store(folder / "other")), folder)
    works = [lambda: create("first"), lambda: create("second"), delete, look, import_same, import_same]
    children = [fork(work) for work in works]
    statuses = [os.WEXITSTATUS(os.waitpid(child, 0)[1]) for child in children]
    assert statuses == [0] * len(works), statuses
    check_whole(store)
    aliases = [entry.alias for entry in store.entries()]
    return {alias: aliases.count(alias) for alias in ("first", "third")}


if __name__ == "__main__":
    try:
        print(json.dumps({"killed": killed, "together": together}[sys.argv[1]](Path(sys.argv[2]))))
    except LuminothError as error:
        sys.exit(f"{type(error).__name__}: {error}")
