"""The index of what can be downloaded: the shipped one, and what is wrong with others."""

import json

import pytest

from luminoth.checkpoints import downloadable
from luminoth.checkpoints.convert.published import PUBLISHED
from luminoth.checkpoints.downloadable import find_remote, not_here, remote_checkpoints, remote_entries
from luminoth.checkpoints.downloading import Checksum
from luminoth.checkpoints.entry import Status
from luminoth.checkpoints.remote_index import index_of, parse_index
from luminoth.errors import CheckpointError

ROW = {
    "id": "0123456789ab",
    "kind": "luminoth",
    "url": "https://models.example/traffic.tar",
    "sha256": "0a" * 32,
    "name": "Traffic in Montevideo",
    "licence": "CC0",
}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("LUMI_HOME", str(tmp_path))
    return tmp_path


def index(*rows):
    return {"format": 1, "checkpoints": list(rows)}


def without(field, row=ROW):
    return {name: value for name, value in row.items() if name != field}


def test_the_shipped_index_is_that_of_the_converters():
    expected = json.dumps(index_of(PUBLISHED), indent=2, ensure_ascii=False) + "\n"
    assert downloadable.SHIPPED_INDEX.read_text(encoding="utf-8") == expected


def test_what_can_be_downloaded():
    found = {each.alias: each for each in remote_checkpoints()}
    assert len(found) == len(PUBLISHED)
    assert set(PUBLISHED) - set(found) == {"fasterrcnn_resnet50_fpn_v2", "fasterrcnn_mobilenet_v3_large_320_fpn"}
    accurate, fast = found["accurate"], found["fast"]
    assert (accurate.model, accurate.scores["AP"]) == ("fasterrcnn_resnet50_fpn_v2", 0.467)
    assert (fast.model, fast.scores["AP"]) == ("fasterrcnn_mobilenet_v3_large_320_fpn", 0.228)
    assert accurate.checksum == Checksum("sha256", "dd69338a")
    assert accurate.file_name == "fasterrcnn_resnet50_fpn_v2_coco-dd69338a.pth"
    assert found["faster_rcnn_R_50_FPN_3x"].checksum == Checksum("md5", "280758")
    assert accurate.licence.startswith("BSD-3-Clause")
    assert found["faster_rcnn_R_50_FPN_3x"].licence.startswith("CC BY-SA 3.0")
    assert accurate.size == pytest.approx(167.1 * 2**20, abs=1)
    assert not_here(accurate) == (
        "the checkpoint `accurate` is not on this machine: `lumi checkpoint download accurate` fetches and converts it "
        "(175 MB)"
    )


def test_ids_are_those_that_checkpoints_keep_for_ever():
    """They are in users' stores: a change of the rule would show downloaded checkpoints as not downloaded."""
    assert [PUBLISHED[name].id for name in ("fasterrcnn_resnet50_fpn_v2", "faster_rcnn_R_50_FPN_3x")] == [
        "485363bf493f", "a02198befbd5",
    ]  # fmt: skip


def test_entries_and_names():
    entry = next(entry for entry in remote_entries() if entry.alias == "accurate")
    assert (entry.status, entry.folder, entry.model) == (Status.NOT_DOWNLOADED, None, "fasterrcnn_resnet50_fpn_v2")
    assert entry.data == {"name": "COCO", "classes": 90}
    for name in ("accurate", "fasterrcnn_resnet50_fpn_v2", "485363bf493f"):
        assert find_remote(name).id == "485363bf493f"
    assert find_remote("toytown") is find_remote("") is None


