"""`lumi dataset`: everything that is done with data before and beside training; a module for each command."""

from __future__ import annotations

import click

from luminoth.cli.dataset_check import check
from luminoth.cli.dataset_convert import convert
from luminoth.cli.dataset_merge import merge
from luminoth.cli.dataset_show import show
from luminoth.cli.dataset_stats import stats
from luminoth.cli.dataset_toytown import toytown
from luminoth.cli.dataset_transform import transform


@click.group()
def dataset() -> None:
    """Make, convert, check and show data sets.

    \b
    Examples:
      lumi dataset toytown --output-dir toytown
      lumi dataset check toytown
      lumi dataset transform --data-dir toytown --output-dir toytown-tf
      lumi dataset stats toytown-tf --html stats.html
      lumi dataset show toytown-tf -n 16
      lumi dataset convert toytown-tf toytown-yolo --to yolo
      lumi dataset merge day-tf/ night-tf/ both-tf/
    """


for command in (transform, check, stats, show, convert, merge, toytown):
    dataset.add_command(command)
