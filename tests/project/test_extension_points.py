"""What can be added in one file stays known to that file and to one list only."""

import ast
import subprocess
import sys

import pytest

from evaluate.metrics import METRICS
from model.codecs import CODECS
from model.networks import NETWORKS
from records.datasets import DATASETS
from tests.helpers.shared import ROOT

PACKAGES = ("hrpose", "records", "pipelines", "model", "nms", "evaluate", "train")

#: {kind: (names, where they belong)}: own files, the list that finds them, skeletons called alike, what is
#: published.
KINDS = {
    "dataset": (
        DATASETS,
        (
            *(f"records/datasets/{name}.py" for name in DATASETS),
            *(f"pipelines/annotations/{name}.py" for name in DATASETS),
            *(f"evaluate/metrics/{name}.py" for name in DATASETS),
            "records/skeletons.py",
            "records/coco_category.py",
            "pipelines/annotations/__init__.py",
            "evaluate/metrics/__init__.py",
            "evaluate/report/published.py",
        ),
    ),
    "metric": (
        METRICS,
        (
            "evaluate/metrics/",
            "evaluate/report/published.py",
            "records/datasets/",
            "records/skeletons.py",
            "records/coco_category.py",
            "pipelines/annotations/",
            "hrpose/__init__.py",
        ),
    ),
    "codec": (CODECS, ("model/codecs/", "model/run_config.py", "evaluate/report/published.py")),
    "network": (NETWORKS, ("model/networks.py", "evaluate/report/published.py")),
}


def names_in(source, names):
    """[(line, text)] of the texts of a module's code that are one of some names."""
    return [
        (node.lineno, node.value)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in names
    ]


def test_the_search_sees_a_name_wherever_it_stands_alone():
    source = (
        '"""mpii"""\nif x == "mpii" or {"coco": 1}[y]:\n    f(d="synthetic")\nz = "mpii is fine in a text"'
    )
    assert names_in(source, {"mpii", "coco", "synthetic"}) == [
        (1, "mpii"),
        (2, "mpii"),
        (2, "coco"),
        (3, "synthetic"),
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_no_generic_code_names_one(kind):
    names, places = KINDS[kind]
    modules = {
        path.relative_to(ROOT).as_posix(): path for room in PACKAGES for path in (ROOT / room).rglob("*.py")
    }
    named = {
        name: found
        for name, path in modules.items()
        if not name.startswith(places) and (found := names_in(path.read_text(), names.keys()))
    }
    assert not named


def test_naming_them_loads_no_tensorflow():
    modules = "model.codecs, model.networks, records.datasets, evaluate.metrics"
    ask = f"import sys, {modules}; print({{'tensorflow', 'keras', 'apache_beam'}} & {{*sys.modules}})"
    run = subprocess.run(
        [sys.executable, "-c", ask], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert run.stdout == "set()\n"
