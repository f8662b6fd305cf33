"""The page in headless Chromium, against a real server with quick models, under its content policy."""

import json
import re
import threading
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

import luminoth
from luminoth.inference.draw import class_colour
from luminoth.server.served import ServedModel
from luminoth.server.settings import Settings
from tests.server.browser import FakeModel, Page, find_chromium, picture, serving, start_chromium, wait_until

SERVER = Path(luminoth.__file__).parent / "server"
STATIC = SERVER / "static"

# x_min, y_min, x_max, y_max in shares of the picture
CAR, DOG, PERSON = (0.1, 0.5, 0.4, 0.9), (0.5, 0.25, 0.75, 0.75), (0.8, 0.1, 0.9, 0.6)
FIRST = [(CAR, "car", 0.96), (DOG, "dog", 0.71), (PERSON, "person", 0.32)]
SECOND = [((0.12, 0.5, 0.42, 0.9), "car", 0.83), ((0.6, 0.6, 0.8, 0.9), "person", 0.88)]


class Models:
    """What the server of this module serves."""

    def __init__(self) -> None:
        self.first, self.second = FakeModel(FIRST), FakeModel(SECOND)
        self.gate, self.is_loaded = threading.Event(), threading.Event()
        self.gate.set()
        self.gated = FakeModel(FIRST, self.gate)

    def served(self) -> list[ServedModel]:
        def load_late():
            self.is_loaded.wait(30)
            return FakeModel(SECOND)

        def fail():
            raise RuntimeError("no weights")

        return [
            ServedModel("first", lambda: self.first),
            ServedModel("second", lambda: self.second, min_prob=0.2),
            ServedModel("narrow", lambda: self.gated, max_batch=1, max_queue=1),
            ServedModel("late", load_late),
            ServedModel("broken", fail),
        ]


@pytest.fixture(scope="module")
def models():
    return Models()


@pytest.fixture(scope="module")
def address(models):
    with serving(models.served(), Settings(max_upload_bytes=300_000)) as address:
        yield address
        models.is_loaded.set()


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    if not find_chromium():
        pytest.skip("needs Debian's packages chromium and chromium-driver")
    driver = start_chromium(tmp_path_factory.mktemp("downloads"))
    yield driver
    driver.quit()


