"""`lumi checkpoint`: detectors that can be called by name; a module for each command."""

from __future__ import annotations

import click

from luminoth.cli.checkpoint_convert import convert
from luminoth.cli.checkpoint_create import create
from luminoth.cli.checkpoint_delete import delete
from luminoth.cli.checkpoint_diff import diff
from luminoth.cli.checkpoint_download import download
from luminoth.cli.checkpoint_edit import edit
from luminoth.cli.checkpoint_export import export
from luminoth.cli.checkpoint_import import import_
from luminoth.cli.checkpoint_info import info
from luminoth.cli.checkpoint_list import list_
from luminoth.cli.checkpoint_refresh import refresh


@click.group()
def checkpoint() -> None:
    """List, make, share and compare checkpoints: trained detectors that can be called by name.

    They are kept in $LUMI_HOME/checkpoints, which is ~/.luminoth/checkpoints by default.

    \b
    Examples:
      lumi checkpoint list
      lumi checkpoint info toytown
      lumi checkpoint download accurate
      lumi checkpoint create config.yml -e name="OpenImages Traffic" -e alias=traffic
      lumi checkpoint export traffic
      lumi checkpoint import cb0e5d92a854.tar
      lumi checkpoint diff toytown traffic
      lumi checkpoint convert fasterrcnn_resnet50_fpn_coco-258fb6c6.pth
    """


for command in (list_, info, download, refresh, create, edit, delete, export, import_, convert, diff):
    checkpoint.add_command(command)
