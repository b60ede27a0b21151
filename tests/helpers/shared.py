"""Where the tests find the real material that is not part of the repository."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def shared_data(*parts: str) -> Path:
    """The path ``shared/<parts>`` of the folder beside the repository; skips the calling test without it.

    The environment variable HRPOSE_SHARED names another folder.
    """
    folder = Path(os.environ.get("HRPOSE_SHARED") or ROOT.parent / "shared")
    path = folder.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"needs {path}, which is not here (HRPOSE_SHARED can name the folder of shared material)")
    return path
