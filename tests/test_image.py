"""The loader of pictures: every kind of file that users have, and what TensorFlow's decoders make of it."""

import contextlib
import io
import random
import sys
import types

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from luminoth.errors import ImageError
from luminoth.image import encode_jpeg, encode_png, find_damage, inspect_image, read_image, shrink_image

HEIGHT, WIDTH = 24, 36


def make_pixels():
    """A smooth colour gradient: hardly changed by JPEG."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([x * 6, y * 9, 255 - x * 3 - y * 4], axis=-1).astype(np.uint8)


PIXELS = make_pixels()
RGB = Image.fromarray(PIXELS)
GREY = Image.fromarray(PIXELS[..., 0])


def encode(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def with_orientation(value, kind="JPEG"):
    exif = Image.Exif()
    exif[0x0112] = value
    return encode(RGB, kind, exif=exif, **({"quality": 95, "subsampling": 0} if kind == "JPEG" else {}))


def rgba():
    alpha = np.full((HEIGHT, WIDTH, 1), 255, np.uint8)
    alpha[:, : WIDTH // 2] = 0
    alpha[0, -1] = 51  # a fifth
    return Image.fromarray(np.concatenate([PIXELS, alpha], axis=-1))


def decode_as_the_pipeline_does(encoded):
    if tf.io.is_jpeg(encoded):
        return tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE").numpy()
    return tf.io.decode_image(encoded, channels=3, expand_animations=False).numpy()


def grey16_png():
    samples = np.linspace(0, 65535, HEIGHT * WIDTH).astype(np.uint16).reshape(HEIGHT, WIDTH)
    return samples, encode(Image.fromarray(samples))


# --- what comes out -----------------------------------------------------------------------------------------


def test_path_bytes_file_image_and_array_give_the_same(tmp_path):
    path = tmp_path / "bild ü.png"
    path.write_bytes(encode(RGB))
    for source in (path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), RGB, PIXELS):
        pixels = read_image(source)
        assert pixels.dtype == np.uint8
        np.testing.assert_array_equal(pixels, PIXELS)


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, lambda a: a),
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (4, lambda a: a[::-1]),
        (5, lambda a: a.transpose(1, 0, 2)),
        (6, lambda a: np.rot90(a, -1)),
        (7, lambda a: np.rot90(a, 2).transpose(1, 0, 2)),
        (8, lambda a: np.rot90(a, 1)),
    ],
)
def test_exif_rotation_is_applied(orientation, upright):
    encoded = with_orientation(orientation)
    expected = upright(PIXELS)
    pixels = read_image(encoded)
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).max() <= 12  # JPEG
    info = inspect_image(encoded)
    assert info.size == expected.shape[:2]
    assert info.needs_reencoding == (None if orientation == 1 else "EXIF rotation")


def test_exif_rotation_in_a_png():
    encoded = with_orientation(6, "PNG")
    np.testing.assert_array_equal(read_image(encoded), np.rot90(PIXELS, -1))
    assert inspect_image(encoded).size == (WIDTH, HEIGHT)


def test_a_broken_exif_block_does_not_matter():
    encoded = bytearray(with_orientation(6))
    start = encoded.index(b"Exif\0\0") + 6
    encoded[start : start + 8] = b"\xff" * 8
    pixels = read_image(bytes(encoded))
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    assert inspect_image(bytes(encoded)).size == (HEIGHT, WIDTH)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_grey_becomes_three_equal_channels(kind):
    pixels = read_image(encode(GREY, kind))
    assert np.abs(pixels.astype(int) - PIXELS[..., :1]).max() <= (0 if kind == "PNG" else 3)
    assert np.all(pixels == pixels[..., :1])


def test_palette():
    indexed = Image.fromarray((np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 3).astype(np.uint8), "P")
    indexed.putpalette([255, 0, 0, 0, 255, 0, 10, 20, 30])
    expected = np.array([[255, 0, 0], [0, 255, 0], [10, 20, 30]])[np.asarray(indexed)]
    np.testing.assert_array_equal(read_image(encode(indexed)), expected)


def test_one_bit():
    bits = Image.fromarray(PIXELS[..., 0] > 100)
    pixels = read_image(encode(bits))
    np.testing.assert_array_equal(pixels[..., 1], np.where(PIXELS[..., 0] > 100, 255, 0))


def test_alpha_is_laid_over_white():
    pixels = read_image(encode(rgba()))
    assert np.all(pixels[:, : WIDTH // 2] == 255)
    np.testing.assert_array_equal(pixels[1:, WIDTH // 2 :], PIXELS[1:, WIDTH // 2 :])
    np.testing.assert_allclose(pixels[0, -1], 255 * 0.8 + PIXELS[0, -1] * 0.2, atol=1)


def test_transparent_palette_entry_is_white():
    indexed = Image.fromarray((np.arange(12).reshape(3, 4) % 2).astype(np.uint8), "P")
    indexed.putpalette([255, 0, 0, 0, 255, 0])
    pixels = read_image(encode(indexed, transparency=0))
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels[0, 1].tolist() == [0, 255, 0]


def test_grey_with_alpha():
    image = rgba().convert("LA")
    pixels = read_image(encode(image))
    assert np.all(pixels[:, : WIDTH // 2] == 255)
    np.testing.assert_array_equal(pixels[1:, -1, 0], np.asarray(image)[1:, -1, 0])


def test_cmyk_jpeg():
    encoded = encode(Image.new("CMYK", (8, 6), (0, 255, 255, 0)), "JPEG", quality=95)
    pixels = read_image(encoded)
    assert pixels.shape == (6, 8, 3)
    assert np.abs(pixels.astype(int) - [255, 0, 0]).max() <= 4
    assert inspect_image(encoded).needs_reencoding == "CMYK"


def test_16_bit_grey_is_scaled_not_cut():
    samples, encoded = grey16_png()
    pixels = read_image(encoded)
    assert np.abs(pixels[..., 0] - samples / 257).max() <= 1
    assert pixels[0, 0].tolist() == [0, 0, 0]
    assert pixels[-1, -1].tolist() == [255, 255, 255]
    assert inspect_image(encoded).needs_reencoding == "16-bit samples"


@pytest.mark.parametrize("kind", ["BMP", "WEBP", "TIFF", "GIF"])
def test_other_formats_are_read_and_want_reencoding(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    encoded = encode(RGB, kind, **options)
    pixels = read_image(encoded)
    assert np.abs(pixels.astype(int) - PIXELS).max() <= (40 if kind == "GIF" else 0)  # a GIF has 256 colours
    info = inspect_image(encoded)
    assert (info.format, info.size) == (kind, (HEIGHT, WIDTH))
    assert info.needs_reencoding == f"{kind} format"


def test_arrays():
    np.testing.assert_array_equal(read_image(PIXELS[..., 0]), PIXELS[..., :1].repeat(3, -1))
    np.testing.assert_array_equal(read_image(PIXELS[..., :1]), PIXELS[..., :1].repeat(3, -1))
    np.testing.assert_array_equal(read_image(np.asarray(rgba())), read_image(rgba()))
    with pytest.raises(ImageError, match=r"uint8.*float32"):
        read_image(PIXELS.astype(np.float32))
    with pytest.raises(ImageError, match=r"\(2, 3\).*|shape"):
        read_image(np.zeros((2, 3, 4, 5), np.uint8))


# --- files that are no pictures -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"Dear Sir or Madam,\n" * 20, "not a picture"),
        (encode_jpeg(PIXELS)[:200], "damaged"),
        (encode_png(PIXELS)[:70], "damaged"),
        (encode_jpeg(PIXELS)[:3], "not a picture"),
    ],
    ids=["empty", "text", "cut JPEG", "cut PNG", "three bytes"],
)
def test_files_that_are_no_pictures_are_named(tmp_path, content, message):
    path = tmp_path / "holiday.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=rf"holiday\.jpg: .*({message})"):
        read_image(path)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(ImageError, match=r"none\.jpg: there is no such file"):
        read_image(tmp_path / "none.jpg")
    with pytest.raises(ImageError, match="cannot be read"):
        read_image(tmp_path)


def test_a_text_is_not_inspected():
    with pytest.raises(ImageError, match=r"a\.jpg: not a picture"):
        inspect_image(b"text", "a.jpg")


@pytest.mark.parametrize("make", [encode_jpeg, encode_png])
def test_damage_gives_pixels_or_an_image_error_and_nothing_else(make):
    whole = make(PIXELS)
    rng = random.Random(0)
    for _ in range(300):
        broken = bytearray(whole)
        for _ in range(rng.randint(1, 8)):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        broken = bytes(broken[: rng.randint(1, len(broken))])
        for read in (read_image, inspect_image):
            with contextlib.suppress(ImageError):
                read(broken)


def damaged(whole: bytes, rng: random.Random) -> bytes:
    """A file cut off, with an end behind the cut, or with some bytes changed, missing or too many."""
    broken, at = bytearray(whole), rng.randrange(2, len(whole))
    match rng.randrange(5):
        case 0:
            broken = broken[:at]
        case 1:
            broken[at:] = whole[-2:]
        case 2:
            broken[at] ^= 1 << rng.randrange(8)
        case 3:
            broken[at:at] = rng.randbytes(5)
        case 4:
            del broken[at : at + 5]
    return bytes(broken)


@pytest.mark.parametrize(
    "whole",
    [
        encode(RGB, "JPEG", quality=90),
        encode(RGB, "JPEG", progressive=True),
        encode(GREY, "JPEG"),
        encode(RGB, "JPEG", restart_marker_rows=1),
        encode(RGB),
        encode(RGB.quantize(8)),
    ],
    ids=["JPEG", "progressive JPEG", "grey JPEG", "JPEG with restarts", "PNG", "palette PNG"],
)
def test_damage_is_found_where_tensorflow_finds_it(whole):
    """What is passed on as it is must not stop a training; what TensorFlow reads need not be encoded anew."""
    rng, verdicts = random.Random(1), set()
    assert find_damage(whole) is None
    for _ in range(150):
        broken = damaged(whole, rng)
        try:
            inspect_image(broken)
        except ImageError:
            continue
        try:
            decode_as_the_pipeline_does(broken)
            is_read = True
        except tf.errors.InvalidArgumentError:
            is_read = False
        verdicts.add(is_read)
        assert (find_damage(broken) is None) == is_read
    assert False in verdicts


def test_shrinking_averages():
    stripes = np.zeros((40, 60, 3), np.uint8)
    stripes[:, ::2] = 200
    small = shrink_image(stripes, (20, 15))
    assert (small.shape, small.dtype) == ((20, 15, 3), np.uint8)
    assert np.abs(small[:, 2:-2].astype(int) - 100).max() <= 8  # not 0 and 200, as picking pixels would give


def test_too_many_pixels_are_refused_before_they_are_decoded(monkeypatch):
    monkeypatch.setattr("luminoth.image.MAX_PIXELS", HEIGHT * WIDTH - 1)
    with pytest.raises(ImageError, match=f"image: {WIDTH} x {HEIGHT} pixels is more than the accepted 863"):
        read_image(encode(RGB))


def test_pillows_own_limit_does_not_count(monkeypatch):
    """Ours does: Pillow's is lower, and it looks at TIFFs twice."""
    encoded = encode(RGB, "TIFF", compression="tiff_lzw")
    opened = Image.open(io.BytesIO(encoded))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", HEIGHT * WIDTH // 3)
    assert read_image(encoded).shape == (HEIGHT, WIDTH, 3)
    assert read_image(encode(RGB)).shape == (HEIGHT, WIDTH, 3)
    assert HEIGHT * WIDTH // 3 == Image.MAX_IMAGE_PIXELS
    with pytest.raises(ImageError, match="picture: 36 x 24 pixels is more than the accepted 863"):
        read_image(encoded, name="picture", max_pixels=863)
    with pytest.raises(ImageError, match="more pixels than can be decoded"):  # a picture that another has opened
        read_image(opened)


