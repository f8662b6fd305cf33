"""Pictures that are there more than once: in two splits, in one, and with labels that contradict each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise

import numpy as np

from luminoth.data.check.concerns import Concern, Entry, Severity
from luminoth.data.check.looks import box_overlaps, class_name
from luminoth.data.check.survey import SplitSurvey
from luminoth.data.similarity import SIDE, correlations, group_pictures, members

_SAME_OBJECT = 0.7  # IoU of its boxes in two copies, of which one may be cut a little
_MOST_COMPARED = 500  # pictures of a group that are tried as the nearest one; of larger groups the first is taken

_HOW = {"identical": "as the same file", "similar": "nearly identical"}
_SAME = {"identical": "the same file", "similar": "looks the same"}


def copy_concerns(surveys: Sequence[SplitSurvey], classes: Sequence[str]) -> Iterator[Concern]:
    """What is there more than once.

    Args:
        surveys: of the splits; the one that is trained on first.
        classes: the class list.
    """
    album = _Album(surveys)
    for first, second in combinations(range(len(surveys)), 2):
        yield from album.shared(first, second)
    if entries := list(album.contradictions(classes)):
        text = "objects with another class in a copy of their picture"
        yield Concern("copies_disagree", Severity.LOOK, text, entries)
    yield from album.repeated()


class _Album:
    """The pictures of all splits, M of them, and which belong together."""

    def __init__(self, surveys: Sequence[SplitSurvey]) -> None:
        self._surveys = surveys
        self._fingerprints = [each for survey in surveys for each in survey.fingerprints]
        counts = [survey.pictures for survey in surveys]
        self._split_of = np.repeat(np.arange(len(surveys)), counts)  # [M]
        self._first_of_split = np.cumsum([0, *counts])
        self._groups = group_pictures(self._fingerprints)
        self._members = {int(group[0]): group for group in members(self._groups.similar)}

    def shared(self, first: int, second: int) -> Iterator[Concern]:
        """The pictures of the second split that the first has too."""
        in_first, in_second = (np.flatnonzero(self._split_of == split) for split in (first, second))
        partners = {
            kind: _first_members(groups, in_first)[groups[in_second]] for kind, groups in self._groups._asdict().items()
        }
        partners["similar"][partners["identical"] >= 0] = -1  # counted already
        names = [self._surveys[split].split for split in (first, second)]
        advice = "figures measured on them are too good; `lumi dataset transform --split-ratio` cuts anew"
        for kind, of_kind in partners.items():
            entries = [
                self._pair(picture, self._nearest(picture, partner, first) if kind == "similar" else partner, kind)
                for picture, partner in zip(in_second.tolist(), of_kind.tolist(), strict=True)
                if partner >= 0
            ]
            if entries:
                share = len(entries) / len(in_second)
                text = f"pictures of {names[1]} that are in {names[0]} too, {_HOW[kind]} ({share:.0%} of {names[1]})"
                yield Concern(f"{kind}_across_splits", Severity.LOOK, text, entries, advice)
                advice = ""

    def repeated(self) -> Iterator[Concern]:
        """The pictures that their own split has already."""
        count = len(self._split_of)
        found: dict[str, list[Entry]] = {"identical": [], "similar": []}
        is_known = np.zeros(count, bool)
        for kind, groups in zip(found, self._groups, strict=True):
            keys = groups * len(self._surveys) + self._split_of
            _, firsts, inverse = np.unique(keys, return_index=True, return_inverse=True)
            again = np.flatnonzero((firsts[inverse] != np.arange(count)) & ~is_known)
            is_known[again] = True
            found[kind] = [self._pair(picture, firsts[inverse[picture]], kind) for picture in again]
        for kind, entries in found.items():
            if entries:
                yield Concern(
                    f"{kind}_in_split",
                    Severity.NOTED,
                    f"pictures that their own split has twice, {_HOW[kind]}",
                    entries,
                )

    def contradictions(self, classes: Sequence[str]) -> Iterator[Entry]:
        """Objects that a similar picture shows in the same place, as something else."""
        for group in self._members.values():
            for one, other in pairwise(group.tolist()):
                yield from self._contradictions_of(one, other, classes)

    def _contradictions_of(self, one: int, other: int, classes: Sequence[str]) -> Iterator[Entry]:
        (boxes, ids), (other_boxes, other_ids) = self._relative_objects(one), self._relative_objects(other)
        if not len(boxes) or not len(other_boxes):
            return
        overlaps = box_overlaps(boxes[:, None], other_boxes[None])  # [n, m]
        # Two objects in one place (a rider and a bicycle) agree when either copy has both.
        is_same = overlaps >= _SAME_OBJECT
        if 2 * is_same.any(axis=1).sum() < max(is_same.shape):
            return  # the same place at another time, with other objects
        is_agreed = (is_same & (ids[:, None] == other_ids)).any(axis=1)
        is_other_agreed = (is_same & (ids[:, None] == other_ids)).any(axis=0)
        for index in np.flatnonzero(is_same.any(axis=1) & ~is_agreed):
            match = int(np.argmax(overlaps[index]))
            if not is_other_agreed[match]:
                names = [class_name(classes, each) for each in (ids[index], other_ids[match])]
                survey, place = self._find(one)
                detail = f"{names[0]} there, {names[1]} in {self._name(other)}, in the same place"
                yield Entry(survey.split, survey.image_ids[place], self._name(one), detail)

    def _relative_objects(self, picture: int) -> tuple[np.ndarray, np.ndarray]:
        """[n, 4] boxes in fractions of the picture, and [n] classes."""
        survey, place = self._find(picture)
        part = slice(survey.ends[place], survey.ends[place + 1])
        is_object = survey.is_object[part]
        height, width = survey.image_sizes[place]
        return survey.boxes[part][is_object] / [width, height, width, height], survey.class_ids[part][is_object]

    def _nearest(self, picture: int, first: int, split: int) -> int:
        """Of the pictures of another split that a picture may be like, the one that it is most like."""
        group = self._members[int(self._groups.similar[picture])]
        if len(group) > _MOST_COMPARED:
            return first
        others = group[self._split_of[group] == split]
        levels = np.stack([self._levels(each) for each in others])
        return int(others[np.argmax(correlations(levels, self._levels(picture)[None]))])

    def _levels(self, picture: int) -> np.ndarray:
        return np.frombuffer(self._fingerprints[picture].levels, np.uint8).reshape(SIDE * SIDE)

    def _pair(self, picture: int, other: int, kind: str) -> Entry:
        survey, place = self._find(picture)
        return Entry(
            survey.split, survey.image_ids[place], self._name(picture), f"{_SAME[kind]} as {self._name(other)}"
        )

    def _find(self, picture: int) -> tuple[SplitSurvey, int]:
        split = int(self._split_of[picture])
        return self._surveys[split], int(picture - self._first_of_split[split])

    def _name(self, picture: int) -> str:
        survey, place = self._find(picture)
        return f"{survey.split}: {survey.names[place]}" if len(self._surveys) > 1 else survey.names[place]


def _first_members(groups: np.ndarray, pictures: np.ndarray) -> np.ndarray:
    """[M]: for each group's number the first of `pictures` that is in it, or -1."""
    firsts = np.full(len(groups), -1)
    firsts[groups[pictures[::-1]]] = pictures[::-1]  # of several that are written to one place the last one stays
    return firsts
