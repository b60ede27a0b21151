"""Draws a run's skeletons on images: see ``--help``."""

import sys
from pathlib import Path

if __name__ == "__main__":
    # Not this file's own folder but the repository's root is where packages are looked for.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from evaluate.prediction.cli import command

    sys.exit(command())
