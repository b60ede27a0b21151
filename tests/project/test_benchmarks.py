"""Every benchmark runs, and ends with its figures in lines that a host can read."""

import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from benchmarks.reader import INPUT_SIZE, finish
from tests.helpers.shared import ROOT

NAMES = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py"))

#: What others import or start.
PARTS = {"turns", "peer"}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name not in PARTS | {"overfit"}])
def test_a_benchmark_runs_from_anywhere_and_ends_with_its_numbers(name, tmp_path):
    result = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), "--smoke"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    figures = re.findall(r"^\w+ -?\d[\d.]*$", result.stdout, re.MULTILINE)
    assert figures or name == "network"  # without the official implementation it has no ratios
    assert list(tmp_path.iterdir()) == []


def test_make_bench_runs_all_but_those_that_take_long():
    listed = re.search(r"^BENCHMARKS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    assert sorted(listed) == [name for name in NAMES if name not in PARTS | {"overfit"}]


def test_what_the_readers_benchmark_compiles_gives_what_the_plain_operations_do():
    random = np.random.default_rng(0)
    images = tf.constant(random.integers(0, 256, (4, INPUT_SIZE[1], INPUT_SIZE[0], 3), np.uint8))
    points = random.uniform([-20, -20, 0], [*INPUT_SIZE, 3], (4, 17, 3)).astype(np.float32)
    points[..., 2] = np.floor(points[..., 2])
    for compiled, plain in zip(
        tf.function(finish, jit_compile=True)(images, points), finish(images, points), strict=True
    ):
        np.testing.assert_allclose(compiled.numpy(), plain.numpy(), rtol=0, atol=1e-6)
