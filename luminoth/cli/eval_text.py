"""What `lumi eval` says of an evaluation, as tables of at most 80 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from luminoth.cli.tables import table

if TYPE_CHECKING:
    from luminoth.evaluation.bootstrap import Interval
    from luminoth.evaluation.comparison import Comparison, Difference
    from luminoth.evaluation.evaluate import EvaluationResult


def describe_result(result: EvaluationResult) -> str:
    """All tables, with an empty line between two."""
    return "\n".join(
        [
            _figures(result),
            _classes(result),
            *([_proposals(result)] if result.proposals is not None else []),
            _errors(result),
            *([_losses(result)] if result.losses else []),
        ]
    )


def describe_comparison(comparison: Comparison, other: str) -> str:
    """Old against new."""
    rows = [("AP", comparison.AP), ("AP50", comparison.AP50)]
    rows += [(f"AP50 {name}", each) for name, each in comparison.by_class.items() if each.difference is not None]
    higher = f"{comparison.wins} class" if comparison.wins == 1 else f"{comparison.wins} classes"
    wins = f"AP50 is higher in {higher}, lower in {comparison.losses}, the same in {comparison.ties}."
    return (
        f"Compared with {other}:\n\n"
        + table(
            ["figure", "before", "now", "difference", "95 % interval", "it is"],
            [_difference(name, each) for name, each in rows],
        )
        + f"\n{wins}\n"
    )


def _difference(name: str, each: Difference) -> list[str]:
    signed = "-" if each.difference is None else f"{each.difference:+.4f}"
    interval = "-" if each.interval is None else f"{each.interval.low:+.4f} to {each.interval.high:+.4f}"
    return [name, _number(each.old), _number(each.new), signed, interval, each.verdict]


def _figures(result: EvaluationResult) -> str:
    analysis = result.analysis
    intervals = {"AP": analysis.intervals.AP, "AP50": analysis.intervals.AP50}
    rows = [[name, _number(value), _interval(intervals.get(name))] for name, value in analysis.coco.figures.items()]
    rows += [
        ["AP50, VOC 2007", _number(analysis.voc.AP50_2007), ""],
        ["AP50, VOC 2012", _number(analysis.voc.AP50_2012), ""],
    ]
    return table(["metric", "value", "95 % interval"], rows)


def _classes(result: EvaluationResult) -> str:
    analysis = result.analysis
    rows = [
        [each.name, str(each.objects), _number(each.AP), _number(each.AP50), *_best(best)]
        for each, best in zip(analysis.coco.by_class, analysis.thresholds.by_class, strict=True)
    ]
    if len(rows) > 1:
        figures = analysis.coco.figures
        overall = analysis.thresholds.overall
        rows.append(["all", str(overall.objects), _number(figures["AP"]), _number(figures["AP50"]), *_best(overall)])
    return table(["class", "objects", "AP", "AP50", "best F1", "at score", "precision", "recall"], rows)


def _best(best) -> list[str]:
    return [_number(value, 3) for value in (best.f1, best.threshold, best.precision, best.recall)]


def _proposals(result: EvaluationResult) -> str:
    mean, at_50 = result.proposals.mean, result.proposals.at_50
    return table(
        ["proposals", "AR", "recall at IoU 0.5"],
        [[str(count), _number(mean[count]), _number(at_50[count])] for count in mean],
    )


def _errors(result: EvaluationResult) -> str:
    rows = [[each.name, str(each.count), _number(each.cost)] for each in result.analysis.errors.kinds]
    return table(["error", "count", "AP50 it costs"], rows)


def _losses(result: EvaluationResult) -> str:
    return table(["loss", "value"], [[name, f"{value:.4f}"] for name, value in result.losses.items()])


def _number(value: float | None, digits: int = 4) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _interval(interval: Interval | None) -> str:
    return "" if interval is None else f"{interval.low:.4f} to {interval.high:.4f}"
