"""Writes a trained network for other runtimes: see ``--help``. `model.exporters` is the library."""

import sys
from pathlib import Path


class ExportError(Exception):
    """An export that cannot be made as asked. The message says what was asked and what to do."""


if __name__ == "__main__":
    # Not this file's own folder but the repository's root is where packages are looked for.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from model.export_cli import command

    sys.exit(command())
