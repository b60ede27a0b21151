"""Who may import whom, and what no module of ours does."""

import ast
import graphlib
import json
import re
import subprocess
import sys

import pytest

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


#: {name: file} of each of our modules, a package by its own name. The public API is loaded lazily, by text.
NAMES = {
    ".".join(module.with_suffix("").parts).removesuffix(".__init__"): module
    for module in SOURCES
    if module.parts != ("hrpose", "__init__.py")
}


def own_imports(module):
    """Names of those of our modules that a module imports, also inside functions."""
    for node in ast.walk(parse(module)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name in NAMES)
        elif isinstance(node, ast.ImportFrom):
            for name in node.names:  # a module of a package, or something in a module
                whole = f"{node.module}.{name.name}"
                yield from [whole] if whole in NAMES else [node.module] if node.module in NAMES else []


GRAPH = {name: {*own_imports(module)} - {name} for name, module in NAMES.items()}


def circle(graph):
    """The nodes of a circle in a graph {node: nodes it points to}; [] if there is none."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


def test_the_search_finds_circles_and_imports_of_modules_and_from_modules():
    assert set(circle({"a": {"b"}, "b": {"c"}, "c": {"a"}})) == {"a", "b", "c"}
    assert {"hrpose.logs", "hrpose.proxies"} <= GRAPH["hrpose.command"]


def test_no_modules_import_one_another_in_a_circle():
    assert circle(GRAPH) == []


def test_no_shelves_import_one_another_in_a_circle():
    """A shelf is a folder inside of a package: who reads one need not read the other with it."""
    shelves = {name: ".".join(module.parts[:-1]) for name, module in NAMES.items()}
    graph = {}
    for name, others in GRAPH.items():
        graph.setdefault(shelves[name], set()).update(shelves[other] for other in others)
    inner = {shelf: {other for other in others if "." in other} for shelf, others in graph.items()}
    assert circle({shelf: others - {shelf} for shelf, others in inner.items() if "." in shelf}) == []


@pytest.mark.parametrize("module", [path for path in SOURCES if path.parts[0] == "model"], ids=str)
def test_the_model_knows_of_records_only_what_a_skeleton_is(module):
    of_records = {name for name in imported(parse(module), "model") if name.split(".")[0] == "records"}
    assert of_records <= {"records.skeletons"}


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


@pytest.mark.parametrize("module", [path for path in MODULES if path.parts[0] == "tests"], ids=str)
def test_no_test_imports_another(module):
    """What tests share is in tests/helpers."""
    names = [name for name in imported(parse(module), "tests") if name.startswith("tests.")]
    assert [name for name in names if not name.startswith("tests.helpers")] == []


#: What takes seconds to import, or more memory than help needs.
HEAVY = ("tensorflow", "keras", "torch", "apache_beam", "onnx")

ASK = f"""
import json, sys
{{}}
from absl import flags
print(json.dumps({{{{
    "heavy": [name for name in {HEAVY!r} if name in sys.modules],
    "ours": sorted(name for name in {PACKAGES!r} if name in sys.modules),
    "flags": sorted(module for module in flags.FLAGS.flags_by_module_dict()),
}}}}), file=sys.stderr)
"""

HELP = """
import runpy
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    assert end.code == 0, end.code
"""


def after(code, *arguments):
    """What a process has loaded after some code: {"heavy": …, "ours": …, "flags": …}."""
    command = [sys.executable, "-c", ASK.format(code), *arguments]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stderr.splitlines()[-1])


@pytest.mark.parametrize("module", COMMANDS)
def test_importing_a_command_is_light_and_defines_no_flags(module):
    answer = after(f"import {module}")
    assert answer["heavy"] == []
    assert not {module.split(".")[0] for module in answer["flags"]} & {*MAY_IMPORT, "__main__"}


COMMAND_FILES = (
    "pipelines/build_records.py",
    "train/main.py",
    "evaluate/main.py",
    "evaluate/predict.py",
    "model/weights.py",
    "model/export.py",
    "records/check.py",
)


def test_command_files_differ_in_what_they_run_and_nothing_else():
    def rest(command):
        tree = parse(command)
        (imported_command,) = [
            node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and "cli" in node.module
        ]
        imported_command.module = ""
        return ast.dump(ast.Module(tree.body[1:], []))  # without the docstring

    assert len({rest(command) for command in COMMAND_FILES}) == 1


@pytest.mark.parametrize("command", [*COMMAND_FILES, "model/weights.py import"])
def test_help_is_light(command):
    assert after(HELP, *command.split(), "--help")["heavy"] == []


def test_importing_the_public_api_imports_nothing_yet():
    answer = after("import hrpose")
    assert answer["heavy"] == []
    assert answer["ours"] == ["hrpose"]
