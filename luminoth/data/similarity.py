"""Which pictures are the same, or nearly: what leaks from a training split into the one that measures it.

identical   the same bytes
similar     look the same at 16 x 16 grey levels

A picture becomes 16 x 16 grey levels, and these become 128 bits: for each 2 x 2 block, whether the next one to the
right, and the next one below, is brighter by more than a grey level (a "difference hash"; without the margin the bits
of a sky would be noise). Two pictures are similar when at most 16 bits differ and their levels correlate by 0.95 or
more: brightness and contrast are no part of that. Pictures that are all but uniform are similar to none. Measured on
toytown (480 x 320): 300 scenes against copies of them, and all pairs of 2,300 scenes:

                                              bits that differ     correlation        similar
                                              median    99 %       median    least
    JPEG of quality 40 to 95                     1        4         1.000    0.9996    all
    resized by 0.5, 0.7 or 0.9; PNG              1        4         1.000    0.9996    all
    brightness by 0.9 or 1.1, or 15 levels       1        5         1.000    0.994     all
    1 % cut off at each side                     3        9         0.997    0.992     all
    2 % cut off at each side                     7       16         0.980    0.958     99 %
    5 % cut off at each side                    20       33         0.862    0.711     0.3 %
    mirrored                                    52       75         0.559   -0.140     none
    another scene (2.6 million pairs)           53    least 18      0.406  most 0.924  none

Frames of a film (docs/media/toytown.mp4, 25 a second, the camera moves) are similar up to 0.2 s apart, and two in
three that are 0.5 s apart. Not found are copies that were mirrored, turned, or cut by more than a few per cent, and
those within a larger picture. A small object that comes or goes changes little at 16 x 16: frames of a camera that
stands still are all similar, as long as light and weather are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from luminoth.image import grey_thumbnail

SIDE = 16
MOST_BITS = 16
LEAST_CORRELATION = 0.95
# Grey levels: below this standard deviation a picture is all but uniform, and what is left is the codec's noise.
_LEAST_CONTRAST = 2.0
_MARGIN = 1.0
# Two pictures are compared when they agree in one of 16 bands: the bits in 8 bands of 16, cut in two ways. Each band
# has bits from all over the picture (one of sky alone would be the same in most). Within a band the pictures are sorted
# by their other bits, and each is compared with the next few only. So a million fingerprints take 30 seconds, whether
# they are of as many places or of one, and 2 minutes at worst.
_BANDS = 8
_PERMUTATIONS = np.stack([np.arange(128).reshape(16, _BANDS).T.ravel(), np.random.default_rng(0).permutation(128)])
_NEIGHBOURS = 12
_AT_ONCE = 1 << 14


class Fingerprint(NamedTuple):
    """What is kept of a picture to find it again.

    Attributes:
        digest: 16 bytes, of the file.
        levels: 256 bytes, [16, 16] grey levels.
    """

    digest: bytes
    levels: bytes


class Groups(NamedTuple):
    """Which of N pictures belong together: each has the number of the first picture of its group.

    Attributes:
        identical: [N] int64, groups of equal bytes.
        similar: [N] int64, groups of equal bytes or like looks; these contain the groups above.
    """

    identical: np.ndarray
    similar: np.ndarray


def fingerprint(encoded: bytes) -> Fingerprint:
    """The fingerprint of an encoded picture.

    Raises:
        ImageError: the bytes are not a picture, or it is damaged.
    """
    return Fingerprint(hashlib.sha256(encoded).digest()[:16], grey_thumbnail(encoded, SIDE).tobytes())


def group_pictures(fingerprints: Sequence[Fingerprint | None]) -> Groups:
    """Finds identical and similar pictures.

    Similar is passed on: of three frames the first and the last may be in one group only for the one between them.
    The time grows as N log N. Where very many pictures share bits, not all pairs are compared, and a few may be missed.

    Args:
        fingerprints: N of them; None (a picture that cannot be read) is like no other.
    """
    known = np.asarray([index for index, each in enumerate(fingerprints) if each is not None], np.int64)
    digests = np.frombuffer(b"".join(fingerprints[index].digest for index in known), "V16")
    levels = np.frombuffer(b"".join(fingerprints[index].levels for index in known), np.uint8)
    groups = Groups(*(np.arange(len(fingerprints)) for _ in Groups._fields))
    identical = _equal_rows(digests)
    similar = _link_similar(levels.reshape(-1, SIDE * SIDE), identical)
    groups.identical[known], groups.similar[known] = known[identical], known[similar]
    return groups


def members(groups: np.ndarray) -> Iterator[np.ndarray]:
    """The pictures of each group of at least two, from one of the arrays of `Groups`; ascending."""
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
    for start, end in zip(starts, np.append(starts, len(order))[1:], strict=True):
        if end - start > 1:
            yield order[start:end]


def correlations(levels: np.ndarray, others: np.ndarray) -> np.ndarray:
    """How alike pictures are, pair by pair: [P, 256] and [P, 256] uint8 to [P] float32, -1 to 1."""
    return (_normalised(levels) * _normalised(others)).mean(axis=1)


def _equal_rows(digests: np.ndarray) -> np.ndarray:
    """[N] int64: the number of the first digest that is equal."""
    _, firsts, inverse = np.unique(digests, return_index=True, return_inverse=True)
    return firsts[inverse] if len(digests) else np.zeros(0, np.int64)


def _link_similar(levels: np.ndarray, identical: np.ndarray) -> np.ndarray:
    """[N] int64: the number of the first picture of each one's group, groups of `identical` joined where similar."""
    labels = identical.copy()
    first_ones = np.flatnonzero(identical == np.arange(len(identical)))
    described = [_describe(levels[part]) for part in _parts(first_ones)]
    if not described:
        return labels
    has_contrast, hashes = (np.concatenate(arrays) for arrays in zip(*described, strict=True))
    compared, hashes = first_ones[has_contrast], hashes[has_contrast]
    for permutation in range(len(_PERMUTATIONS)):
        for band in range(_BANDS):
            rolled = np.roll(hashes[:, permutation], -2 * band, axis=1)
            _link_neighbours(np.ascontiguousarray(rolled), compared, levels, labels)
    return labels


