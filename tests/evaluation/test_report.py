"""The page of `lumi eval --report`: read as a browser reads it, and held to the analysis."""

import base64
import itertools
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from luminoth.data.records import RecordWriter, encode_example
from luminoth.errors import OutputError
from luminoth.evaluation.analysis import analyse
from luminoth.evaluation.comparison import compare
from luminoth.evaluation.ground_truth import GroundTruth, read_ground_truths
from luminoth.evaluation.report import ReportSubject, write_report
from luminoth.evaluation.report.answers import confused_pairs, confused_with_background, find_answers
from luminoth.image import encode_png, read_image
from luminoth.types import Detections, Example

SIZE = (60, 80)
NAMES = ["car", "bus", "person"]
SUBJECT = ReportSubject("ckpt-20", "jobs/a/ckpt-20", "tf", "val", step=20, command="lumi eval -c a.yml --report r.html")
VOID = {"meta", "img", "br", "input", "path", "use", "rect"}


def write_records(folder, boxes, class_ids, names, is_crowd=None):
    """One picture for each list of boxes."""
    path = folder / "val.tfrecords"
    with RecordWriter(path) as writer:
        for number, (own, ids) in enumerate(zip(boxes, class_ids, strict=True)):
            own = np.asarray(own, np.float32).reshape(-1, 4)
            crowd = np.zeros(len(own), bool) if is_crowd is None else np.asarray(is_crowd[number], bool)
            no = np.zeros(len(own), bool)
            encoded = encode_png(np.full((*SIZE, 3), 200, np.uint8))
            ids = np.asarray(ids, np.int32)
            example = Example(str(number), encoded, SIZE, own, ids, crowd, no, no, f"photo-{number}.png")
            writer.write(encode_example(example, names))
    return [path]


def found(boxes, scores, class_ids, names=NAMES):
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    return Detections(boxes, np.asarray(scores, np.float32), np.asarray(class_ids, np.int32), names, SIZE)


