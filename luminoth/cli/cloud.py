"""`lumi cloud`: training in a cloud; a module for each command."""

from __future__ import annotations

import click

from luminoth.cli.cloud_eval import eval_
from luminoth.cli.cloud_jobs import cancel, delete, describe, jobs
from luminoth.cli.cloud_logs import logs
from luminoth.cli.cloud_train import train


class _Clouds(click.Group):
    def resolve_command(self, context: click.Context, arguments: list[str]) -> tuple:
        if arguments[0] == "gc":
            raise click.UsageError(
                "`lumi cloud gc` is now `lumi cloud gcp`, whose jobs run on Vertex AI (Google has ended AI Platform "
                "Training); `lumi cloud gcp --help` lists the commands"
            )
        return super().resolve_command(context, arguments)


class _WithAliases(click.Group):
    """`evaluate` is `eval`; it is not listed twice."""

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        return super().get_command(context, {"evaluate": "eval"}.get(name, name))


@click.group(cls=_Clouds)
def cloud() -> None:
    """Train and evaluate in a cloud.

    \b
    Examples:
      lumi cloud gcp train -c config.yml --dataset gs://my-bucket/tf --dry-run
      lumi cloud gcp jobs
    """


@cloud.group(cls=_WithAliases)
def gcp() -> None:
    """Train and evaluate in Google Cloud, as jobs of Vertex AI.

    Needs Google's libraries, `pip install ".[gcp]"` in the source tree, and credentials, as `gcloud auth
    application-default login` makes them.

    \b
    Examples:
      lumi cloud gcp train -c config.yml --dataset gs://my-bucket/tf --dry-run
      lumi cloud gcp jobs --running
      lumi cloud gcp logs --job-id train_20261031_174500
      lumi cloud gcp eval --train-folder gs://my-bucket/lumi_train_20261031_174500 --dry-run
      lumi cloud gcp cancel --job-id train_20261031_174500
    """


for command in (train, eval_, jobs, logs, describe, cancel, delete):
    gcp.add_command(command)
