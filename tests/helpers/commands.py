"""The commands in processes of their own, as users call them."""

import os
import re
import subprocess
import sys

from tests.helpers.shared import ROOT


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


def succeeds(*arguments):
    """Runs a command, asserts exit code 0 and returns its `subprocess.CompletedProcess`."""
    result = call(*arguments)
    assert result.returncode == 0, result.stdout + result.stderr
    return result


def fails(exit_code, pattern, *arguments):
    """Asserts the exit code, one clear message and no stack trace."""
    result = call(*arguments)
    assert result.returncode == exit_code, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    message = result.stderr.strip().splitlines()[-1] if exit_code == 1 else result.stderr
    assert re.search(pattern, message), result.stderr
