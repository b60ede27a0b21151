"""Generic code asks no codec's and no network's name: whoever adds one adds it in one place."""

import ast
import subprocess
import sys

import pytest

from model.codecs import CODECS
from model.networks import NETWORKS
from tests.helpers.shared import ROOT

PACKAGES = ("hrpose", "records", "pipelines", "model", "nms", "evaluate", "train")
SOURCES = sorted(path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

#: Where a name belongs: its own file, the list that finds it, and tables of what was published with it.
OF_CODECS = ("model/codecs/", "model/run_config.py", "evaluate/report/published.py")
OF_NETWORKS = ("model/networks.py", "evaluate/report/published.py")


def names_in(tree, names):
    """[(line, name)] of string constants that are one of the names, wherever they stand."""
    return [
        (node.lineno, node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in names
    ]


def test_the_search_sees_a_name_wherever_it_stands():
    source = 'if codec == "udp":\n    pass\nx = {"w32": 1}\ny = "w32 is a network"\n'
    assert names_in(ast.parse(source), {"udp", "w32"}) == [(1, "udp"), (3, "w32")]


@pytest.mark.parametrize(("names", "places"), [(CODECS, OF_CODECS), (NETWORKS, OF_NETWORKS)])
def test_generic_code_names_no_codec_or_network(names, places):
    found = [
        (str(module), *where)
        for module in SOURCES
        if not str(module).startswith(places)
        for where in names_in(ast.parse((ROOT / module).read_text()), names)
    ]
    assert found == []


def test_naming_codecs_and_networks_loads_no_tensorflow():
    ask = "import sys, model.codecs, model.networks; print({'tensorflow', 'keras'} & {*sys.modules})"
    run = subprocess.run(
        [sys.executable, "-c", ask], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert run.stdout == "set()\n"
