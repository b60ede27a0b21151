"""Who may import whom, and what no module of ours does."""

import ast
import json
import re
import subprocess
import sys

import pytest

from tests.helpers.commands import ASK
from tests.helpers.shared import ROOT

#: The rooms of the house and whom each may import besides itself.
MAY_IMPORT = {
    "hrpose": set(),
    "records": {"hrpose"},
    "pipelines": {"hrpose", "records"},
    "model": {"hrpose", "records"},
    "nms": set(),
    "evaluate": {"hrpose", "records", "model", "nms"},
    "train": {"hrpose", "records", "model", "evaluate"},
    "tests": {"hrpose", "records", "pipelines", "model", "nms", "evaluate", "train", "benchmarks"},
    "benchmarks": {"hrpose", "records", "pipelines", "model", "nms", "evaluate", "train"},
}
PACKAGES = ("hrpose", "records", "pipelines", "model", "nms", "evaluate", "train")
MODULES = sorted(path.relative_to(ROOT) for room in MAY_IMPORT for path in (ROOT / room).rglob("*.py"))
SOURCES = [module for module in MODULES if module.parts[0] in PACKAGES]
COMMANDS = [".".join(module.with_suffix("").parts) for module in SOURCES if module.name == "cli.py"]

each_module = pytest.mark.parametrize("module", MODULES, ids=str)
each_source = pytest.mark.parametrize("module", SOURCES, ids=str)


def parse(module):
    return ast.parse((ROOT / module).read_text(), str(module))


def imported(tree, package):
    """Full names of everything a module imports, also inside functions; relative names are resolved."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield f"{package}.{node.module or ''}" if node.level else node.module


def test_the_search_sees_imports_wherever_they_stand():
    source = "import a.b, c\nfrom d import e\ndef f():\n    from g.h import i\n    from . import j\n"
    assert list(imported(ast.parse(source), "here")) == ["a.b", "c", "d", "g.h", "here."]


def test_all_rooms_are_there():
    assert {module.parts[0] for module in SOURCES} == set(PACKAGES)
    assert {"evaluate.prediction.cli", "pipelines.cli", "records.checking.cli", "train.cli"} <= set(COMMANDS)


@each_module
def test_a_module_imports_only_whom_it_may(module):
    room = module.parts[0]
    rooms = {name.split(".")[0] for name in imported(parse(module), room)} & MAY_IMPORT.keys()
    assert rooms - {room} <= MAY_IMPORT[room]


@pytest.mark.parametrize("module", [path for path in SOURCES if path.parts[0] == "model"], ids=str)
def test_the_model_knows_of_records_only_what_a_skeleton_is(module):
    of_records = {name for name in imported(parse(module), "model") if name.split(".")[0] == "records"}
    assert of_records <= {"records.manifest_checks", "records.skeletons"}


@each_module
def test_no_module_has_the_name_of_one_of_the_standard_library(module):
    """A command's first imports still look into its own folder; `codecs` Python has loaded before them."""
    assert not {*module.parts[:-1], module.stem} & (sys.stdlib_module_names - {"codecs"})
    assert module.name != "utils.py"


@each_source
def test_no_module_evaluates_text_unpickles_or_calls_a_shell(module):
    tree = parse(module)
    roots = {name.split(".")[0] for name in imported(tree, module.parts[0])}
    assert roots.isdisjoint({"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"})
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            assert node.id not in {"eval", "exec"}, node.lineno
        elif isinstance(node, ast.Call):
            assert ast.unparse(node.func) not in {"os.system", "os.popen"}, node.lineno
            for argument in node.keywords:
                allowed = isinstance(argument.value, ast.Constant) and not argument.value.value
                assert argument.arg not in {"shell", "allow_pickle"} or allowed, node.lineno


@pytest.mark.parametrize("source", sorted((ROOT / "nms").glob("*.pyx")), ids=lambda path: path.name)
def test_no_native_source_evaluates_text_or_imports_our_packages(source):
    text = source.read_text()
    assert not re.search(r"\b(eval|exec)\s*\(|\bpickle\b", text)
    assert not re.search(
        rf"^\s*(c?import|from)\s+({'|'.join(MAY_IMPORT.keys() - {'nms'})})\b", text, re.MULTILINE
    )


@each_source
def test_libraries_do_not_read_the_flags_of_the_process(module):
    """The flags' values are passed down; absl's global FLAGS are nobody's."""
    names = {node.id for node in ast.walk(parse(module)) if isinstance(node, ast.Name)}
    attributes = {node.attr for node in ast.walk(parse(module)) if isinstance(node, ast.Attribute)}
    assert "FLAGS" not in names | attributes


@pytest.mark.parametrize("module", COMMANDS)
def test_importing_a_command_is_light_and_defines_no_flags(module):
    run = subprocess.run(
        [sys.executable, "-c", ASK, module], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    answer = json.loads(run.stdout)
    assert answer["heavy"] == []
    assert not {module.split(".")[0] for module in answer["flags"]} & {*MAY_IMPORT, "__main__"}
