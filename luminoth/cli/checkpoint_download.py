"""`lumi checkpoint download`."""

from __future__ import annotations

import click

from luminoth.cli.checkpoint_fetch import download as download_with_bar
from luminoth.cli.checkpoint_options import json_option, write_json, yes_option
from luminoth.cli.terminal import say
from luminoth.errors import CheckpointError


@click.command()
@click.argument("name", metavar="ID|ALIAS")
@yes_option
@click.option("--keep-file", is_flag=True, help="Keep the original file, in $LUMI_HOME/downloads/<id>/.")
@json_option
def download(name: str, yes: bool, keep_file: bool, as_json: bool) -> None:
    """Fetch a checkpoint, verify it and convert it.

    What can be fetched `lumi checkpoint list` shows as NOT_DOWNLOADED. The file comes from those who published it; an
    interrupted download goes on where it stopped. Prints the checkpoint's folder.

    \b
    Environment:
      LUMI_HOME         where checkpoints are kept [default: ~/.luminoth]
      LUMI_MIRROR_URL   addresses that take the place of scheme and host, asked first; separated by commas
      https_proxy       and its like, as everywhere

    \b
    Examples:
      lumi checkpoint download accurate
      lumi checkpoint download faster_rcnn_R_50_FPN_3x --keep-file
    """
    del yes  # the command is the consent; taken so that it can be given to all that may download
    from luminoth.checkpoints.downloadable import find_remote
    from luminoth.checkpoints.remote import stored
    from luminoth.checkpoints.store import Store

    remote = find_remote(name)
    if remote is None:
        if Store().look_up(name):
            raise CheckpointError(
                f"`{name}` is a checkpoint of this machine, and nothing of that name can be downloaded; "
                "`lumi checkpoint list` shows what can"
            )
        raise CheckpointError(
            f"nothing called `{name}` can be downloaded; `lumi checkpoint list` shows what can, and `lumi checkpoint "
            "refresh` looks for more"
        )
    if entry := stored(remote):
        say(f"`{remote.called}` is already downloaded.")
    else:
        say(f"{remote.name}; licence: {remote.licence}")
        entry = download_with_bar(remote, keep_file=keep_file)
        say(f"Use it: lumi predict IMAGE --checkpoint {remote.called}")
    if as_json:
        write_json(entry.to_dict())
    else:
        click.echo(entry.folder)