def _describe(levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[n, 256] grey levels to [n] bool, whether there is anything in the picture, and [n, 2, 16] bytes of bits."""
    blocks = levels.reshape(-1, SIDE // 2, 2, SIDE // 2, 2).mean(axis=(2, 4))  # [n, 8, 8]
    # The last column's next one is the first, and so for rows: 64 bits each.
    steps = np.stack([np.roll(blocks, -1, axis) - blocks for axis in (2, 1)], axis=1).reshape(-1, 128)
    return levels.std(axis=1) >= _LEAST_CONTRAST, np.packbits((steps > _MARGIN)[:, _PERMUTATIONS], axis=2)


def _link_neighbours(hashes: np.ndarray, pictures: np.ndarray, levels: np.ndarray, labels: np.ndarray) -> None:
    """Joins, in `labels`, similar pictures among those whose hashes [n, 16] begin with the same 16 bits."""
    words = hashes.view(">u8").astype(np.uint64)  # [n, 2]
    order = np.lexsort((words[:, 1], words[:, 0]))
    words, pictures, bands = words[order], pictures[order], words[order, 0] >> np.uint64(48)
    places = np.arange(len(order))  # those that still have a neighbour in their band
    for distance in range(1, _NEIGHBOURS + 1):
        places = places[places < len(order) - distance]
        places = places[bands[places] == bands[places + distance]]
        apart = places[labels[pictures[places]] != labels[pictures[places + distance]]]
        differing = np.bitwise_count(words[apart] ^ words[apart + distance]).sum(axis=1)
        near = apart[differing <= MOST_BITS]
        for part in _parts(near):
            ones, others = pictures[part], pictures[part + distance]
            alike = correlations(levels[ones], levels[others]) >= LEAST_CORRELATION
            _join(labels, ones[alike], others[alike])


def _join(labels: np.ndarray, ones: np.ndarray, others: np.ndarray) -> None:
    """Joins the groups of pairs; a label is the number of its group's first picture, before and after."""
    while (apart := labels[ones] != labels[others]).any():
        ones, others = ones[apart], others[apart]
        pairs = np.sort([labels[ones], labels[others]], axis=0)
        np.minimum.at(labels, pairs[1], pairs[0])
        while ((nearer := labels[labels]) != labels).any():
            labels[:] = nearer


def _normalised(levels: np.ndarray) -> np.ndarray:
    """[P, 256] of mean 0 and variance 1, zeros where all are equal."""
    centred = levels - levels.mean(axis=1, keepdims=True, dtype=np.float32)
    return centred / np.maximum(centred.std(axis=1, keepdims=True), 1e-6)


def _parts(indices: np.ndarray) -> Iterator[np.ndarray]:
    """Slices of bounded size."""
    for start in range(0, len(indices), _AT_ONCE):
        yield indices[start : start + _AT_ONCE]
