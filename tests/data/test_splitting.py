"""Data without splits, cut: shares, classes, copies together, nothing lost, the same every time."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luminoth.data.readers import open_reader
from luminoth.data.readers.base import AnnotatedImage
from luminoth.data.report import Finding, Kind
from luminoth.data.transform.run import transform
from luminoth.data.transform.selection import Filters
from luminoth.data.transform.splitting import parse_ratios, split_reader
from luminoth.data.transform.stratification import split_sizes, stratify
from luminoth.errors import DataError
from tests.data.source_sets import FORMATS, OPTIONS, Object, Picture, damaged_pictures, write_set
from tests.data.test_similarity import encode, scene

SIZE = (120, 180)


def street(number: int, *labels: str, quality: int = 90, seed: int | None = None) -> Picture:
    objects = [Object(label, (10.0 * place, 5.0, 10.0 * place + 8, 25.0)) for place, label in enumerate(labels)]
    encoded = encode(scene(number if seed is None else seed), quality=quality)
    return Picture(f"p{number:03d}.jpg", encoded, objects, SIZE)


@pytest.fixture(scope="module")
def streets(tmp_path_factory):
    """40 pictures: 4 with a bus, 20 with a car, 20 with a person, 8 with nothing; 2 pairs of copies."""
    labels = [
        ("bus", "car") if n < 4 else ("car", "person") if n < 20 else ("person",) if n < 24 else () for n in range(32)
    ]
    pictures = [street(number, *of_picture) for number, of_picture in enumerate(labels)]
    pictures += [street(32 + n, "person", quality=50, seed=n) for n in range(4)]  # copies of 0 to 3
    pictures += [street(36 + n, "car", "car") for n in range(4)]
    return write_set("pascal", tmp_path_factory.mktemp("streets"), all=pictures)


def ids(reader, split):
    return [item.image_id for item in reader.images(split) if isinstance(item, AnnotatedImage)]


def cut(folder, ratios="0.75/0.25", seed=0, **more):
    return split_reader(open_reader("pascal", folder), parse_ratios(ratios), seed, **more)


def test_every_picture_is_in_one_split_and_copies_are_together(streets):
    reader = cut(streets)
    assert reader.splits() == reader.check_splits(()) == ["train", "val"]
    train, val = ids(reader, "train"), ids(reader, "val")
    assert (len(train), len(val)) == (30, 10) == (reader.image_count("train"), reader.image_count("val"))
    assert sorted(train + val) == ids(reader.reader, "all")
    for number in range(4):
        assert (f"p{number:03d}" in train) == (f"p{32 + number:03d}" in train)
    assert reader.kept_together == [2, 2, 2, 2]
    assert reader.classes(["val"]) == ["bus", "car", "person"]


def test_each_class_has_its_share(streets):
    reader = cut(streets)
    with_class = Counter(
        label for item in reader.images("val") for label in {box.label for box in item.boxes} or {"nothing"}
    )
    assert with_class == {"bus": 1, "car": 6, "person": 6, "nothing": 2}


def test_the_seed_decides_and_nothing_else(streets):
    first = ids(cut(streets), "val")
    assert ids(cut(streets, workers=2), "val") == first
    assert any(ids(cut(streets, seed=seed), "val") != first for seed in (1, 2))


def test_transform_takes_the_cut_data(streets, tmp_path):
    reader = cut(streets, "train=0.5/val=0.25/held-out=0.25")
    report = transform(reader, tmp_path / "tf")
    assert [(split.split, split.images_written) for split in report.splits] == [
        ("train", 20),
        ("val", 10),
        ("held-out", 10),
    ]
    # An interrupted run must not go on with another division.
    assert cut(streets, seed=1).settings != reader.settings


def test_pictures_that_a_filter_leaves_out_take_no_places(streets, tmp_path):
    """28 pictures show a bus, a car or nothing; the others only persons."""
    reader = cut(streets, only_classes=["bus", "car"])
    report = transform(reader, tmp_path / "tf", filters=Filters(only_classes=("bus", "car")))
    assert [(split.images_written, split.images_left_out) for split in report.splits] == [(24, 8), (8, 0)]


def test_progress(streets):
    calls = []
    cut(streets, on_progress=lambda *call: calls.append(call))
    assert calls[-1] == ("comparing pictures", 40, 40)
    assert len(calls) == 40


@pytest.mark.parametrize("format", FORMATS)
def test_nothing_is_lost_of_damaged_data(format, tmp_path):
    folder = write_set(format, tmp_path / "set", train=damaged_pictures())
    whole = open_reader(format, folder, OPTIONS.get(format))
    reader = split_reader(whole, parse_ratios("0.6/0.4"), 0)
    expected = Counter(map(_name, whole.images("train")))
    assert Counter(_name(item) for split in reader.splits() for item in reader.images(split)) == expected
    report = transform(reader, tmp_path / "tf")
    whole_report = transform(whole, tmp_path / "whole")
    for count in ("images_found", "images_written", "images_dropped", "boxes_found", "boxes_written"):
        assert sum(getattr(split, count) for split in report.splits) == getattr(whole_report.splits[0], count)
    for split in report.splits:
        assert split.images_found == split.images_written + split.images_dropped + split.images_left_out


def _name(item):
    return (type(item), item.image_id, item.where)


def test_several_splits_are_pooled(tmp_path):
    """Ids that occur again have their split before them; a picture that is listed again is reported."""
    first = [street(number, "car") for number in range(6)]
    folder = write_set("csv", tmp_path, old=first, new=[street(0, "person", seed=50), street(7, "person")])
    reader = split_reader(open_reader("csv", folder), parse_ratios("0.5/0.5"), 0)
    expected = ["old/p000.jpg", *(f"p{number:03d}.jpg" for number in (0, 1, 2, 3, 4, 5, 7))]
    assert sorted(ids(reader, "train") + ids(reader, "val")) == expected
    one = split_reader(open_reader("csv", folder), parse_ratios("0.5/0.5"), 0, splits=["old"])
    assert sorted(ids(one, "train") + ids(one, "val")) == [f"p{n:03d}.jpg" for n in range(6)]


def test_a_picture_that_two_splits_list_is_reported_once(tmp_path):
    pictures = [street(number, "car") for number in range(6)]
    folder = write_set("pascal", tmp_path, train=pictures, trainval=pictures[:2])
    reader = split_reader(open_reader("pascal", folder), parse_ratios("0.5/0.5"), 0)
    assert sorted(ids(reader, "train") + ids(reader, "val")) == [f"p{n:03d}" for n in range(6)]
    repeated = [item for split in reader.splits() for item in reader.images(split) if isinstance(item, Finding)]
    assert [(item.kind, item.image_id, item.boxes) for item in repeated] == [
        (Kind.DUPLICATE_ID, "p000", 1),
        (Kind.DUPLICATE_ID, "p001", 1),
    ]


def test_what_cannot_be_cut(tmp_path):
    folder = write_set("pascal", tmp_path / "two", all=[street(0, "car"), street(1, "car")])
    with pytest.raises(DataError, match="--split-ratio: 3 splits cannot be made of 2 pictures"):
        cut(folder, "0.8/0.1/0.1")
    with pytest.raises(DataError, match="no split test; there are: all"):
        cut(folder, splits=["test"])
    film = [street(number, "car", seed=0, quality=60 + number) for number in range(9)]
    with pytest.raises(DataError, match="the 9 pictures are only 1 when those that look alike are kept together"):
        cut(write_set("pascal", tmp_path / "film", all=film))
    unreadable = [*film[:1], *(Picture(f"q{n}.jpg", None, []) for n in range(5))]
    with pytest.raises(DataError, match="2 splits cannot be made of 1 pictures; 5 more cannot be read"):
        cut(write_set("pascal", tmp_path / "unreadable", all=unreadable))


@pytest.mark.parametrize(
    ("text", "ratios"),
    [
        ("0.8/0.2", {"train": 0.8, "val": 0.2}),
        ("0.8/0.1/0.1", {"train": 0.8, "val": 0.1, "test": 0.1}),
        (" 0.7 / 0.3 ", {"train": 0.7, "val": 0.3}),
        ("train=0.7/dev=0.3", {"train": 0.7, "dev": 0.3}),
        ("0.9/0/0.1", {"train": 0.9, "test": 0.1}),
        ("all=1", {"all": 1.0}),
        ("0.333/0.333/0.333", {"train": 1 / 3, "val": 1 / 3, "test": 1 / 3}),
    ],
)
def test_ratios(text, ratios):
    assert parse_ratios(text) == pytest.approx(ratios)
    assert list(parse_ratios(text)) == list(ratios)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.8/0.3", "must be from 0 to 1 and add up to 1, not 1.1"),
        ("80/20", "must be from 0 to 1 and add up to 1, not 100"),
        ("1.2/-0.2", "must be from 0 to 1"),
        ("nan/nan", "must be from 0 to 1"),
        ("0.8", "1 shares without names"),
        ("0.4/0.3/0.2/0.1", "4 shares without names"),
        ("train=0.8/0.2", "name all splits or none"),
        ("a=0.8/a=0.2", "different names"),
        ("a/b=0.8/c=0.2", "name all splits or none"),
        ("../x=1", "name all splits or none"),
        ("x y=1", "of letters and digits"),
        ("0.8/rest", "a share is no number"),
        ("", "1 shares without names"),
    ],
)
def test_wrong_ratios_are_named(text, message):
    with pytest.raises(DataError, match="--split-ratio") as raised:
        parse_ratios(text)
    assert message in str(raised.value)
    assert "like 0.8/0.2 (train, val)" in str(raised.value)


@pytest.mark.parametrize(
    ("count", "shares", "sizes"),
    [(10, [0.8, 0.2], [8, 2]), (5, [0.9, 0.1], [4, 1]), (3, [0.98, 0.01, 0.01], [1, 1, 1]), (7, [0.5, 0.5], [4, 3])],
)
def test_split_sizes(count, shares, sizes):
    assert split_sizes(count, shares) == sizes


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_stratify(data):
    """Groups stay whole, no split is empty, and without large groups sizes are exact."""
    count = data.draw(st.integers(3, 60))
    groups = np.asarray(data.draw(st.lists(st.integers(0, 40), min_size=count, max_size=count)))
    labels = data.draw(st.lists(st.sets(st.integers(0, 5)).map(tuple), min_size=count, max_size=count))
    shares = data.draw(st.sampled_from([[0.8, 0.2], [0.8, 0.1, 0.1], [0.5, 0.5]]))
    if len(set(groups.tolist())) < len(shares):
        with pytest.raises(DataError, match="--split-ratio"):
            stratify(groups, labels, shares, np.random.default_rng(0))
        return
    splits = stratify(groups, labels, shares, np.random.default_rng(0))
    assert set(splits.tolist()) == set(range(len(shares)))
    order = np.argsort(groups, kind="stable")
    for one, other in pairwise(order):
        assert groups[one] != groups[other] or splits[one] == splits[other]
    alone = stratify(np.arange(count), labels, shares, np.random.default_rng(0))
    assert np.bincount(alone).tolist() == split_sizes(count, shares)


def test_stratify_gives_rare_classes_their_share():
    rng = np.random.default_rng(3)
    labels = [tuple(np.flatnonzero(rng.random(6) < [0.5, 0.3, 0.1, 0.03, 0.01, 0.005]).tolist()) for _ in range(2000)]
    splits = stratify(np.arange(2000), labels, [0.8, 0.1, 0.1], np.random.default_rng(0))
    table = np.zeros((3, 6))
    for split, of_picture in zip(splits, labels, strict=True):
        table[split, list(of_picture)] += 1
    expected = np.outer([0.8, 0.1, 0.1], table.sum(axis=0))
    assert np.abs(table - expected).max() < 2
