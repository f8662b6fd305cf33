"""Identical and similar pictures are found, others are not; whatever their number and order."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from luminoth.data.similarity import Fingerprint, correlations, fingerprint, group_pictures, members
from luminoth.errors import ImageError
from tests.data.source_sets import picture_bytes


def scene(seed: int, size=(120, 180)) -> Image.Image:
    """A few soft blobs and hard boxes."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 7, 3), np.uint8))
    pixels = np.array(coarse.resize(size[::-1], Image.Resampling.BICUBIC))
    for _ in range(6):
        y, x = rng.integers(0, size[0] - 30), rng.integers(0, size[1] - 40)
        pixels[y : y + 30, x : x + 40] = rng.integers(0, 256, 3)
    return Image.fromarray(pixels)


def encode(image: Image.Image, format: str = "JPEG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def brighter(image: Image.Image, factor: float) -> Image.Image:
    return Image.fromarray(np.clip(np.asarray(image) * factor, 0, 255).astype(np.uint8))


COPIES = {
    "quality 40": lambda image: encode(image, quality=40),
    "PNG": lambda image: encode(image, "PNG"),
    "half": lambda image: encode(image.resize((90, 60)), quality=90),
    "0.9": lambda image: encode(image.resize((162, 108)), quality=90),
    "darker": lambda image: encode(brighter(image, 0.9), quality=90),
    "brighter": lambda image: encode(brighter(image, 1.1), quality=90),
    "grey": lambda image: encode(image.convert("L"), quality=90),
    "cut": lambda image: encode(image.crop((2, 1, 178, 119)), quality=90),
}


@pytest.mark.parametrize("copy", COPIES)
def test_copies_are_similar_to_their_picture_and_to_no_other(copy):
    scenes = [scene(seed) for seed in range(12)]
    prints = [fingerprint(encode(each, quality=90)) for each in scenes]
    prints += [fingerprint(COPIES[copy](each)) for each in scenes]
    groups = group_pictures(prints)
    assert groups.similar.tolist() == [*range(12), *range(12)]
    assert groups.identical.tolist() == list(range(24))


@pytest.mark.parametrize(
    "other", [lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), lambda image: image.rotate(90)]
)
def test_mirrored_and_turned_pictures_are_not_similar(other):
    groups = group_pictures([fingerprint(encode(each)) for each in (scene(1), other(scene(1)))])
    assert groups.similar.tolist() == [0, 1]


def test_a_picture_and_its_rotated_file_are_similar():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees
    turned = encode(scene(3).rotate(90, expand=True), exif=exif, quality=90)
    assert group_pictures([fingerprint(encode(scene(3))), fingerprint(turned)]).similar.tolist() == [0, 0]


def test_equal_bytes_are_identical_also_without_contrast():
    grey, noisy = (encode(Image.new("RGB", (64, 64), (90, 90, 90 + blue)), "PNG") for blue in (0, 1))
    groups = group_pictures([fingerprint(each) for each in (grey, noisy, grey)])
    assert groups.identical.tolist() == [0, 1, 0]
    assert groups.similar.tolist() == [0, 1, 0]  # what is uniform looks like everything uniform


def test_pictures_that_cannot_be_read_are_like_no_other():
    same = fingerprint(picture_bytes())
    groups = group_pictures([None, same, None, same])
    assert groups.similar.tolist() == groups.identical.tolist() == [0, 1, 2, 1]
    for nothing in ([], [None]):
        assert group_pictures(nothing).similar.tolist() == list(range(len(nothing)))
    with pytest.raises(ImageError):
        fingerprint(b"no picture")
    with pytest.raises(ImageError):
        fingerprint(picture_bytes()[:200])


def test_likeness_is_passed_on():
    """Of a film the first and the last frame are not similar, but there is always one between."""
    one, other = (np.asarray(scene(seed), np.float64) for seed in (5, 6))
    frames = [Image.fromarray((one + (other - one) * step / 40).astype(np.uint8)) for step in range(41)]
    prints = [fingerprint(encode(frame, quality=90)) for frame in frames]
    assert set(group_pictures(prints).similar.tolist()) == {0}
    assert group_pictures([prints[0], prints[-1]]).similar.tolist() == [0, 1]


def test_members_are_the_groups_of_two_and_more():
    groups = [group.tolist() for group in members(np.asarray([0, 1, 0, 3, 1, 1]))]
    assert groups == [[0, 2], [1, 4, 5]]
    assert list(members(np.asarray([], np.int64))) == []


def test_correlations_know_neither_brightness_nor_contrast():
    rng = np.random.default_rng(0)
    levels = rng.integers(60, 120, (3, 256)).astype(np.uint8)
    np.testing.assert_allclose(correlations(levels, 2 * levels), 1, atol=1e-5)
    np.testing.assert_allclose(correlations(levels, 255 - levels), -1, atol=1e-5)
    expected = [np.corrcoef(levels[0], levels[1])[0, 1]]
    np.testing.assert_allclose(correlations(levels[:1], levels[1:2]), expected, atol=1e-5)


def made_up(places: int, copies: int, noise: float = 0.6) -> list[Fingerprint]:
    """Fingerprints of many pictures of a few places."""
    rng = np.random.default_rng(1)
    coarse = rng.normal(128, 40, (places, 4, 4)).repeat(4, axis=1).repeat(4, axis=2)
    levels = np.clip(coarse + rng.normal(0, noise, (copies, places, 16, 16)), 0, 255).astype(np.uint8)
    flat = levels.reshape(-1, 256)
    return [Fingerprint(index.to_bytes(16, "big"), row.tobytes()) for index, row in enumerate(flat)]


@pytest.mark.parametrize(("places", "copies"), [(1, 20_000), (200, 100)])
def test_many_pictures_of_one_place_or_of_many(places, copies):
    groups = group_pictures(made_up(places, copies)).similar
    assert groups.tolist() == list(range(places)) * copies


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(24)))
def test_the_order_does_not_matter(order):
    prints = made_up(6, 4)
    groups = group_pictures([prints[index] for index in order]).similar
    for group in members(groups):
        assert len({order[index] % 6 for index in group}) == 1
    assert len(set(groups.tolist())) == 6
