"""What can be added in one file stays known to that file and to one list only."""

import ast
import subprocess
import sys

import pytest

from evaluate.metrics import METRICS
from records.datasets import DATASETS
from tests.helpers.shared import ROOT

PACKAGES = ("hrpose", "records", "pipelines", "model", "nms", "evaluate", "train")

#: Whose subject a name is: of a dataset, its skeleton or its metric, which are called alike.
OWN_FILES = {
    *(f"records/datasets/{name}.py" for name in DATASETS),
    *(f"pipelines/annotations/{name}.py" for name in DATASETS),
    *(f"evaluate/metrics/{name}.py" for name in DATASETS),
    "records/skeletons.py",
}

#: The lists that name everybody, and what is said of skeletons and published results by name.
LISTS = {
    "pipelines/annotations/__init__.py",
    "records/coco_category.py",
    "evaluate/report/published.py",
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


@pytest.mark.parametrize("package", PACKAGES)
def test_no_generic_code_names_a_dataset(package):
    modules = {path.relative_to(ROOT).as_posix(): path for path in (ROOT / package).rglob("*.py")}
    named = {
        name: found
        for name, path in modules.items()
        if name not in OWN_FILES | LISTS and (found := names_in(path.read_text(), DATASETS.keys()))
    }
    assert not named


@pytest.mark.parametrize("package", PACKAGES)
def test_no_generic_code_names_a_metric(package):
    """But for its own file, the table of what was published, and the API, whose functions are called so."""
    own = {*(f"evaluate/metrics/{name}.py" for name in METRICS)}
    own |= {"evaluate/report/published.py", "hrpose/__init__.py"}
    names = METRICS.keys() - DATASETS.keys()  # those who share a name are above
    found = [
        (module, *where)
        for path in (ROOT / package).rglob("*.py")
        if (module := path.relative_to(ROOT).as_posix()) not in own
        for where in names_in(path.read_text(), names)
        if not module.startswith("records/datasets/")  # a dataset names what it is measured by
    ]
    assert found == []


def test_the_metrics_and_their_options_load_no_tensorflow():
    ask = "import sys, evaluate.metrics, evaluate.options; print({'tensorflow', 'keras'} & {*sys.modules})"
    run = subprocess.run(
        [sys.executable, "-c", ask], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert run.stdout == "set()\n"
