"""Class names that look like two spellings of one."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from itertools import combinations

from luminoth.data.check.concerns import Concern, Entry, Severity

# Of short words many are one letter from another one (cat, car; house, horse).
_LONG_ENOUGH = 6


def name_concerns(classes: Sequence[str]) -> Iterator[Concern]:
    """Pairs of class names that differ only in case, spaces and punctuation, or in one letter."""
    folded = [_folded(name) for name in classes]
    entries = []
    for one, other in combinations(range(len(classes)), 2):
        if abs(len(folded[one]) - len(folded[other])) > 1:
            continue
        if folded[one] == folded[other]:
            entries.append(Entry("", "", classes[one], f"and {classes[other]!r} differ in case, spaces or marks only"))
        elif _differ_in_one_letter(folded[one], folded[other]):
            entries.append(Entry("", "", classes[one], f"and {classes[other]!r} differ in one letter"))
    if entries:
        yield Concern(
            "similar_class_names",
            Severity.LOOK,
            "class names that may be two spellings of one",
            entries,
            "`lumi dataset merge --rename old=new` joins them",
        )


def _folded(name: str) -> str:
    """Letters and digits, in lower case; the name itself where it has none."""
    plain = unicodedata.normalize("NFKC", name).casefold()
    return "".join(letter for letter in plain if letter.isalnum()) or name


def _differ_in_one_letter(one: str, other: str) -> bool:
    shorter, longer = sorted((one, other), key=len)
    start = next((place for place, pair in enumerate(zip(shorter, longer, strict=False)) if pair[0] != pair[1]), None)
    if start is None:
        start = len(shorter)
    is_swap = len(shorter) == len(longer)
    if shorter[start + is_swap :] != longer[start + 1 :]:
        return False
    if longer[start].isdigit() or (is_swap and shorter[start].isdigit()):
        return False  # sizes, numbers, versions
    is_plural = not is_swap and start == len(shorter) and longer.endswith("s") and len(shorter) > 2
    return is_plural or (len(shorter) >= _LONG_ENOUGH and 0 < start < len(longer) - 1)
