"""Damaged pictures and clips by the hundred: each gets an answer in the four hundreds, or is read after all."""

import io
import warnings

import numpy as np
import pytest
from PIL import Image

from luminoth.inference.video_writer import VideoWriter
from luminoth.server.settings import Settings
from tests.server.fakes import application

SETTINGS = Settings(max_pixels=1_000_000)


@pytest.fixture(scope="module")
def client():
    return application(settings=SETTINGS).test_client()


def pictures():
    random = np.random.default_rng(3)
    pixels = random.integers(0, 255, (24, 32, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind, options in {
        "JPEG": {"exif": exif},
        "PNG": {},
        "WEBP": {},
        "GIF": {},
        "BMP": {},
        "TIFF": {"compression": "tiff_lzw"},
    }.items():
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, kind, **options)
        yield kind, buffer.getvalue()


def damaged(encoded: bytes, random: np.random.Generator) -> bytes:
    """Bytes changed, most often near the begin, where sizes and offsets are; a piece cut out, doubled or cut off."""
    content = bytearray(encoded)
    for _ in range(random.integers(1, 6)):
        at = int(len(content) * random.random() ** 3)
        content[at : at + 1] = bytes([random.choice([0, 1, 127, 128, 255, random.integers(256)])])
    begin, end = sorted(random.integers(0, len(content) + 1, 2).tolist())
    how = random.integers(6)
    if how == 0:
        del content[begin:end]
    elif how == 1:
        content[begin:begin] = content[begin:end]
    elif how == 2:
        del content[end:]
    return bytes(content)


@pytest.mark.parametrize(("kind", "encoded"), pictures(), ids=[kind for kind, _ in pictures()])
def test_damaged_pictures(client, kind, encoded):
    random = np.random.default_rng(list(kind.encode()))
    statuses = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of metadata
        for _ in range(60):
            answer = client.post("/api/pixel/predict/", data=damaged(encoded, random), content_type="image/any")
            statuses.append(answer.status_code)
            assert answer.status_code in (200, 413, 415, 422), answer.text
    assert set(statuses) - {200}, "no damage was found: is any done?"
    assert client.post("/api/pixel/predict/", data=encoded, content_type="image/any").status_code == 200


def test_damaged_clips(client, tmp_path):
    path = tmp_path / "clip.mp4"
    with VideoWriter(path, 10) as video:
        for index in range(3):
            video.write(np.full((32, 48, 3), 60 * index, np.uint8))
    encoded, random = path.read_bytes(), np.random.default_rng(5)
    for _ in range(40):
        answer = client.post("/api/pixel/video/", data=damaged(encoded, random), content_type="video/mp4")
        assert answer.status_code in (200, 413, 415, 422), answer.text
        answer.close()  # only then is its room free
    assert client.post("/api/pixel/video/", data=encoded, content_type="video/mp4").text.count("\n") == 3


def test_damaged_forms(client):
    boundary = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\nabc\r\n--x--\r\n'
    random = np.random.default_rng(7)
    for _ in range(60):
        answer = client.post(
            "/api/pixel/predict/", data=damaged(boundary, random), content_type="multipart/form-data; boundary=x"
        )
        assert answer.status_code in (400, 413, 415), answer.text
