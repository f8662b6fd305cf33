"""`lumi checkpoint convert`."""

from __future__ import annotations

from pathlib import Path

import click

from luminoth.cli.tensorflow_start import load_tensorflow
from luminoth.cli.terminal import say


@click.group()
def checkpoint() -> None:
    """Convert published weights to checkpoints.

    \b
    Examples:
      lumi checkpoint convert fasterrcnn_resnet50_fpn_coco-258fb6c6.pth
      lumi checkpoint convert model_final_280758.pkl --as faster_rcnn_R_50_FPN_3x
    """


@checkpoint.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    "--as", "name", metavar="NAME",
    help="The published model these weights are for; a name that is not known lists them. "
    "[default: told by tensors, checksum and file name]",
)  # fmt: skip
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
    help="Folder to create for the checkpoint. [default: $LUMI_HOME/checkpoints/<id>]",
)  # fmt: skip
def convert(source: Path, name: str | None, output: Path | None) -> None:
    """Make a checkpoint of a Faster R-CNN of torchvision (.pth) or Detectron2 (.pkl, .pth).

    SOURCE is read without torch, and nothing in it is run. Prints the checkpoint's folder; `lumi predict` and
    `lumi eval` find it by the model's name.

    \b
    Examples:
      lumi checkpoint convert fasterrcnn_resnet50_fpn_coco-258fb6c6.pth
      lumi checkpoint convert model_final_280758.pkl --as faster_rcnn_R_50_FPN_3x
      lumi checkpoint convert own.pth --as fasterrcnn_resnet50_fpn_v2 --output checkpoints/own/
    """
    from luminoth.checkpoints.convert.converter import convert_source, read_source

    weights = read_source(source, name)
    load_tensorflow()
    folder, report = convert_source(weights, output)
    say(str(report))
    named = weights.model.name if output is None else folder
    say(f"Use it: lumi predict IMAGE --checkpoint {named}")
    click.echo(folder)