@pytest.fixture
def page(driver, address):
    """Opened, at a desk; the console must stay empty but for the statuses that a test provokes (`page.expected`)."""
    page = Page(driver)
    page.expected = set()
    page.screen(1200, 800, prefers_color_scheme="light")
    page.open(address)
    page.wait("the first model", lambda: page.texts("#model option")[0] == "first")
    driver.get_log("browser")
    yield page
    lines = [line["message"] for line in driver.get_log("browser")]
    allowed = re.compile("|".join(f"status of {status} " for status in page.expected) or "$.")
    assert [line for line in lines if not allowed.search(line)] == []


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(1, 4):
        (folder / f"street-{number}.jpg").write_bytes(picture(300, 200, seed=number))
    (folder / "turned.jpg").write_bytes(picture(200, 100, orientation=6))
    (folder / "notes.txt").write_text("no picture")
    (folder / "huge.jpg").write_bytes(picture(300, 200) + bytes(400_000))
    with av.open(str(folder / "clip.mp4"), "w") as container:
        stream = container.add_stream("h264", rate=10, width=160, height=96, pix_fmt="yuv420p")
        for shade in range(0, 200, 20):
            frame = av.VideoFrame.from_ndarray(np.full((96, 160, 3), shade, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return folder


def look_at(page, *paths):
    """Gives pictures, and waits until the first is answered."""
    page.give(*paths)
    page.wait_for_text("#item-name", paths[0].name)
    page.wait("objects", lambda: page.all("#views .tag"))


def share(box):
    return pytest.approx([box[0], box[1], box[2] - box[0], box[3] - box[1]], abs=0.006)


def test_a_picture_its_boxes_and_its_list(page, files):
    look_at(page, files / "street-1.jpg")
    assert page.boxes() == {"car 0.96": share(CAR), "dog 0.71": share(DOG)}  # the person is below 50 %
    assert [row.accessible_name for row in page.all(".objects button")] == ["car 96 %", "dog 71 %"]
    assert page.one("#item-size").text == "300 × 200 pixels"
    page.wait_for_text(".badge", "2")
    assert page.one(".frame").get_attribute("aria-label").startswith("street-1.jpg: 1 car, 1 dog found by first.")
    page.wait("spoken", lambda: page.texts("#status") == ["first found 2 objects in street-1.jpg: 1 car, 1 dog."])
    stretches = page.one(".stretches").get_attribute("aria-label")
    assert re.fullmatch(r"upload [\d.]+ m?s, waiting [\d.]+ m?s, network [\d.]+ m?s, decoding [\d.]+ m?s", stretches)
    line = page.one('.outline[data-index="0"] .line').get_attribute("stroke")
    assert line == "#{:02x}{:02x}{:02x}".format(*class_colour("car"))


def test_a_rotated_photograph(page, files):
    """EXIF says that 200 x 100 pixels are to be seen as 100 x 200."""
    look_at(page, files / "turned.jpg")
    assert page.one("#item-size").text == "100 × 200 pixels"
    size = page.one(".frame img").size
    assert size["width"] / size["height"] == pytest.approx(0.5, abs=0.01)
    assert page.boxes()["car 0.96"] == share(CAR)


def test_the_slider_asks_nobody(page, files):
    look_at(page, files / "street-1.jpg")
    asked = page.requests()
    assert asked == 1
    for prob, count in ((0.3, 3), (0.72, 1), (0.97, 0), (0.5, 2)):
        page.slide(prob)
        page.wait(f"{count} objects", lambda count=count: len(page.all(".outline")) == count)
        assert len(page.all(".objects button")) == count
        assert page.one("#min-prob-value").text == f"{prob * 100:.0f} %"
        assert page.is_seen("#none") == (count == 0)
    assert page.requests() == asked


def test_classes_are_switched(page, files):
    look_at(page, files / "street-1.jpg")
    page.slide(0.3)
    page.wait("chips", lambda: page.texts(".chip") == ["car1", "dog1", "person1"])
    page.all(".chip")[0].click()
    page.wait("no car", lambda: set(page.boxes()) == {"dog 0.71", "person 0.32"})
    assert [chip.get_attribute("aria-pressed") for chip in page.all(".chip")] == ["false", "true", "true"]
    assert page.run("return document.activeElement.textContent") == "car1"  # the focus stays
    page.one("#all-classes").click()
    page.wait("all", lambda: len(page.boxes()) == 3)


def test_list_and_boxes_point_at_each_other(page, files):
    from selenium.webdriver import ActionChains

    look_at(page, files / "street-1.jpg")
    page.run("document.querySelectorAll('.objects button')[1].focus()")
    assert page.texts(".tag.is-lit") == ["dog 0.71"]
    ActionChains(page.driver, duration=0).move_to_element(page.one('.outline[data-index="0"] .line')).perform()
    page.wait("car", lambda: page.texts("li.is-lit .label") == ["car"])
    ActionChains(page.driver, duration=0).click().perform()
    assert page.run("return document.activeElement.textContent").startswith("car")


def test_zoom_keeps_boxes_in_place_and_lines_thin(page, files):
    look_at(page, files / "street-1.jpg")
    width = page.one(".frame img").size["width"]
    line = page.run("return getComputedStyle(document.querySelector('.line')).strokeWidth")
    page.run(
        "const frame = document.querySelector('.frame'); const {left, top} = frame.getBoundingClientRect();"
        "frame.dispatchEvent(new WheelEvent('wheel', {deltaY: -600, clientX: left + 200, clientY: top + 300}))"
    )
    assert page.one(".frame img").size["width"] > 2 * width
    assert page.boxes()["car 0.96"] == share(CAR)
    assert page.run("return getComputedStyle(document.querySelector('.line')).strokeWidth") == line
    page.one(".frame").send_keys("0")
    assert page.one("#zoom-level").text == "100 %"
    page.one("#zoom-in").click()
    assert page.one("#zoom-level").text == "160 %"
    page.one("#zoom-fit").click()
    page.all(".objects button")[1].click()  # the dog, a quarter of the picture wide
    box = page.one('.outline[data-index="1"] .line').rect
    frame = page.one(".frame").rect
    assert box["x"] + box["width"] / 2 == pytest.approx(frame["x"] + frame["width"] / 2, abs=2)


@pytest.mark.parametrize("kind", ["past", "dropp"])
def test_pasted_and_dropped(page, kind):
    page.paste_or_drop(kind, picture(60, 40))
    page.wait_for_text("#item-name", f"{kind}ed.jpg")
    page.wait("boxes", lambda: page.boxes().get("car 0.96") == share(CAR))


def test_two_models(page, files):
    from selenium.webdriver.support.ui import Select

    look_at(page, files / "street-1.jpg")
    Select(page.one("#other-model")).select_by_value("second")
    page.wait("both", lambda: len(page.all(".view")) == 2 and len(page.boxes(1)) == 2)
    assert set(page.boxes(0)) == {"car 0.96", "dog 0.71"}
    assert set(page.boxes(1)) == {"car 0.83", "person 0.88"}
    assert page.texts("figcaption") == ["first · 2 objects", "second · 2 objects"]
    assert page.texts(".only") == ["", "only here", "only here", ""]
    assert page.texts(".chip") == ["car1 / 1", "dog1 / 0", "person0 / 1"]
    page.run("document.querySelector('.objects button').focus()")
    assert page.texts(".tag.is-lit") == ["car 0.96", "car 0.83"]  # the same car in both
    assert page.requests() == 2
    page.one("#zoom-in").click()
    first, second = (each.size for each in page.all(".frame img"))
    assert first == second


def test_many_pictures(page, files):
    from selenium.webdriver.common.keys import Keys

    look_at(page, *(files / f"street-{number}.jpg" for number in (1, 2, 3)))
    page.wait("answers", lambda: page.texts(".badge") == ["2", "2", "2"])
    page.one(".thumbnail").send_keys(Keys.ARROW_RIGHT)
    page.wait_for_text("#item-name", "street-2.jpg")
    page.wait("focus", lambda: "street-2" in page.run("return document.activeElement.title"))
    page.driver.switch_to.active_element.send_keys(Keys.DELETE)
    page.wait_for_text("#item-name", "street-3.jpg")
    assert len(page.all(".thumbnail")) == 2


def downloaded(page, name: str) -> Path:
    """The file, once it is whole. (Its folder is the browser's, which all tests share.)"""
    folder = Path(page.driver.capabilities["downloads"])
    path = folder / name
    wait_until(path.exists, name)
    return path


def test_json_holds_what_is_shown(page, files):
    look_at(page, files / "street-1.jpg", files / "street-2.jpg")
    page.wait("answers", lambda: page.texts(".badge") == ["2", "2"])
    page.slide(0.3)
    page.wait("person", lambda: len(page.all(".chip")) == 3)
    page.all(".chip")[1].click()
    page.wait("no dog", lambda: len(page.boxes()) == 2)
    page.one("#save-all").click()
    records = json.loads(downloaded(page, "objects.json").read_text())
    objects = [
        {"bbox": [30, 100, 120, 180], "label": "car", "prob": 0.96},
        {"bbox": [240, 20, 270, 120], "label": "person", "prob": 0.32},
    ]
    assert records == [
        {"file": f"street-{number}.jpg", "model": "first", "image": {"width": 300, "height": 200}, "objects": objects}
        for number in (1, 2)
    ]
    page.one("#save-json").click()
    assert json.loads(downloaded(page, "street-1.json").read_text()) == records[:1]


def test_the_drawn_picture(page, files):
    look_at(page, files / "street-3.jpg")
    page.one("#save-picture").click()
    with Image.open(downloaded(page, "street-3-objects.png")) as drawn:
        assert drawn.size == (300, 200)
        assert drawn.getpixel((30, 140))[:3] == class_colour("car")  # the left line
        assert drawn.getpixel((225, 100))[:3] != class_colour("dog")


def test_a_clip(page, files):
    page.give(files / "clip.mp4")
    page.wait("all frames", lambda: re.search(r"of 1\.0 s", page.one("#clip-progress").text))
    page.wait("boxes", lambda: page.boxes().get("car 0.96") == share(CAR))
    page.one("#save-json").click()
    records = json.loads(downloaded(page, "clip.json").read_text())
    assert [(record["frame"], record["time"]) for record in records] == [(n, pytest.approx(n / 10)) for n in range(10)]


def test_the_camera(page):
    page.one(".start [data-camera]").click()
    page.wait("boxes", lambda: "car 0.96" in page.boxes() if page.all(".view") else False)
    asked = page.requests()
    page.wait("the next frames", lambda: page.requests() > asked + 2)
    page.one(".remove").click()
    page.wait("start", lambda: page.is_seen("#start"))


def test_an_example_by_keyboard_alone(page):
    from selenium.webdriver.common.keys import Keys

    press = lambda key: page.driver.switch_to.active_element.send_keys(key)  # noqa: E731

    def tab_to(selector):
        for _ in range(25):
            press(Keys.TAB)
            if page.run("return document.activeElement.matches(arguments[0])", selector):
                outline = page.run("return getComputedStyle(document.activeElement).outlineStyle")
                assert outline == "solid", f"the focus is not seen on {selector}"
                return
        raise AssertionError(f"Tab does not reach {selector}")

    tab_to("#example")
    press(Keys.ENTER)
    page.wait("boxes", lambda: len(page.all(".outline")) == 2)
    page.run("document.querySelector('#model').focus()")
    tab_to(".frame")
    press("+")
    assert page.one("#zoom-level").text == "140 %"
    tab_to("#min-prob")
    press(Keys.END)
    page.wait("nothing", lambda: not page.all(".outline"))
    press(Keys.HOME)
    page.wait("all", lambda: len(page.all(".outline")) == 3)
    tab_to(".chip")
    press(Keys.SPACE)
    page.wait("no car", lambda: len(page.all(".outline")) == 2)
    tab_to(".objects button")
    press(Keys.ARROW_DOWN)
    assert page.texts(".tag.is-lit") == ["person 0.32"]
    tab_to("#save-json")


def test_a_file_that_is_no_picture(page, files):
    page.expected = {415}
    page.give(files / "notes.txt")
    page.wait_for_text(".words", "notes.txt cannot be read")
    assert page.one(".words").get_attribute("role") == "alert"
    page.wait_for_text(".badge", "!")
    assert not page.is_seen("#downloads")


def test_a_file_that_is_too_large(page, files):
    page.expected = {413}
    page.give(files / "huge.jpg")
    page.wait_for_text(".words", "huge.jpg is too large")


def choose(page, model):
    from selenium.webdriver.support.ui import Select

    Select(page.one("#model")).select_by_value(model)


def test_a_busy_server_is_asked_again(page, files, models):
    page.expected = {503}
    choose(page, "narrow")
    models.gate.clear()
    try:
        page.give(*(files / f"street-{number}.jpg" for number in (1, 2, 3)))
        page.wait("two asked", lambda: page.requests() >= 1)
        page.all(".thumbnail")[1].click()
        page.wait_for_text(".words", "The server is busy")
        assert page.one(".words button").text == "Try again now"
    finally:
        models.gate.set()
    page.wait("answers", lambda: page.texts(".badge") == ["2", "2", "2"])


def test_a_model_that_loads_and_one_that_cannot(page, files, models):
    choose(page, "broken")
    page.wait_for_text("#banner", "broken could not be loaded")
    choose(page, "late")
    page.wait_for_text("#banner", "late is being loaded")
    page.give(files / "street-1.jpg")
    page.wait_for_text(".words", "Loading late")
    models.is_loaded.set()
    page.wait("boxes", lambda: set(page.boxes()) == {"car 0.83", "person 0.88"})
    assert not page.is_seen("#banner")


def test_a_server_that_stops_and_comes_back(driver, files):
    page = Page(driver)
    with serving([ServedModel("first", lambda: FakeModel(FIRST))], Settings()) as address:
        page.open(address)
        assert not page.is_seen("#compare")
    page.give(files / "street-1.jpg")
    page.wait_for_text("#banner", "The server does not answer")
    page.wait_for_text(".words", "This page goes on when it is back")
    port = int(address.rpartition(":")[2])
    with serving([ServedModel("first", lambda: FakeModel(FIRST))], Settings(), port):
        page.wait("boxes", lambda: set(page.boxes()) == {"car 0.96", "dog 0.71"})
        assert not page.is_seen("#banner")
    driver.get("about:blank")
    driver.get_log("browser")


def test_a_server_that_wants_a_key(driver, files):
    page = Page(driver)

    def give_key(key):
        page.wait_for_text("#key-form", "This server asks for a key")
        page.run("document.getElementById('key').value = ''")
        page.one("#key").send_keys(key)
        page.one("#key-form button").click()

    def served():
        return [ServedModel("first", lambda: FakeModel(FIRST))]

    with serving(served(), Settings(api_keys=("sesame",))) as address:
        driver.get(address)
        give_key("sesame")
        look_at(page, files / "street-1.jpg")
        assert not page.is_seen("#key-form")
    with serving(served(), Settings(api_keys=("changed",)), int(address.rpartition(":")[2])):
        page.give(files / "street-2.jpg")
        give_key("changed")
        page.wait("boxes", lambda: set(page.boxes()) == {"car 0.96", "dog 0.71"})
        assert page.one("#item-name").text == "street-2.jpg"
    driver.get("about:blank")
    driver.get_log("browser")


def test_on_a_phone(page, files):
    page.screen(360, 740, is_phone=True)
    assert page.run("return document.documentElement.scrollWidth") == 360
    look_at(page, files / "street-1.jpg", files / "street-2.jpg")
    assert page.run("return document.documentElement.scrollWidth") == 360
    assert page.one(".frame img").size["width"] == 360
    assert page.boxes()["car 0.96"] == share(CAR)
    sizes = [(each.text, each.size) for each in page.all("button, select, input[type=range]") if each.is_displayed()]
    assert [(text, size) for text, size in sizes if min(size.values()) < 24] == []  # WCAG 2.2, 2.5.8
    # The picture stays in sight while the list is looked through.
    page.run("window.scrollTo(0, document.body.scrollHeight)")
    assert page.run("return document.querySelector('.frame').getBoundingClientRect().top") == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_have_contrast(page, scheme):
    page.screen(1200, 800, prefers_color_scheme=scheme)
    brightness = page.run("return getComputedStyle(document.body).backgroundColor")
    assert brightness == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 27)"}[scheme]
    texts = [
        ("--ink", "--paper"), ("--muted", "--paper"), ("--muted", "--card"), ("--muted", "--mat"),
        ("--accent", "--paper"), ("--on-accent", "--accent"), ("--ink", "--wash"),
    ]  # fmt: skip
    edges = [("--edge", "--paper"), ("--accent", "--mat"), ("--wrong", "--paper")]
    assert min(page.contrasts(texts)) >= 4.5  # WCAG 2.1, 1.4.3
    assert min(page.contrasts(edges)) >= 3  # 1.4.11


def test_colours_are_those_of_drawn_pictures(page):
    names = ["car", "traffic light", "Bäckerei", "人", "", *(f"class {number}" for number in range(60))]
    colours = page.module("colour.js", f"{json.dumps(names)}.map(m.classColour)")
    assert colours == ["#{:02x}{:02x}{:02x}".format(*class_colour(name)) for name in names]


def test_what_is_seen_of_a_picture(page):
    view, wide = "{width: 200, height: 100}", "{width: 400, height: 100}"
    place = page.module("viewport.js", f"new m.Viewport().place({view}, {wide})")
    assert place == {"scale": 0.5, "left": 0, "top": 25}
    # Zoomed at a point, the picture's point under it stays: 0.5 * 80 = 40 before, and -120 + 2 * 80 after.
    zoomed = f"(() => {{ const v = new m.Viewport(); v.zoomAt(4, {{x: 40, y: 50}}, {view}, {wide});"
    assert page.module("viewport.js", f"{zoomed} return v.place({view}, {wide}); }})()") == {
        "scale": 2, "left": pytest.approx(-120), "top": -50,
    }  # fmt: skip
    # What is dragged ends at the picture's edge.
    moved = f"{zoomed} v.panBy(1000, 0, {view}, {wide}); return v.place({view}, {wide}).left; }})()"
    assert page.module("viewport.js", moved) == 0


def test_the_frame_at_a_time(page):
    frames = json.dumps([{"time": time} for time in (0, 0.1, 0.2)])
    at = lambda time, is_whole: page.module("clip.js", f"m.frameAt({frames}, {time}, {is_whole})")  # noqa: E731
    assert at(0.05, "true") == {"time": 0}
    assert at(0.1, "true") == {"time": 0.1}
    assert at(5, "true") == {"time": 0.2}
    assert at(5, "false") is None  # not looked at yet
    assert page.module("clip.js", "m.frameAt([], 0, true)") is None


def test_the_same_object_of_two_models(page):
    assert page.module("matching.js", "m.iou([0, 0, 10, 10], [5, 0, 15, 10])") == pytest.approx(1 / 3)
    assert page.module("matching.js", "m.iou([0, 0, 10, 10], [10, 0, 20, 10])") == 0
    one = '[{index: 0, label: "car", bbox: [0, 0, 10, 10]}, {index: 1, label: "car", bbox: [0, 0, 10, 9]}]'
    other = '[{index: 7, label: "car", bbox: [0, 0, 10, 10]}, {index: 8, label: "dog", bbox: [0, 0, 10, 9]}]'
    assert page.module("matching.js", f"[...m.match({one}, {other})]") == [[0, 7]]  # each is given once


def test_files_are_small_and_packed():
    """Each is one idea, and in the wheel."""
    lines = {path.name: len(path.read_text().splitlines()) for path in STATIC.glob("*.[jc]s*")}
    assert {name: count for name, count in lines.items() if count > 250} == {}
    project = tomllib.loads((SERVER.parent.parent / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["luminoth"]
    files = [path.relative_to(SERVER.parent).as_posix() for path in (*STATIC.iterdir(), *SERVER.glob("templates/*"))]
    assert [file for file in files if not any(fnmatch(file, pattern) for pattern in patterns)] == []


def test_nothing_comes_from_elsewhere():
    """No other host, and nothing inline, which the content policy would block."""
    for path in (*STATIC.glob("*.[jc]s*"), *SERVER.glob("templates/*.html")):
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|innerHTML|\bstyle=|\son\w+=\"|<style|<script>", text), path
        assert not re.search(r"(href|src)=\"/", text), f"{path}: not below a path of a proxy"
