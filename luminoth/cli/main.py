"""Entry point of `lumi`: finds the command's module only when it is asked for, and turns errors into one line."""

from __future__ import annotations

import importlib
import logging
import os
import signal
import sys
import threading
from typing import Any

import click

from luminoth import __version__
from luminoth.cli.terminal import say
from luminoth.errors import LuminothError

# name -> (module, one line for `lumi --help`); a module defines a click command of the same name.
_COMMANDS = {
    "dataset": ("luminoth.cli.dataset", "Make, convert, check and show data sets."),
    "train": ("luminoth.cli.train", "Train a detector from a configuration file."),
    "eval": ("luminoth.cli.eval", "Measure checkpoints on a split of the data set."),
    "predict": ("luminoth.cli.predict", "Find objects in images, folders and videos."),
    "server": ("luminoth.cli.server", "Serve detectors to browsers and programs."),
    "checkpoint": ("luminoth.cli.checkpoint", "List, make, share and convert checkpoints."),
    "config": ("luminoth.cli.config", "Show and check configuration files."),
    "cloud": ("luminoth.cli.cloud", "Train and evaluate in Google Cloud."),
}


class _LazyGroup(click.Group):
    def list_commands(self, context: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        return getattr(importlib.import_module(_COMMANDS[name][0]), name)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in _COMMANDS.items()])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="lumi")
@click.option("--debug", is_flag=True, help="Show tracebacks and TensorFlow's own messages.")
def lumi(debug: bool) -> None:
    """Object detection: from pictures to a trained detector and its predictions.

    \b
    Examples:
      lumi predict street.mp4 -k car --checkpoint toytown -d predictions/
      lumi dataset transform --type pascal --data-dir VOC2012 --output-dir tf/
      lumi train --config configs/pascal-fasterrcnn.yml
      lumi eval --config configs/pascal-fasterrcnn.yml --split val
    """
    logging.basicConfig(level=logging.DEBUG if debug else logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    if not debug:
        silence_tensorflow()


def silence_tensorflow() -> None:
    """Keeps TensorFlow's log lines off the terminal. Must run before TensorFlow is imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("ABSL_MIN_LOG_LEVEL", "3")
    for name in ("tensorflow", "absl", "h5py", "PIL"):
        logging.getLogger(name).setLevel(logging.ERROR)


def main(arguments: list[str] | None = None) -> None:
    """Runs `lumi` and exits: 0 done, 1 failed (one line on standard error), 2 wrong usage."""
    arguments = sys.argv[1:] if arguments is None else arguments
    _end_like_ctrl_c_on_sigterm()
    debug = "--debug" in arguments
    if debug:  # accepted anywhere on the line, since it is wanted after the fact
        arguments = ["--debug", *(argument for argument in arguments if argument != "--debug")]
    try:
        status: Any = lumi.main(arguments, prog_name="lumi", standalone_mode=False)
    except click.exceptions.Abort:
        _fail("interrupted", status=130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _fail("interrupted", status=130)
    except BrokenPipeError:  # the reader of our standard output went away, as in `lumi ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except LuminothError as error:
        if debug:
            raise
        _fail(str(error))
    except OSError as error:
        if debug:
            raise
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}{error.strerror or error}")
    except Exception as error:
        if debug:
            raise
        first_line = (str(error).strip().splitlines() or [""])[0]
        _fail(f"unexpected {type(error).__name__}: {first_line} (run again with --debug for the traceback)")
    sys.exit(status if isinstance(status, int) else 0)


def _end_like_ctrl_c_on_sigterm() -> None:
    """So that what is half-written is removed, or what is done saved, when a system stops a command, too."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def _fail(message: str, status: int = 1) -> None:
    say(f"Error: {message}")
    sys.exit(status)
