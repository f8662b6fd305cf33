"""`lumi checkpoint refresh`."""

from __future__ import annotations

from dataclasses import asdict

import click

from luminoth.cli.checkpoint_options import json_option, write_json
from luminoth.cli.terminal import say


@click.command()
@json_option
def refresh(as_json: bool) -> None:
    """Fetch the index of what can be downloaded.

    Luminoth comes with an index of published detectors. LUMI_REMOTE_URL names a further one, whose checkpoints are then
    listed with them; without it there is nothing to fetch, and one that was fetched before is forgotten.

    \b
    Examples:
      lumi checkpoint refresh
      LUMI_REMOTE_URL=https://models.example.org/index.json lumi checkpoint refresh
    """
    from luminoth.checkpoints.remote import URL_VARIABLE, refresh_index

    found = refresh_index(say)
    for line in found.passed_over:
        say(f"Passed over, {line}")
    if as_json:
        write_json(asdict(found))
        return
    counts = (found.added, "added"), (found.removed, "removed"), (found.changed, "changed")
    changes = [f"{len(ids)} remote checkpoint{'s' if len(ids) != 1 else ''} {what}." for ids, what in counts if ids]
    click.echo("\n".join(changes or ["No changes in remote index."]))
    where = f"at {found.url} and in the package" if found.url else f"in the package ({URL_VARIABLE} is not set)"
    say(f"{found.total} checkpoints can be downloaded: those {where}.")