class Page(HTMLParser):
    """What stands where: elements with their attributes, tables as rows of texts; refuses what is not closed."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.tables, self.open, self.text = [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("th", "td"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" in self.open or "svg" in self.open:
            return
        self.text.append(data)
        if self.open and self.open[-1] in ("th", "td"):
            self.tables[-1][-1][-1] += data.strip()

    def all(self, tag):
        return [attributes for each, attributes in self.elements if each == tag]

    def row(self, *begin):
        """The first row that begins so, of any table."""
        return next(row for table in self.tables for row in table if row[: len(begin)] == list(begin))

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """Three pictures: one right, one with a bus taken for a car and a person missed, one with nothing but an error."""
    boxes = [[[5, 5, 30, 30], [40, 5, 70, 30]], [[5, 5, 35, 35], [50, 10, 60, 50]], []]
    files = write_records(tmp_path_factory.mktemp("records"), boxes, [[0, 1], [1, 2], []], NAMES)
    detections = [
        found([[5, 5, 30, 30], [40, 5, 70, 31]], [0.9, 0.8], [0, 1]),
        found([[5, 5, 35, 36]], [0.95], [0]),
        found([[20, 20, 60, 50]], [0.85], [1]),
    ]
    truths = read_ground_truths(files)
    return truths, detections, files, analyse(truths, detections, NAMES, resamples=50)


@pytest.fixture(scope="module")
def page(case, tmp_path_factory):
    truths, detections, files, analysis = case
    worse = [found([[5, 5, 30, 30]], [0.9], [0]), found([], [], []), detections[2]]
    path = tmp_path_factory.mktemp("report") / "deeper" / "report.html"
    write_report(
        path, analysis, truths, detections, files, subject=SUBJECT, proposals={100: 0.5, 300: 0.75},
        comparison=compare(truths, worse, detections, NAMES, resamples=50), other_name="val-10.json",
        other_detections=worse,
    )  # fmt: skip
    return path.read_text(encoding="utf-8")


def test_the_figures_are_those_of_the_analysis(case, page):
    analysis, read = case[3], Page(page)
    rows = [row for table in read.tables for row in table]
    for name, value in analysis.coco.figures.items():
        assert [name, "–" if value is None else f"{value:.4f}"] in rows
    for name in ("AP", "AP50"):
        between = getattr(analysis.intervals, name)
        assert f"{name} {analysis.coco.figures[name]:.3f} 95 %: {between.low:.3f} to {between.high:.3f}" in read.words
    assert read.row("AP50 of 2012") == ["AP50 of 2012", f"{analysis.voc.AP50_2012:.4f}"]
    for each in analysis.thresholds.by_class:
        threshold = f"{each.threshold:.2f}" if each.threshold is not None else "–"
        assert read.row(each.name, threshold)[2] == f"{each.f1:.3f}"
    for kind in analysis.errors.kinds:
        row = next(row for row in rows if row[0] == kind.name)
        assert row[1:] == [str(kind.count), f"{kind.cost:.3f}"]
    assert "3 pictures · 4 objects · 3 classes" in read.words
    assert read.row("step") == ["step", "20"]


def test_the_confusion_matrix_is_that_of_the_analysis(case, page):
    matrix = next(table for table in Page(page).tables if table[0][1:] == [*NAMES, "missed"])
    counts = [[int(cell) if cell.isdigit() else 0 for cell in row[1:]] for row in matrix[1:]]
    assert counts == case[3].confusion.counts.tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 1], [0, 1, 0, 0]]


def test_the_page_needs_nothing_else(page):
    assert "http:" not in page
    assert "https:" not in page
    assert "<script" not in page
    assert "@import" not in page
    for tag, attributes in Page(page).elements:
        assert attributes.get("src", "data:").startswith("data:"), tag
        assert attributes.get("href", "#").startswith("#"), tag
    assert all(each.startswith("#") for each in re.findall(r"url\(['\"]?([^)]*)", page))


def test_the_page_can_be_read_without_seeing_it(page):
    read = Page(page)
    ids = [attributes["id"] for _, attributes in read.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    linked = [each["href"][1:] for each in read.all("a")] + [each["aria-labelledby"] for each in read.all("section")]
    assert len(linked) > 8
    assert set(linked) <= set(ids)
    levels = [int(tag[1]) for tag, _ in read.elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert all(each["alt"] for each in read.all("img"))
    assert page.count("<svg") == len(re.findall(r'<svg[^>]*role="img"[^>]*>\s*<title>[^<]+</title>', page))
    assert all("scope" in each for each in read.all("th"))
    assert [each["lang"] for each in read.all("html")] == ["en"]


def test_pictures_are_there_and_described(page):
    read = Page(page)
    for each in read.all("img"):
        pixels = read_image(base64.b64decode(each["src"].removeprefix("data:image/jpeg;base64,")))
        assert pixels.shape == (int(each["height"]), int(each["width"]), 3)
    described = [each["alt"] for each in read.all("img")]
    assert "what there is: 1 bus, 1 person" in described
    assert "what was found: missed: bus, person; wrong: car 0.95 (is bus)" in described
    assert "what was found: wrong: bus 0.85 (background)" in described
    assert "before: missed: bus" in described
    assert "now: nothing is wrong" in described
    articles = [each for each in read.all("article") if not each["id"].endswith("-changed")]
    assert [each["id"] for each in articles] == ["picture-1", "picture-2"]  # the worst first; none that is right
    assert [each["class"].split() for each in articles] == [["shown", "c0", "c1", "c2"], ["shown", "c1"]]
    assert "photo-1.png 2 missed, 1 wrong, 0 right" in read.words


@pytest.mark.parametrize(
    "names",
    [["object"], ['<b>"&', "ñandú 日本 $x$", "a" * 60], [f"kind {number}" for number in range(80)]],
    ids=["one", "odd", "many"],
)
def test_any_classes(tmp_path, names):
    count = len(names)
    random = np.random.default_rng(0)
    class_ids = [random.integers(0, count, 8) for _ in range(12)]
    corners = [random.uniform(0, 40, (8, 2)) for _ in class_ids]
    boxes = [np.concatenate([each, each + random.uniform(5, 20, (8, 2))], axis=1) for each in corners]
    files = write_records(tmp_path, boxes, class_ids, names)
    detections = [
        found(own[:6], np.linspace(0.9, 0.2, 6), np.r_[ids[:5], (ids[5] + 1) % count], names)
        for own, ids in zip(boxes, class_ids, strict=True)
    ]
    truths = read_ground_truths(files)
    analysis = analyse(truths, detections, names, resamples=10)
    path = tmp_path / "report.html"
    write_report(path, analysis, truths, detections, files, subject=SUBJECT, files_per_class=1)
    read = Page(path.read_text(encoding="utf-8"))
    assert all(read.row(name) for name in names)
    text = path.read_text(encoding="utf-8")
    assert "<b>" not in text
    assert ("ñandú 日本 $x$</text>" in text) == (count == 3)  # no formula in a plot
    assert ("What is taken for what Rows: what there is." in read.words) == (count < 80)  # a matrix, else a list
    assert "Missed, and found where there is nothing" in read.words or count < 80
    options = [each["value"] for each in read.all("option")]
    assert (len(options) > 2) == (count > 1)
    assert len(read.all("article")) <= 60


@pytest.mark.parametrize("awkward", ["nothing found", "nothing there", "crowds alone", "no picture shown"])
def test_awkward_results(tmp_path, awkward):
    boxes, class_ids = ([[]], [[]]) if awkward == "nothing there" else ([[[5, 5, 30, 30]]], [[0]])
    files = write_records(tmp_path, boxes, class_ids, NAMES, [[True]] if awkward == "crowds alone" else None)
    nothing = awkward == "nothing found"
    detections = [found([], [], []) if nothing else found([[5, 5, 20, 30]], [0.5], [1])]
    truths = read_ground_truths(files)
    analysis = analyse(truths, detections, NAMES, resamples=5)
    path = tmp_path / "report.html"
    count = 0 if awkward == "no picture shown" else 10
    write_report(path, analysis, truths, detections, files, subject=SUBJECT, files_per_class=count)
    words = Page(path.read_text(encoding="utf-8")).words
    if awkward in ("nothing there", "crowds alone"):
        assert "That cannot be told: there is no object to measure with." in words
    else:
        assert "Not at all: it found none of the objects." in words
    assert ("The worst pictures" in words) == (awkward == "nothing found")


def test_a_page_that_cannot_be_written(case, tmp_path):
    truths, detections, files, analysis = case
    path = tmp_path / "report.html"
    path.mkdir()
    with pytest.raises(OutputError, match=r"report.html: cannot be written \(Is a directory\)"):
        write_report(path, analysis, truths, detections, files, subject=SUBJECT, files_per_class=0)
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]


# --- In words ------------------------------------------------------------


def answers(analysis, comparison=None):
    return {each.question: each.text for each in find_answers(analysis, comparison, "old")}


def test_answers(case):
    told = answers(case[3])
    assert list(told) == ["How good is it?", "How sure is that?", "Where does it fail?", "Which threshold?"]
    # Of 4 objects 2 are found, by all 4 detections.
    assert told["How good is it?"].startswith("It finds 50.0 % of the objects, and 50.0 % of what it reports is right")
    assert "With only 3 pictures even that is rough." in told["How sure is that?"]
    assert "Fewer than 10 objects, so chance: car, person, bus." in told["How sure is that?"]
    assert "Lowest AP: person (0.00)" in told["Where does it fail?"]
    assert told["Which threshold?"].startswith("0.80 for all classes: F1 0.500")


@pytest.mark.parametrize(
    ("old_shift", "new_shift", "expected"),
    [(9, 0, "Yes. AP 0."), (0, 9, "No, it is worse. AP 1.000 → "), (0, 0, "It is the same: AP 1.000 both times.")],
)
def test_whether_it_is_better(old_shift, new_shift, expected):
    box = np.array([[10, 10, 50, 50]], np.float32)
    truths = [GroundTruth(box, np.zeros(1, np.int32), np.zeros(1, bool), SIZE) for _ in range(4)]
    old, new = ([found(box + shift, [0.9], [0], ["car"])] * 4 for shift in (old_shift, new_shift))
    comparison = compare(truths, old, new, ["car"], resamples=50)
    assert answers(analyse(truths, new, ["car"], resamples=5), comparison)["Is it better than old?"].startswith(
        expected
    )


def test_what_is_confused(case):
    (pair,) = confused_pairs(case[3])
    assert (pair.name, pair.said, pair.count, pair.share) == ("bus", "car", 1, 0.5)
    missed, vain = sorted(confused_with_background(case[3]), key=lambda each: each.vain)
    assert (missed.name, missed.missed, missed.missed_share, missed.vain) == ("person", 1, 1.0, 0)
    assert (vain.name, vain.missed, vain.vain, vain.vain_share) == ("bus", 0, 1, 0.5)
