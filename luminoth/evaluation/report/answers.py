"""The answers that a report begins with: how good, how sure, where it fails, which threshold, is it better."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath

import numpy as np

from luminoth.evaluation.analysis import Analysis
from luminoth.evaluation.comparison import Comparison, Difference
from luminoth.evaluation.metrics import ClassMetrics
from luminoth.evaluation.thresholds import ClassThreshold
from luminoth.page.render import percent

_FEW_PICTURES = 100  # the bootstrap knows no pictures but these: of fewer its interval is a rough one
_FEW_OBJECTS = 10  # figures of so few are chance
_WORSE_BY = 0.1  # of AP: a size, or a class, that is worth a word
_DEAR = 0.01  # of AP50: an error that is worth a word
_HARDLY_LOWER = 0.01  # F1
_WIDE = 0.1  # a range of thresholds that is worth a word
_WORST_NAMED = 3
_HIGH_SCORE = 0.5  # from where on it is told whether scores are right
_MISJUDGED = 0.05  # of precision, from where on they are not


@dataclass(frozen=True)
class Answer:
    """A question and its answer.

    Attributes:
        question: a few words.
        text: some sentences.
        more: id of the section that shows it.
        more_text: what that is called.
    """

    question: str
    text: str
    more: str
    more_text: str


@dataclass(frozen=True)
class ConfusedPair:
    """Objects of class `name` taken for `said`: how many, and the share of all of them."""

    name: str
    said: str
    count: int
    share: float


@dataclass(frozen=True)
class ConfusedWithBackground:
    """How many objects of a class were missed, and how many detections of it found nothing; shares of all of each."""

    name: str
    missed: int
    missed_share: float
    vain: int
    vain_share: float


def find_answers(analysis: Analysis, comparison: Comparison | None, other_name: str) -> list[Answer]:
    """All that can be given.

    Args:
        analysis: of what is reported.
        comparison: with something older, or None.
        other_name: what that is called, or its file.
    """
    answers = []
    if comparison is not None:
        short_name = PurePath(other_name).name
        answers.append(
            Answer(f"Is it better than {short_name}?", _is_it_better(comparison), "comparison", "The comparison")
        )
    answers += [
        Answer("How good is it?", _how_good(analysis), "figures", "All figures"),
        Answer("How sure is that?", _how_sure(analysis), "figures", "By class"),
        Answer("Where does it fail?", _where(analysis), "fails", "Errors, classes, sizes"),
        Answer("Which threshold?", _which_threshold(analysis), "thresholds", "Thresholds by class"),
    ]
    return answers


def confused_pairs(analysis: Analysis) -> list[ConfusedPair]:
    """What is taken for what, the most frequent first; without the background."""
    names, counts = analysis.confusion.names, analysis.confusion.counts
    classes = len(names) - 1
    totals = counts[:classes].sum(axis=1)
    rows, columns = np.nonzero(counts[:classes, :classes])
    pairs = [
        ConfusedPair(names[row], names[column], int(counts[row, column]), float(counts[row, column] / totals[row]))
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
        if row != column
    ]
    return sorted(pairs, key=lambda pair: (-pair.count, -pair.share))


def confused_with_background(analysis: Analysis) -> list[ConfusedWithBackground]:
    """The classes with any missed object or detection in vain, those with the most of both first."""
    names, counts = analysis.confusion.names, analysis.confusion.counts
    objects, said = counts[:-1].sum(axis=1).tolist(), counts[:, :-1].sum(axis=0).tolist()
    missed, vain = counts[:-1, -1].tolist(), counts[-1, :-1].tolist()
    classes = [
        ConfusedWithBackground(
            names[index],
            missed[index],
            missed[index] / max(objects[index], 1),
            vain[index],
            vain[index] / max(said[index], 1),
        )
        for index in range(len(names) - 1)
        if missed[index] or vain[index]
    ]
    return sorted(classes, key=lambda each: -(each.missed + each.vain))


def describe_change(difference: Difference) -> str:
    """Such as `+0.012 (+0.003 to +0.021)`; a dash where nothing could be measured."""
    if difference.difference is None:
        return "–"
    text, interval = _signed(difference.difference), difference.interval
    return text if interval is None else f"{text} ({_signed(interval.low)} to {_signed(interval.high)})"


def describe_calibration(analysis: Analysis) -> str:
    """Whether high scores are too high or too low; empty when there are none."""
    bins = [each for each in analysis.calibration.bins if each.count and each.low >= _HIGH_SCORE]
    count = sum(each.count for each in bins)
    if not count:
        return ""
    score = sum(each.count * each.score for each in bins) / count
    precision = sum(each.count * each.precision for each in bins) / count
    verdict = (
        "too high" if score > precision + _MISJUDGED else "too low" if score < precision - _MISJUDGED else "honest"
    )
    return (
        f"Scores are {verdict}: of {count:,} detections above {_HIGH_SCORE} they say {percent(score)} are right, and "
        f"{percent(precision)} are."
    )


def _is_it_better(comparison: Comparison) -> str:
    AP = comparison.AP  # noqa: N806
    if AP.difference is None:
        return "That cannot be told: there is no object to measure with."
    verdict = {
        "better": "Yes.",
        "worse": "No, it is worse.",
        "unclear": "That is not clear: the interval holds 0, so the difference may be chance.",
    }[AP.verdict]
    text = f"{verdict} AP {AP.old:.3f} → {AP.new:.3f}, {describe_change(AP)}, 95 % interval over pictures."
    if AP.difference == 0 and comparison.AP50.difference == 0:
        text = f"It is the same: AP {AP.new:.3f} both times."
    measured = comparison.wins + comparison.losses + comparison.ties
    if measured > 1:
        text += f" AP50 rose in {comparison.wins} of {measured} classes and fell in {comparison.losses}."
    return text


def _how_good(analysis: Analysis) -> str:
    AP, best = analysis.coco.figures["AP"], analysis.thresholds.overall  # noqa: N806
    if AP is None:
        return "That cannot be told: there is no object to measure with."
    if best.threshold is None:
        return "Not at all: it found none of the objects."
    return (
        f"It finds {percent(best.recall)} of the objects, and {percent(best.precision)} of what it reports is right, "
        f"at a score of at least {best.threshold:.2f} (IoU 0.5)."
    )


def _how_sure(analysis: Analysis) -> str:
    interval, images = analysis.intervals.AP, analysis.coco.images
    if interval is None:
        return "There is nothing to measure with."
    text = (
        f"AP lies between {interval.low:.3f} and {interval.high:.3f} in 95 of 100 draws of {images:,} pictures like "
        "these."
    )
    if images < _FEW_PICTURES:
        text += f" With only {images} pictures even that is rough."
    few = [each for each in analysis.coco.by_class if 0 < each.objects < _FEW_OBJECTS]
    if few:
        few.sort(key=lambda each: each.objects)
        text += f" Fewer than {_FEW_OBJECTS} objects, so chance: {_listed([each.name for each in few])}."
    return text


def _where(analysis: Analysis) -> str:
    sentences = [_worst_kind(analysis), _worst_classes(analysis), _worst_size(analysis), _worst_pair(analysis)]
    return " ".join(filter(None, sentences)) or "Nowhere that would show in these figures."


def _worst_kind(analysis: Analysis) -> str:
    kinds = sorted((each for each in analysis.errors.kinds if each.cost), key=lambda each: -each.cost)
    if not kinds or kinds[0].cost < _DEAR:
        return ""
    first = f"Errors of the kind “{kinds[0].name}” cost most, {kinds[0].cost:.3f} of AP50"
    if len(kinds) > 1 and kinds[1].cost >= _DEAR:
        return f"{first}, then “{kinds[1].name}”, {kinds[1].cost:.3f}."
    return f"{first}."


def _worst_classes(analysis: Analysis) -> str:
    measured = [each for each in analysis.coco.by_class if each.AP is not None]
    if len(measured) < 2:
        return ""
    mean = analysis.coco.figures["AP"]
    worst = sorted((each for each in measured if mean - _WORSE_BY > each.AP), key=lambda each: each.AP)
    if not worst:
        worst = [min(measured, key=lambda each: each.AP)]
    named = ", ".join(f"{each.name} ({each.AP:.2f})" for each in worst[:_WORST_NAMED])
    more = f" and {len(worst) - _WORST_NAMED} more" if len(worst) > _WORST_NAMED else ""
    return f"Lowest AP: {named}{more}."


def _worst_size(analysis: Analysis) -> str:
    figures, counts = analysis.coco.figures, analysis.coco.objects_by_size
    measured = {size: figures[f"AP_{size}"] for size, count in counts.items() if count >= _FEW_OBJECTS}
    measured = {size: value for size, value in measured.items() if value is not None}
    if len(measured) < 2:
        return ""
    worst, best = min(measured, key=measured.get), max(measured, key=measured.get)
    if measured[best] - measured[worst] < _WORSE_BY:
        return ""
    return f"Of {worst} objects it has an AP of {measured[worst]:.2f}, of {best} ones {measured[best]:.2f}."


def _worst_pair(analysis: Analysis) -> str:
    pairs = confused_pairs(analysis)
    if not pairs or pairs[0].count < 2:
        return ""
    return f"Most often confused: {pairs[0].name} taken for {pairs[0].said}, {pairs[0].count} times."


def _which_threshold(analysis: Analysis) -> str:
    best = analysis.thresholds.overall
    if best.threshold is None:
        return "None: there is no right detection to choose one by."
    own = [each for each in analysis.thresholds.by_class if each.threshold is not None]
    for_all = " for all classes" if len(own) > 1 else ""
    text = f"{best.threshold:.2f}{for_all}: F1 {best.f1:.3f}, the highest there is."
    low, high = _as_good(best)
    if high - low >= _WIDE:
        text += f" From {low:.2f} to {high:.2f} it is hardly lower, within {_HARDLY_LOWER}."
    if len(own) < 2:
        return text
    low, high = (choose(own, key=lambda each: each.threshold) for choose in (min, max))
    return text + f" By class from {low.threshold:.2f} ({low.name}) to {high.threshold:.2f} ({high.name})."


def _as_good(best: ClassThreshold) -> tuple[float, float]:
    """From where to where around the best threshold F1 is hardly lower."""
    curve = best.curve  # from the highest score down
    too_low = np.flatnonzero(curve.f1 < best.f1 - _HARDLY_LOWER)
    place = int(np.argmax(curve.f1))
    begin = too_low[too_low < place].max(initial=-1) + 1
    end = too_low[too_low > place].min(initial=len(curve.f1)) - 1
    return float(curve.scores[end]), float(curve.scores[begin])


def by_lowest_precision(by_class: list[ClassMetrics]) -> list[int]:
    """Numbers of classes, the lowest AP first, those without objects last."""
    return sorted(range(len(by_class)), key=lambda index: (by_class[index].AP is None, by_class[index].AP or 0.0))


def _signed(value: float) -> str:
    return f"{round(value, 3) + 0.0:+.3f}"  # adding 0 makes a negative zero a plain one


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _WORST_NAMED} more" if len(names) > _WORST_NAMED else ""
    return ", ".join(names[:_WORST_NAMED]) + more
