"""`lumi dataset stats` as typed: tables, JSON, and the page, which needs nothing but itself."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from luminoth.config import load_config
from luminoth.data.record_files import write_classes
from luminoth.data.records import RecordWriter, encode_example
from luminoth.types import Example
from tests.data.source_sets import damaged_pictures, good_pictures, picture_bytes, write_set

CLASSES = ["car", "traffic light", "<b>東京</b>"]


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """30 pictures of 40 x 30 to train with, 10 of 60 x 45 for validation; objects in all but the first of each."""
    folder, random = tmp_path_factory.mktemp("records"), np.random.default_rng(0)
    for split, size, count in (("train", (30, 40), 30), ("val", (45, 60), 10)):
        encoded = picture_bytes(size=size)
        with RecordWriter(folder / f"{split}.tfrecords") as writer:
            for index in range(count):
                number = 3 if index else 0
                corners = (
                    random.uniform([[[0]], [[0.4]]], [[[0.35]], [[1]]], (2, number, 2)).transpose(1, 0, 2) * size[::-1]
                )
                flags = [np.zeros(number, bool)] * 3
                boxes = corners.reshape(-1, 4).astype(np.float32)
                example = Example(f"{split}{index}", encoded, size, boxes, np.arange(number, dtype=np.int32), *flags)
                writer.write(encode_example(example, CLASSES))
    write_classes(folder, CLASSES)
    return folder


def test_tables(lumi, records):
    status, out, err = lumi("dataset", "stats", records)
    assert status == 0
    lines = out.splitlines()
    assert lines[0] == f"{records}: 40 pictures, 114 objects of 3 classes"
    rows = [re.split(r" {2,}", line.strip()) for line in lines]
    assert ["train", "val", "all"] in rows
    assert ["pictures", "30", "10", "40"] in rows
    assert ["without objects", "1", "1", "2"] in rows
    assert ["objects", "87", "27", "114"] in rows
    assert ["a picture", "2.9", "2.7", "2.9"] in rows
    assert ["class", "train", "val", "pictures", "small", "medium", "large", "median size"] in rows
    assert any(row[:4] == ["traffic light", "29", "9", "38"] for row in rows)
    assert any(row[:1] == ["<b>東京</b>"] for row in rows)
    assert any(re.match(r"0 {3}2 {2}█+", line.strip()) for line in lines)  # two pictures without an object
    assert any(re.match(r"3 {2}38 {2}█+", line.strip()) for line in lines)
    assert ["anchors", "configured", "suggested"] in rows
    assert "Suggested instead of those of the defaults:" in err


def test_lines_fit_in_80_columns(lumi, records, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = lumi("dataset", "stats", "--workers", 1, records)
    assert max(map(len, out.splitlines()[1:])) <= 80


def test_one_split_has_one_column(lumi, records):
    _, out, _ = lumi("dataset", "stats", "--workers", 1, records, "--split", "val")
    rows = [line.split() for line in out.splitlines()]
    assert ["pictures", "10"] in rows
    assert ["class", "objects", "pictures", "small", "medium", "large", "median", "size"] in rows


def test_what_is_suggested_can_be_pasted(lumi, records, tmp_path):
    _, out, _ = lumi("dataset", "stats", "--workers", 1, records)
    suggestion = tmp_path / "suggested.yml"
    suggestion.write_text(out[out.index("model:\n") :])
    config = load_config([suggestion])
    assert config.dataset.image_preprocessing.min_size < 600  # pictures of 30 pixels were enlarged for nothing
    status, out, err = lumi("dataset", "stats", "--workers", 1, records, "-c", suggestion)
    assert status == 0
    assert f"The anchors and the size of pictures of {suggestion} fit" in err
    assert "model:" not in out


def test_anchors_of_a_checkpoint_should_stay(lumi, records, tmp_path):
    (tmp_path / "mine.yml").write_text("train: {from_checkpoint: accurate}\n")
    _, _, err = lumi("dataset", "stats", "--workers", 1, records, "-c", tmp_path / "mine.yml")
    assert "needs that checkpoint's anchors" in err


def test_a_data_set_in_its_own_layout(lumi, tmp_path):
    folder = write_set("pascal", tmp_path / "set", train=damaged_pictures(), val=good_pictures())
    status, out, err = lumi("dataset", "stats", folder, "--type", "pascal", "--workers", 1)
    assert status == 0
    assert ["pictures", "12", "3", "15"] in [line.split() for line in out.splitlines()]
    assert f"5 pictures and 4 boxes could not be used and are not counted; `lumi dataset check {folder}`" in err


def test_json_alone(lumi, records):
    status, out, _ = lumi("dataset", "stats", "--workers", 1, records, "--json", "-")
    assert status == 0
    found = json.loads(out)
    assert found["classes"] == CLASSES
    assert list(found["splits"]) == ["train", "val"]
    assert found["all"]["boxes"] == 114
    assert [each["pictures"] for each in found["all"]["classes"]] == [38, 38, 38]
    assert found["all"]["common_sizes"] == [[[30, 40], 30], [[45, 60], 10]]
    assert sum(found["splits"]["val"]["histograms"]["objects_per_picture"]["counts"]) == 10
    assert 0 < found["suggestion"]["configured"]["mean_overlap"] < found["suggestion"]["suggested"]["mean_overlap"] < 1
    assert found["suggested_configuration"].startswith("model:\n")


def test_json_in_a_file(lumi, records, tmp_path):
    status, out, err = lumi("dataset", "stats", "--workers", 1, records, "--json", tmp_path / "stats.json")
    assert status == 0
    assert out.startswith(f"{records}: 40 pictures")
    assert f"Wrote {tmp_path}/stats.json" in err
    assert json.loads((tmp_path / "stats.json").read_text())["all"]["pictures"] == 40


class Page(HTMLParser):
    """Reads a page, and holds that elements close in the order they were opened in and that ids are unique."""

    VOID = ("meta", "br", "link", "img")

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.links, self.figures, self.words = [], [], [], 0, []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.links += [value for name, value in attributes.items() if name in ("href", "src")]
        self.figures += tag == "svg"
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data.strip())


def test_page(lumi, records, tmp_path):
    path = tmp_path / "pages" / "stats.html"
    status, _, err = lumi("dataset", "stats", "--workers", 1, records, "--html", path)
    assert status == 0
    assert f"Wrote {path}" in err
    text = path.read_text("utf-8")
    page = Page(text)
    assert page.figures == 7
    assert len(set(page.ids)) == len(page.ids)
    assert "http" not in text
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert set(re.findall(r"url\(#([^)]*)\)", text)) <= set(page.ids)
    assert "#0101" not in text  # every colour that stands for another was replaced
    assert set(re.findall(r"var\(--(\w+)\)", text)) <= set(re.findall(r"--(\w+):", text))
    # figures are text, in tables and in plots; names are escaped
    for words in ("114", "87", "traffic light", "<b>東京</b>", "objects in a picture", "anchors, suggested"):
        assert words in page.words
    assert page.words.count("<b>東京</b>") == 2
    assert list(path.parent.iterdir()) == [path]


def test_equal_data_give_equal_pages(lumi, records, tmp_path):
    for name in ("a.html", "b.html"):
        lumi("dataset", "stats", "--workers", 1, records, "--split", "val", "--html", tmp_path / name)
    text = (tmp_path / "a.html").read_text()
    assert text == (tmp_path / "b.html").read_text()
    assert Page(text).figures == 6  # pictures of one size need no plot of sizes


def test_pictures_without_any_object(lumi, tmp_path):
    folder = write_set("coco", tmp_path / "set", train=good_pictures()[2:])
    path = tmp_path / "stats.html"
    status, out, err = lumi("dataset", "stats", folder, "--type", "coco", "--html", path, "--json", tmp_path / "s.json")
    assert status == 0
    assert "1 pictures, 0 objects of 1 classes" in out
    assert "There is no object in these pictures" in err
    assert Page(path.read_text()).figures == 0
    assert json.loads((tmp_path / "s.json").read_text())["suggestion"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--split", "test"], "no split test; there are: train, val"),
        (["-c", "nowhere.yml"], "nowhere.yml: there is no such configuration file"),
        (["-o", "year=2017"], "holds records; readers' settings are of no use there"),
    ],
)
def test_what_fails(lumi, records, arguments, message):
    status, out, err = lumi("dataset", "stats", "--workers", 1, records, *arguments)
    assert status == 1
    assert out == ""
    assert message in err.splitlines()[-1]


def test_no_picture_can_be_used(lumi, tmp_path):
    folder = write_set("pascal", tmp_path / "set", train=damaged_pictures()[1:2])
    status, out, err = lumi("dataset", "stats", folder, "--type", "pascal", "-o", "classes=car")
    assert (status, out) == (1, "")
    assert f"{folder}: no picture to count in train: 1 could not be used" in err.splitlines()[-1]
