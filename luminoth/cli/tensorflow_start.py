"""Importing TensorFlow without what it says while it starts."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile

import click


def load_tensorflow() -> None:
    """Imports TensorFlow with its start-up lines kept off the terminal; with `lumi --debug` they are shown.

    TensorFlow writes them from C++ before it reads any setting, straight to file descriptor 2. Should the import
    fail, what was written is shown after all.
    """
    if "tensorflow" in sys.modules or click.get_current_context().find_root().params.get("debug"):
        return
    sys.stderr.flush()
    with tempfile.TemporaryFile() as said:
        terminal = os.dup(2)
        os.dup2(said.fileno(), 2)
        try:
            importlib.import_module("tensorflow")
        except Exception:
            said.seek(0)
            os.write(terminal, said.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
