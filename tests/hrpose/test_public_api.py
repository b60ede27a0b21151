"""`import hrpose`: what it offers, what it loads, and what it says where its packages cannot be had."""

import importlib
import json
import os
import re
import subprocess
import sys

import pytest

import hrpose
from tests.helpers.shared import ROOT


def ask(code, folder, *path):
    """What Python prints for some code in a folder, with some folders on its path."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path))}
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


LOADED = """
import json, sys
before = {*sys.modules}
import hrpose
print(json.dumps([*{*sys.modules} - before]))
"""


def test_importing_it_loads_nothing_but_python_s_own(tmp_path):
    loaded = {name.partition(".")[0] for name in json.loads(ask(LOADED, tmp_path, ROOT))}
    assert loaded - sys.stdlib_module_names == {"hrpose"}


@pytest.mark.parametrize("name", hrpose._API)
def test_a_public_name_is_what_its_module_has(name):
    module, _, attribute = hrpose._API[name].partition(":")
    assert getattr(hrpose, name) is getattr(importlib.import_module(module), attribute)
    assert name in dir(hrpose)


def test_it_works_from_other_folders_than_the_checkout_s(tmp_path):
    code = "import hrpose; print(hrpose.box_to_center_scale([10, 20, 30, 40], (192, 256))[0].tolist())"
    assert json.loads(ask(code, tmp_path, ROOT)) == pytest.approx([25, 40])
    # As an editable installation has it: the package is found, the folder around it is on no path.
    finder = f"import sys; sys.path.append({str(ROOT)!r}); import hrpose; sys.path.pop(); "
    assert json.loads(ask(finder + code, tmp_path)) == pytest.approx([25, 40])


def test_other_names_do_not_exist():
    with pytest.raises(AttributeError, match="module 'hrpose' has no attribute 'keypoints'"):
        _ = hrpose.keypoints
    assert not hasattr(hrpose, "keypoints")


CATCH = """
import hrpose
try:
    hrpose.evaluate_coco
except ImportError as error:
    print(error)
"""


def test_another_package_in_the_way_is_named_and_not_used(tmp_path):
    """Also one that has a module of the same name."""
    (tmp_path / "evaluate/metrics").mkdir(parents=True)
    (tmp_path / "evaluate/__init__.py").touch()
    (tmp_path / "evaluate/metrics/coco.py").write_text("def evaluate_coco(): pass\n")
    said = ask(CATCH, tmp_path, tmp_path, ROOT)
    assert said.startswith("hrpose.evaluate_coco is from HRPose's own package 'evaluate', and ")
    assert f"{tmp_path}/evaluate/__init__.py is in its way; use the API from a checkout" in said
    assert "\n" not in said


def test_the_worker_s_module_puts_our_packages_before_all_others(tmp_path):
    (tmp_path / "evaluate").mkdir()
    (tmp_path / "evaluate/__init__.py").touch()
    code = "import hrpose.worker, evaluate, hrpose; print(evaluate.__file__, hrpose.evaluate_coco.__module__)"
    assert ask(code, tmp_path, tmp_path, ROOT).split() == [
        f"{ROOT}/evaluate/__init__.py",
        "evaluate.metrics.coco",
    ]


def test_the_version_stands_in_one_place_and_has_its_section_in_the_changelog():
    version = hrpose.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    assert f'"{version}"' not in (ROOT / "pyproject.toml").read_text()
    sections = re.findall(
        r"^## (\S+) – (\d{4}-\d\d-\d\d)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    assert sections[0][0] == version
    assert [date for _, date in sections] == sorted((date for _, date in sections), reverse=True)
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {version}\ndate-released: {sections[0][1]}\n" in citation
