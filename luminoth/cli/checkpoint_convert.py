"""`lumi checkpoint convert`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from luminoth.cli.bucket_files import LocalPath
from luminoth.cli.checkpoint_options import json_option, write_json
from luminoth.cli.tables import table
from luminoth.cli.tensorflow_start import load_tensorflow
from luminoth.cli.terminal import say
from luminoth.errors import CheckpointError

if TYPE_CHECKING:
    from luminoth.checkpoints.convert.converter import SourceWeights
    from luminoth.checkpoints.convert.parity import Comparison, Parity


@click.command()
@click.argument("source", type=LocalPath())
@click.option(
    "--as", "name", metavar="NAME",
    help="The published model these weights are for; a name that is not known lists them. "
    "[default: told by tensors, checksum and file name]",
)  # fmt: skip
@click.option(
    "--output", type=LocalPath(file_okay=False), metavar="DIR",
    help="Folder to create for the checkpoint. [default: $LUMI_HOME/checkpoints/<id>]",
)  # fmt: skip
@click.option(
    "--verify", "golden", type=LocalPath(dir_okay=False), metavar="GOLDEN",
    help="JSON file (its .npz beside it) with the numbers of the original implementation: compares stage by stage "
    "first, and converts nothing when they differ.",
)  # fmt: skip
@json_option
def convert(source: Path, name: str | None, output: Path | None, golden: Path | None, as_json: bool) -> int:
    """Make a checkpoint of published weights, or of weights of your own.

    SOURCE is a Faster R-CNN of torchvision (.pth) or Detectron2 (.pkl, .pth), which is read without torch, and nothing
    in it is run; a .weights.h5 with its config.yml and classes.json beside it; or the folder of a run, whose newest
    checkpoint is taken. Prints the checkpoint's folder; `lumi predict` and `lumi eval` find it by the model's name.

    \b
    Examples:
      lumi checkpoint convert fasterrcnn_resnet50_fpn_coco-258fb6c6.pth
      lumi checkpoint convert model_final_280758.pkl --as faster_rcnn_R_50_FPN_3x
      lumi checkpoint convert own.pth --as fasterrcnn_resnet50_fpn_v2 --output checkpoints/own/
      lumi checkpoint convert own.pth --as fasterrcnn_resnet50_fpn --verify goldens/fasterrcnn_resnet50_fpn.json
      lumi checkpoint convert jobs/my-run
    """
    from luminoth.checkpoints.convert.own_weights import is_weights_file

    if source.is_dir() or is_weights_file(source):
        if golden is not None:
            raise click.UsageError(f"--verify compares weights of other libraries; {source} is of this one")
        _finish(_convert_own(source, name, output), None, [], as_json)
        return 0
    from luminoth.checkpoints.convert.converter import convert_source, read_source

    weights = read_source(source, name)
    stages = None
    if golden is not None:
        parity = _verify(weights, golden)
        stages = parity.stages
        if not as_json:
            click.echo(_parity_table(parity))
        if not parity.passed:
            if as_json:
                write_json({"folder": None, "parity": [_row(stage) for stage in stages]})
            raise CheckpointError(
                f"{source}: the converted model's numbers are not those of {golden}; nothing was stored"
            )
    load_tensorflow()
    folder, report = convert_source(weights, output)
    say(str(report))
    called = weights.model.alias if weights.is_published else weights.model.name
    _finish(folder, called if output is None else None, stages, as_json)
    return 0


def _convert_own(source: Path, name: str | None, output: Path | None) -> Path:
    from luminoth.checkpoints.convert.own_weights import convert_folder, convert_weights_file

    if source.is_dir():
        if name is not None:
            raise click.UsageError(f"--as is for a file of weights; {source} is a folder with its own configuration")
        return convert_folder(source, output)
    load_tensorflow()
    return convert_weights_file(source, name, output)


def _verify(weights: SourceWeights, golden: Path) -> Parity:
    from luminoth.checkpoints.convert.golden import read_golden

    numbers = read_golden(golden)
    load_tensorflow()
    from luminoth.checkpoints.convert.parity import check_parity

    parity = check_parity(weights, numbers)
    if parity.is_own:
        say(f"Compared with {golden}: the numbers of {weights.path} itself")
    else:
        say(
            f"Compared with {golden}: it belongs to weights of its own, other than those in {weights.path}; these went "
            "through the same conversion into the same model"
        )
    return parity


def _parity_table(parity: Parity) -> str:
    rows = [
        [stage.stage, f"{stage.difference:.1e}", f"{stage.most:.0e}", stage.unit, "ok" if stage.passed else "DIFFERS"]
        for stage in parity.stages
    ]
    return table(["stage", "largest difference", "allowed", "", "verdict"], rows)


def _row(stage: Comparison) -> dict[str, Any]:
    difference = stage.difference if stage.difference != float("inf") else None
    return {
        "stage": stage.stage, "difference": difference, "allowed": stage.most, "unit": stage.unit, "ok": stage.passed
    }  # fmt: skip


def _finish(folder: Path, called: str | None, stages: Any, as_json: bool) -> None:
    say(f"Use it: lumi predict IMAGE --checkpoint {called or folder}")
    if as_json:
        write_json({"folder": str(folder), "parity": [_row(stage) for stage in stages or []]})
    else:
        click.echo(folder)
