from collections import Counter

import pytest

from luminoth.data.record_files import write_classes
from luminoth.data.show.sample import draw_sample
from luminoth.data.source import open_source
from luminoth.errors import DataError
from tests.data.record_sets import example, write_folder
from tests.data.source_sets import damaged_pictures, good_pictures, write_set

BOX = (4, 5, 20, 25)
CLASSES = ["car", "bus", "tram"]


@pytest.fixture
def records(tmp_path):
    """Ten pictures in two shards; every third has a bus, the others a car."""
    examples = [example(str(number), [BOX], [int(number % 3 == 0)]) for number in range(10)]
    folder = tmp_path / "tf"
    write_folder(folder, CLASSES, **{"train-00000-of-00002": examples[:4], "train-00001-of-00002": examples[4:]})
    return folder


def ids(sample):
    return [each.image_id for each in sample.examples]


def test_few_pictures_are_all_shown_in_order(records):
    sample = draw_sample(open_source(records), "train", 20)
    assert ids(sample) == list(map(str, range(10)))
    assert (sample.split, sample.found, sample.dropped) == ("train", 10, [])


def test_a_seed_gives_a_sample_in_order(records):
    source = open_source(records)
    first = ids(draw_sample(source, "train", 4, seed=1))
    assert len(first) == 4
    assert first == sorted(first)
    assert first == ids(draw_sample(source, "train", 4, seed=1))
    assert {tuple(ids(draw_sample(source, "train", 4, seed=seed))) for seed in range(5)} != {tuple(first)}


@pytest.mark.parametrize("only", [(), ("car", "bus")])
def test_every_picture_has_the_same_chance(records, only):
    source = open_source(records)
    drawn = Counter(
        name for seed in range(300) for name in ids(draw_sample(source, "train", 2, seed=seed, only_classes=only))
    )
    # 60 each; 7 standard deviations of 6.9
    assert len(drawn) == 10
    assert all(abs(count - 60) < 48 for count in drawn.values())


def test_only_pictures_with_a_class(records):
    source = open_source(records)
    sample = draw_sample(source, "train", 10, only_classes=["bus", "tram"])
    assert (ids(sample), sample.found) == (["0", "3", "6", "9"], 4)
    assert ids(draw_sample(source, "train", 10, only_classes=["tram"])) == []


def test_data_sets_in_their_own_layout(tmp_path):
    source = open_source(write_set("csv", tmp_path / "set", train=good_pictures()), "csv")
    assert ids(draw_sample(source, "train", 5)) == ["first.jpg", "second.jpg", "empty street.jpg"]
    sample = draw_sample(source, "train", 5, only_classes=["person"])
    assert (ids(sample), sample.found) == (["second.jpg"], 1)


def test_pictures_that_cannot_be_shown_are_told(tmp_path):
    source = open_source(write_set("csv", tmp_path / "set", train=damaged_pictures()), "csv")
    sample = draw_sample(source, "train", 100)
    assert len(sample.examples) + len(sample.dropped) == sample.found == len(damaged_pictures())
    assert {finding.image_id for finding in sample.dropped} == {
        "missing.jpg", "cut.jpg", "noend.jpg", "text.jpg", "nothing.jpg",
    }  # fmt: skip


def test_a_class_outside_the_list_is_refused(records):
    write_classes(records, ["car"])
    with pytest.raises(DataError, match=r"tf: image '0' has a box of class number 1, .* names only 1"):
        draw_sample(open_source(records), "train", 10)
