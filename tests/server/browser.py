"""The page in a real browser: a server in a thread with quick models, and headless Chromium."""

from __future__ import annotations

import io
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from luminoth.server.app import create_app
from luminoth.server.served import ServedModel
from luminoth.server.serving import Server, listen
from luminoth.server.settings import Settings
from luminoth.types import Detections

CLASSES = ("car", "person", "dog")


class FakeModel:
    """Finds in every picture the same objects, in shares of its sides.

    Args:
        objects: (x_min, y_min, x_max, y_max), class, probability.
        gate: waited for before each answer.
    """

    class_names = CLASSES

    def __init__(self, objects: Sequence[tuple[tuple[float, ...], str, float]], gate: threading.Event | None = None):
        self.objects = sorted(objects, key=lambda found: -found[2])
        self.gate = gate

    def detect(self, images: list[np.ndarray]) -> list[Detections]:
        if self.gate is not None:
            self.gate.wait(10)
        return [self._answer(*image.shape[:2]) for image in images]

    def _answer(self, height: int, width: int) -> Detections:
        scale = np.array([width, height, width, height], np.float32)
        return Detections(
            np.array([box for box, _, _ in self.objects], np.float32).reshape(-1, 4) * scale,
            np.array([prob for _, _, prob in self.objects], np.float32),
            np.array([CLASSES.index(label) for _, label, _ in self.objects], np.int32),
            CLASSES,
            (height, width),
        )


@contextmanager
def serving(models: Sequence[ServedModel], settings: Settings, port: int = 0) -> Iterator[str]:
    """The address of a server for these models."""
    listener = listen("127.0.0.1", port)
    server = Server(create_app(models, settings), listener, threads=8, max_upload_bytes=settings.max_upload_bytes)
    thread = threading.Thread(target=server.run, args=(1.0,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.stop()
        thread.join(10)
        for model in models:
            model.stop(1)


def find_chromium() -> str | None:
    """The browser that can be driven, if one is installed."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    return browser if browser and shutil.which("chromedriver") else None


def start_chromium(downloads: Path):
    """A headless browser that keeps what it saves in a folder."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = find_chromium()
    for argument in (
        "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-extensions",
        "--no-first-run", "--disable-background-networking", "--disable-component-update", "--no-proxy-server",
        "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "--window-size=1280,800",
    ):  # fmt: skip
        options.add_argument(argument)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    driver.capabilities["downloads"] = str(downloads)
    return driver


class Page:
    """The page in the browser, in the words of someone who uses it."""

    def __init__(self, driver) -> None:
        self.driver = driver

    def open(self, address: str) -> None:
        """Until it knows the models."""
        self.driver.get(address)
        self.wait("models", lambda: self.is_seen("#models"))

    def screen(self, width: int, height: int, *, is_phone: bool = False, **features: str) -> None:
        """`features` are media features, as prefers_color_scheme="dark"."""
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_phone}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        named = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": named})

    def give(self, *files: Path) -> None:
        """Through the file chooser."""
        self.one("#files").send_keys("\n".join(map(str, files)))

    def one(self, selector: str):
        return self.driver.find_element("css selector", selector)

    def all(self, selector: str) -> list:
        return self.driver.find_elements("css selector", selector)

    def texts(self, selector: str) -> list[str]:
        return self.run("return [...document.querySelectorAll(arguments[0])].map(each => each.textContent)", selector)

    def is_seen(self, selector: str) -> bool:
        return any(each.is_displayed() for each in self.all(selector))

    def run(self, script: str, *arguments):
        return self.driver.execute_script(script, *arguments)

    def module(self, name: str, expression: str):
        """The value of an expression in which `m` is a module of the page."""
        return self.driver.execute_async_script(
            "const done = arguments[arguments.length - 1];"
            f"import('/static/{name}').then((m) => {{ done({expression}); }}, (error) => {{ done(String(error)); }})"
        )

    def wait(self, what: str, condition, seconds: float = 10.0):
        """The first truthy value of `condition()`."""
        return wait_until(condition, what, seconds)

    def wait_for_text(self, selector: str, text: str) -> None:
        """Until an element that is seen holds a text."""
        script = (
            "return [...document.querySelectorAll(arguments[0])]"
            ".some(each => each.checkVisibility() && each.textContent.includes(arguments[1]))"
        )
        try:
            self.wait(text, lambda: self.run(script, selector, text))
        except AssertionError:
            raise AssertionError(f"{selector} says {self.texts(selector)}, not {text!r}") from None

    def boxes(self, view: int = 0) -> dict[str, list[float]]:
        """By label with probability: x, y, width, height as shares of the picture that is seen."""
        return self.run(BOXES, view)

    def slide(self, value: float) -> None:
        self.run(
            "const slider = document.getElementById('min-prob'); slider.value = arguments[0];"
            "slider.dispatchEvent(new Event('input'))",
            value,
        )

    def requests(self) -> int:
        """How many pictures were sent since the page was opened."""
        script = (
            "return performance.getEntriesByType('resource').filter(each => each.name.includes('/predict/')).length"
        )
        return self.run(script)

    def paste_or_drop(self, kind: str, content: bytes) -> None:
        """A JPEG named after `kind`, which is "past" or "dropp"."""
        self.run(PASTE, kind, list(content))

    def contrasts(self, pairs: list[tuple[str, str]]) -> list[float]:
        """WCAG's contrast of pairs of the page's colours."""
        return self.run(CONTRAST, pairs)


BOXES = """
const view = document.querySelectorAll(".view")[arguments[0]];
const shown = view.querySelector("img, video").getBoundingClientRect();
const found = {};
for (const tag of view.querySelectorAll(".tag")) {
  const line = view.querySelector(`.outline[data-index="${tag.dataset.key}"] .line`);
  const frame = view.querySelector(".frame").getBoundingClientRect();
  const [x, y, width, height] = ["x", "y", "width", "height"].map((name) => Number(line.getAttribute(name)));
  found[tag.textContent] = [
    (frame.left + x - shown.left) / shown.width, (frame.top + y - shown.top) / shown.height,
    width / shown.width, height / shown.height];
}
return found;
"""


PASTE = """
const [kind, bytes] = [arguments[0], Uint8Array.from(arguments[1])];
const data = new DataTransfer();
data.items.add(new File([bytes], kind + "ed.jpg", {type: "image/jpeg"}));
document.dispatchEvent(kind === "past"
  ? new ClipboardEvent("paste", {clipboardData: data})
  : new DragEvent("drop", {dataTransfer: data, cancelable: true}));
"""

CONTRAST = """
const canvas = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
const rgb = (colour) => {
  canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
};
const value = (name) => getComputedStyle(document.documentElement).getPropertyValue(name);
const luminance = (colour) => rgb(colour).map((each) => each / 255)
  .map((each) => (each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4))
  .reduce((sum, each, index) => sum + each * [0.2126, 0.7152, 0.0722][index], 0);
return arguments[0].map(([one, other]) => {
  const [low, high] = [luminance(value(one)), luminance(value(other))].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
});
"""


def picture(width: int, height: int, orientation: int | None = None, seed: int = 0) -> bytes:
    """A JPEG of a gradient; `orientation` is the EXIF tag's value."""
    ramp = np.linspace(0, 255, width * height, dtype=np.uint8).reshape(height, width)
    pixels = np.stack([ramp, np.roll(ramp, 40 * seed), ramp[::-1]], -1)
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", exif=exif)
    return stream.getvalue()


def wait_until(condition, what: str, seconds: float = 10.0):
    """The first truthy value of `condition()`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.03)
    raise AssertionError(f"waited {seconds:.0f} s for: {what}")
