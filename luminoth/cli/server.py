"""`lumi server`: detectors for browsers and programs."""

from __future__ import annotations

import click

from luminoth.cli.server_web import web


@click.group()
def server() -> None:
    """Serve detectors to browsers and programs.

    \b
    Examples:
      lumi server web --checkpoint toytown
      lumi server web -c my-run.yml --which best --port 8080
    """


server.add_command(web)
