"""Which epoch of a run validated best: a note beside its checkpoints, which names the former bests too."""

import json
from pathlib import Path
from typing import Any

from hrpose.json_checks import is_finite, is_whole
from model.run_folder import RunError, saved_epochs, write_json

BEST = "best.json"


def write_best(folder: Path | str, epoch: int, name: str, value: float) -> None:
    """Notes which epoch validated best, and how. Those that were the best before it stay noted as well.

    Raises:
        RunError: if it cannot be saved.
    """
    before = [note for note in _best_notes(folder) if note["epoch"] < epoch]
    _write_best_notes(folder, [{"epoch": epoch, "metric": name, "value": value}, *before])


def read_best(folder: Path | str) -> tuple[int, float] | tuple[None, None]:
    """(epoch, value) of the epoch that validated best; (None, None) if that is not known.

    Raises:
        RunError: if the note is there but cannot be read.
    """
    notes = _best_notes(folder)
    return (notes[0]["epoch"], float(notes[0]["value"])) if notes else (None, None)


def withdraw_best(folder: Path | str, epoch: int) -> None:
    """Makes the best of the epochs until this one that is still there the best: those after it are lost.

    Raises:
        RunError: if the note cannot be read or saved.
    """
    notes, there = _best_notes(folder), saved_epochs(folder)
    kept = [note for note in notes if note["epoch"] <= epoch and note["epoch"] in there]
    if kept and kept != notes:
        _write_best_notes(folder, kept)
    elif not kept:
        forget_best(folder)


def _best_notes(folder: Path | str) -> list[dict[str, Any]]:
    """The notes of `write_best`, the latest and best first; none if they are damaged."""
    path = Path(folder) / BEST
    try:
        data = json.loads(path.read_bytes())
        notes = [data, *data.get("earlier", [])]
        notes = [{name: note[name] for name in ("epoch", "metric", "value")} for note in notes]
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []
    except OSError as error:
        raise RunError(
            f"{path}, which notes the epoch that validated best, cannot be read: {error.strerror or error}; "
            "try again once it can be read, or move it away"
        ) from error
    return notes if all(is_whole(note["epoch"]) and is_finite(note["value"]) for note in notes) else []


def _write_best_notes(folder: Path | str, notes: list[dict[str, Any]]) -> None:
    write_json(Path(folder) / BEST, notes[0] | {"earlier": notes[1:]})


def forget_best(folder: Path | str) -> None:
    """Removes the note of `write_best`."""
    (Path(folder) / BEST).unlink(missing_ok=True)
