"""What can be added in one file stays known to that file and to one list only."""

import ast
import subprocess
import sys

import pytest

from model.codecs import CODECS
from model.networks import NETWORKS
from records.datasets import DATASETS
from tests.helpers.shared import ROOT

PACKAGES = ("hrpose", "records", "pipelines", "model", "nms")

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


#: Where codecs and networks have their names: their own files and the lists that find them, and what was
#: published with them.
OF_CODECS = ("model/codecs/", "model/run_config.py", "evaluate/report/published.py")
OF_NETWORKS = ("model/networks.py", "evaluate/report/published.py")


@pytest.mark.parametrize(("names", "places"), [(CODECS, OF_CODECS), (NETWORKS, OF_NETWORKS)])
def test_no_generic_code_names_a_codec_or_network(names, places):
    packages = (*PACKAGES, "evaluate", "train")
    modules = {
        path.relative_to(ROOT).as_posix(): path
        for package in packages
        for path in (ROOT / package).rglob("*.py")
    }
    named = {
        name: found
        for name, path in modules.items()
        if not name.startswith(places) and (found := names_in(path.read_text(), names.keys()))
    }
    assert not named


def test_naming_codecs_and_networks_loads_no_tensorflow():
    ask = "import sys, model.codecs, model.networks; print({'tensorflow', 'keras'} & {*sys.modules})"
    run = subprocess.run(
        [sys.executable, "-c", ask], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert run.stdout == "set()\n"
