"""`lumi checkpoint diff`: what differs between two."""

from __future__ import annotations

import json
import shutil
import textwrap
from typing import TYPE_CHECKING, Any

import click

from luminoth.cli.checkpoint_options import json_option, write_json
from luminoth.cli.tables import table

if TYPE_CHECKING:
    from luminoth.checkpoints.compare import Comparison, Difference

_MOST_LAYERS = 10
_MOST_NAMES = 8


@click.command()
@click.argument("a")
@click.argument("b")
@click.option("--all", "whole", is_flag=True, help=f"All layers that differ, not only the first {_MOST_LAYERS}.")
@json_option
def diff(a: str, b: str, whole: bool, as_json: bool) -> None:
    """Show what differs between two checkpoints.

    Compares configuration, classes, weights and metadata. A and B are ids, aliases, or folders of checkpoints or of
    runs.

    \b
    Examples:
      lumi checkpoint diff toytown jobs/my-run
      lumi checkpoint diff jobs/my-run/ckpt-2000 jobs/my-run/ckpt-4000 --all
    """
    from luminoth import checkpoints

    folders = checkpoints.find(a), checkpoints.find(b)
    found = checkpoints.diff(*folders)
    if as_json:
        write_json({"a": str(folders[0]), "b": str(folders[1]), **found.to_dict()})
        return
    click.echo(f"A  {folders[0]}\nB  {folders[1]}\n")
    click.echo(_values("Configuration", "keys", found.configuration))
    click.echo(_classes(found))
    click.echo(_weights(found, whole))
    click.echo(_values("Metadata", "facts", found.metadata), nl=False)


def _values(title: str, what: str, differences: list[Difference]) -> str:
    if not differences:
        return f"{title}: the same\n"
    lines = [f"{title}: {len(differences)} {what} differ"]
    for each in differences:
        lines += [f"  {each.key}", _shown("A", each.a), _shown("B", each.b)]
    return "\n".join(lines) + "\n"


def _shown(side: str, value: Any) -> str:
    text = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
    width = min(shutil.get_terminal_size().columns, 100)
    return textwrap.fill(text, width, initial_indent=f"    {side}  ", subsequent_indent=" " * 7)


def _classes(found: Comparison) -> str:
    told = [f"  only in {side}: {_some(names)}" for side, names in
            (("A", found.classes_only_a), ("B", found.classes_only_b)) if names]  # fmt: skip
    if found.is_reordered:
        told.append("  those of both are in another order")
    return "\n".join(["Classes:", *told]) + "\n" if told else "Classes: the same\n"


def _weights(found: Comparison, whole: bool) -> str:
    differing = sorted((each for each in found.layers if each.largest), key=lambda each: each.largest, reverse=True)
    others = found.tensors_only_a or found.tensors_only_b or found.shapes
    if not differing and not others:
        return f"Weights: all {found.numbers:,} numbers are the same\n"
    lines = [f"Weights: {100 * found.share_equal:.1f} % of {found.numbers:,} numbers in both are the same"]
    if found.types[0] != found.types[1]:
        lines.append(f"  stored as {', '.join(found.types[0])} in A, {', '.join(found.types[1])} in B")
    lines += [f"  only in {side}: {len(names)}, {_some(names)}" for side, names in
              (("A", found.tensors_only_a), ("B", found.tensors_only_b)) if names]  # fmt: skip
    lines += [f"  {each.key}: shape {each.a} in A, {each.b} in B" for each in found.shapes]
    if not differing:
        return "\n".join(lines) + "\n"
    shown = differing if whole else differing[:_MOST_LAYERS]
    rows = [
        [f"  {each.layer}", f"{each.largest:.3g}", f"{each.scale:.3g}", f"{100 * each.equal / each.numbers:.1f} %"]
        for each in shown
    ]
    lines += ["", table(["  layer", "largest difference", "largest in A", "equal"], rows).rstrip()]
    if len(shown) < len(differing):
        lines.append(f"  and {len(differing) - len(shown)} more layers (--all shows them)")
    same = len(found.layers) - len(differing)
    lines += [f"  {same} layers are the same"] if same else []
    return "\n".join(lines) + "\n"


def _some(names: list[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
