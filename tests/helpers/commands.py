"""The commands as users call them, in processes of their own, or in this one, which has TensorFlow."""

import contextlib
import importlib
import os
import re
import subprocess
import sys
import tempfile
from unittest import mock

from tests.helpers.shared import ROOT

#: What runs a `cli` module: {path of the command: that module}.
COMMANDS = {
    str(path.relative_to(ROOT)): found[1]
    for path in sorted(ROOT.glob("[a-z]*/*.py"))
    if (found := re.search(r"^    from ([\w.]+cli) import command$", path.read_text(), re.MULTILINE))
}


def call(folder, command, *arguments):
    """Runs a command in a process of its own, with `folder` as the working directory."""
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.run(
        [sys.executable, str(ROOT / command), *map(str, arguments)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def call_here(folder, command, *arguments):
    """The same in this process; what it and those it starts write is read from the file descriptors."""
    arguments = list(map(str, arguments))
    streams = _written(1, "stdout"), _written(2, "stderr")
    with streams[0] as out, streams[1] as err, contextlib.chdir(folder), mock.patch.dict(os.environ):
        code = importlib.import_module(COMMANDS[command]).command(arguments)
    return subprocess.CompletedProcess([command, *arguments], code, *map("".join, (out, err)))


@contextlib.contextmanager
def _written(descriptor, name):
    """Yields a list that has what the body wrote to a stream of `sys` once it has ended."""
    text, before = [], getattr(sys, name)
    before.flush()
    kept = os.dup(descriptor)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), descriptor)
        try:
            with open(descriptor, "w", encoding="utf-8", buffering=1, closefd=False) as stream:
                setattr(sys, name, stream)
                yield text
        finally:
            setattr(sys, name, before)
            os.dup2(kept, descriptor)
            os.close(kept)
            file.seek(0)
            text.append(file.read().decode("utf-8", "backslashreplace"))


def succeeds(*arguments, call=call):
    """Runs a command, asserts exit code 0 and returns its `subprocess.CompletedProcess`."""
    result = call(*arguments)
    assert result.returncode == 0, result.stdout + result.stderr
    return result


def fails(exit_code, pattern, *arguments, call=call):
    """Asserts the exit code, one clear message and no stack trace."""
    result = call(*arguments)
    assert result.returncode == exit_code, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    message = result.stderr.strip().splitlines()[-1] if exit_code == 1 else result.stderr
    assert re.search(pattern, message), result.stderr