def test_heif_wants_a_library(monkeypatch):
    heif = b"\x00\x00\x00\x18ftypheic" + bytes(100)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageError, match=r"^image: a HEIF picture; `pip install pillow-heif` makes it readable$"):
        read_image(heif)
    heif_opener = types.SimpleNamespace(register_heif_opener=lambda: monkeypatch.setattr(Image, "open", opened))
    monkeypatch.setitem(sys.modules, "pillow_heif", heif_opener)

    def opened(file):
        assert file.read() == heif
        return Image.fromarray(PIXELS)

    np.testing.assert_array_equal(read_image(heif), PIXELS)


def test_encoders_round_trip():
    np.testing.assert_array_equal(read_image(encode_png(PIXELS)), PIXELS)
    assert np.abs(read_image(encode_jpeg(PIXELS)).astype(int) - PIXELS).max() <= 12


# --- needs_reencoding against TensorFlow's decoders -----------------------------------------------------------

_INDEXED = RGB.quantize(16)

KINDS = {
    "RGB JPEG": encode(RGB, "JPEG"),
    "RGB JPEG, full chroma": encode_jpeg(PIXELS),
    "progressive JPEG": encode(RGB, "JPEG", progressive=True),
    "grey JPEG": encode(GREY, "JPEG"),
    "CMYK JPEG": encode(RGB.convert("CMYK"), "JPEG"),
    "rotated JPEG": with_orientation(6),
    "JPEG with orientation 1": with_orientation(1),
    "RGB PNG": encode(RGB),
    "grey PNG": encode(GREY),
    "palette PNG": encode(_INDEXED),
    "4-bit palette PNG": encode(_INDEXED, bits=4),
    "palette PNG, transparent entry": encode(_INDEXED, transparency=0),
    "1-bit PNG": encode(Image.fromarray(PIXELS[..., 0] > 100)),
    "RGBA PNG": encode(rgba()),
    "grey PNG with alpha": encode(rgba().convert("LA")),
    "RGB PNG, transparent colour": encode(RGB, transparency=tuple(int(v) for v in PIXELS[3, 4])),
    "grey PNG, transparent level": encode(GREY, transparency=int(PIXELS[3, 4, 0])),
    "16-bit grey PNG": grey16_png()[1],
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_needs_no_reencoding_is_decoded_alike_by_tensorflow(kind):
    encoded = KINDS[kind]
    expected = read_image(encoded)
    if inspect_image(encoded).needs_reencoding is None:
        np.testing.assert_array_equal(decode_as_the_pipeline_does(encoded), expected)
    elif kind != "CMYK JPEG":  # what is said to need it does (TensorFlow reads Adobe's CMYK; other tools may not)
        try:
            decoded = decode_as_the_pipeline_does(encoded)
        except tf.errors.InvalidArgumentError:
            return
        assert not np.array_equal(decoded, expected)
