"""MATLAB files of version 5, read in a process of their own.

One changed byte can end the process in which SciPy reads such a file, with a segmentation fault. So a child
reads it and sends plain values back as JSON; nothing else of the project runs there, and this module imports
nothing of it.
"""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

#: Seconds and bytes of memory after which the child is ended: meant to be far above what MPII's release takes
#: (which was not measured).
_SECONDS, _MEMORY = 600, 8 << 30

#: The key of what a cell or struct array holds, which no field of a struct can be called.
CELLS = ""


def read_mat(content: bytes, names: Sequence[str]) -> dict[str, Any]:
    """Variables of a MATLAB file as plain values.

    A struct is a dict of its fields; a struct array or cell array `{CELLS: [element, ...]}`, row by row; text
    a str, or several `{CELLS: [str, ...]}`; numbers nested lists of the array's shape, empty if any side is
    0. What is none of these, such as a function, is None.

    Args:
        content: the file's bytes.
        names: of the variables to read.

    Returns:
        {name: value} of those that are there.

    Raises:
        ValueError: if it is no such file, saying why.
    """
    command = [sys.executable, "-P", __file__, *names]
    environment = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    try:
        child = subprocess.run(
            command, input=content, capture_output=True, env=environment, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise ValueError(f"reading it takes longer than {_SECONDS} seconds") from None
    if child.returncode < 0:
        end = signal.Signals(-child.returncode).name
        raise ValueError(f"damaged: the process that read it ended with {end}")
    try:
        found = json.loads(child.stdout)
    except (ValueError, RecursionError):
        said = child.stderr.decode(errors="replace").strip().splitlines()
        raise ValueError(said[-1][:300] if said else f"exit {child.returncode}") from None
    if "error" in found:
        raise ValueError(found["error"])
    return found["variables"]


def _plain(value: Any) -> Any:
    """A value as SciPy returns it in the form of `read_mat`."""
    import numpy as np
    from scipy.io.matlab import mat_struct

    if isinstance(value, mat_struct):
        return {name: _plain(getattr(value, name)) for name in value._fieldnames}
    if not isinstance(value, np.ndarray):
        return None
    if value.dtype.kind == "O":
        return {CELLS: [_plain(element) for element in value.ravel()]}
    if value.dtype.kind in "US":
        return value.item() if value.size == 1 else {CELLS: value.ravel().tolist()}
    return value.tolist() if value.dtype.kind in "biuf" and value.size else [] if not value.size else None


def _read(content: bytes, names: Sequence[str]) -> dict[str, Any]:
    """What the child says: {"variables": {name: value}} or {"error": text}."""
    from scipy.io import loadmat

    try:
        variables = loadmat(io.BytesIO(content), struct_as_record=False, variable_names=names)
        return {"variables": {name: _plain(variables[name]) for name in names if name in variables}}
    except BaseException as error:  # damage makes loadmat raise nearly anything, zlib.error to IndexError
        return {"error": " ".join(f"{type(error).__name__}: {error}".split())[:300]}


def main() -> None:
    """The child: reads a file from its standard input and writes JSON to its standard output."""
    with contextlib.suppress(ImportError, ValueError, OSError):  # no such limits on Windows
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answer = json.dumps(_read(sys.stdin.buffer.read(), sys.argv[1:]))
    sys.stdout.buffer.write(answer.encode())


if __name__ == "__main__":
    main()