def test_a_row_with_all_there_may_be():
    row = {
        **ROW,
        "mirrors": ["http://other.example/t.tar"],
        "alias": "traffic",
        "description": "Cars",
        "source": "Montevideo",
        "size": 12,
        "paper": ["a"],
        "scores": {"data_set": "own", "AP": 0.5},
        "data": {"classes": 3},
        "colour": {"of": "no concern"},
    }
    (found,), passed_over = parse_index(index(row), "x")
    assert passed_over == []
    assert found.addresses == ("https://models.example/traffic.tar", "http://other.example/t.tar")
    entry = found.entry()
    assert (entry.alias, entry.description, entry.source, entry.bytes) == ("traffic", "Cars", "Montevideo", 12)
    assert (entry.paper, entry.scores["AP"], entry.data["classes"]) == (("a",), 0.5, 3)
    (least,), _ = parse_index(index({**ROW, "alias": None}), "x")
    assert (least.called, least.size, least.entry().source) == (ROW["id"], 0, ROW["url"])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([], "x: it is [], expected an object with fields; is it an index of checkpoints?"),
        ({}, "x: format: is missing, expected a whole number from 0"),
        ({"format": "1"}, "x: format: '1', expected a whole number from 0"),
        ({"format": True, "checkpoints": []}, "x: format: True, expected a whole number from 0"),
        ({"format": 2}, "x: an index of format 2; this is Luminoth"),
        ({"format": 1}, "x: checkpoints: is missing, expected a list"),
        (index("a"), "x: checkpoints[0] is 'a', expected an object"),
        (index(without("id")), "x: checkpoints[0].id: is missing, expected a text"),
        (index(ROW, {**ROW, "id": "x" * 12}), f"x: checkpoints[1].id: '{'x' * 12}' is not 12 hexadecimal digits"),
        (index({**ROW, "id": "../../../../e"}), "x: checkpoints[0].id: '../../../../e' is not 12 hex"),
        (index(ROW, ROW), "x: checkpoints[1].id: another one in the index has it, too"),
        (index(without("kind")), "x: checkpoints[0].kind: is missing"),
        (index({**ROW, "kind": "torchvision"}), "x: checkpoints[0].model: is missing"),
        (index(without("url")), "x: checkpoints[0].url: is missing"),
        (index({**ROW, "url": "file:///etc/passwd"}), "x: checkpoints[0].url: 'file:///etc/passwd' is not an address"),
        (index({**ROW, "mirrors": ["ftp://a/b"]}), "x: checkpoints[0].mirrors: 'ftp://a/b' is not an address"),
        (index({**ROW, "mirrors": "http://a/b"}), "x: checkpoints[0].mirrors: 'http://a/b', expected a list of texts"),
        (index(without("sha256")), "x: checkpoints[0].sha256: is missing: nothing is downloaded that cannot be"),
        (index({**ROW, "sha256": "0a0a0a0a"}), "x: checkpoints[0].sha256: '0a0a0a0a' is not 64 hexadecimal digits"),
        (index({**ROW, "name": " "}), "x: checkpoints[0].name: is empty"),
        (index({**ROW, "name": "a\nb"}), "x: checkpoints[0].name: 'a\\nb' is not one line of printable text"),
        (index({**ROW, "name": "\x1b[2J"}), "x: checkpoints[0].name: '\\x1b[2J' is not one line of printable text"),
        (index(without("licence")), "x: checkpoints[0].licence: is missing"),
        (index({**ROW, "alias": "a/b"}), "x: checkpoints[0].alias: alias=a/b: an alias is one word"),
        (index({**ROW, "size": -1}), "x: checkpoints[0].size: -1, expected a whole number from 0"),
        (index({**ROW, "size": 1.5}), "x: checkpoints[0].size: 1.5, expected a whole number from 0"),
        (index({**ROW, "paper": [1]}), "x: checkpoints[0].paper: [1], expected a list of texts"),
        (index({**ROW, "scores": {"AP": [1]}}), "x: checkpoints[0].scores: {'AP': [1]}, expected an object of texts"),
    ],
)
def test_wrong_fields_are_named(content, said):
    with pytest.raises(CheckpointError) as caught:
        parse_index(content, "x")
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({**ROW, "kind": "ultralytics"}, "of kind `ultralytics`, this version knows luminoth, detectron2, torchvision"),
        (
            {**ROW, "kind": "torchvision", "model": "fcos_resnet50_fpn"},
            "torchvision's model `fcos_resnet50_fpn`, which",
        ),
    ],
)
def test_what_another_version_may_know_is_passed_over(row, said):
    found, (line,) = parse_index(index(row, {**ROW, "id": "f" * 12}), "x")
    assert [each.id for each in found] == ["f" * 12]
    assert line.startswith(f"{ROW['id']}: {said}")


@pytest.mark.parametrize(("url", "name"), [("https://h/a/..%2f..%2fb", "%2f..%2fb"), ("https://h/", ROW["id"])])
def test_names_of_files_lead_nowhere_else(url, name):
    (found,), _ = parse_index(index({**ROW, "url": url}), "x")
    assert "/" not in found.file_name
    assert not found.file_name.startswith(".")
    assert found.file_name == name.replace("%", "_")


def test_a_fetched_index_comes_first_and_a_damaged_one_is_left_out(home, caplog):
    accurate = {**ROW, "alias": "accurate"}
    (home / "remote_index.json").write_text(json.dumps(index(accurate, {**ROW, "id": "465900099ee8"})))
    assert [each.id for each in remote_checkpoints()][:2] == [ROW["id"], "465900099ee8"]
    assert len(remote_checkpoints()) == len(PUBLISHED) + 1
    assert find_remote("accurate").id == ROW["id"]
    assert find_remote("fasterrcnn_resnet50_fpn_v2").id == "485363bf493f"
    (home / "remote_index.json").write_text("{")
    assert len(remote_checkpoints()) == len(PUBLISHED)
    assert "is no index of checkpoints" in caplog.text
    assert "lumi checkpoint refresh" in caplog.text
