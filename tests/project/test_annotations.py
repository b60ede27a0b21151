"""Public functions and methods say the types of what they take and give; mypy then holds what they say.

(A dataclass cannot have a field without an annotation. Of `records`, `model` and `nms`, mypy asks for all of
them, see pyproject.toml.)
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PACKAGES = sorted({path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"})


def _public_functions(body, prefix=""):
    """(dotted name, node) of functions, and of methods of classes, that others may call."""
    for node in body:
        name = f"{prefix}{getattr(node, 'name', '')}"
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from _public_functions(node.body, f"{name}.")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            magic = node.name.startswith("__") and node.name.endswith("__")
            if magic or not node.name.startswith("_"):
                yield name, node


def _missing(function, is_method):
    """Names of the parameters without an annotation, and "return"."""
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args]
    if is_method and not any(getattr(d, "id", "") == "staticmethod" for d in function.decorator_list):
        named = named[1:]
    rest = [argument for argument in (arguments.vararg, arguments.kwarg) if argument]
    missing = [a.arg for a in (*named, *arguments.kwonlyargs, *rest) if a.annotation is None]
    return missing + ["return"] * (function.returns is None)


def unannotated(source):
    """{dotted name: what lacks an annotation} of a module's public functions and methods."""
    found = {name: _missing(node, "." in name) for name, node in _public_functions(ast.parse(source).body)}
    return {name: missing for name, missing in found.items() if missing}


@pytest.mark.parametrize("package", PACKAGES)
def test_public_functions_are_annotated(package):
    lacking = [
        f"{path.relative_to(ROOT)}: {name}: {', '.join(missing)}"
        for path in sorted((ROOT / package).rglob("*.py"))
        for name, missing in unannotated(path.read_text()).items()
    ]
    assert not lacking, "\n".join(lacking)


def test_what_lacks_an_annotation_is_found():
    source = """
def good(a: int, *rest: int, key: str = "") -> None: ...
def bad(a, b: int, *rest, key, **more): ...
def _private(a): ...
class Thing:
    def __init__(self, a): ...
    def good(self) -> int: ...
    @staticmethod
    def shared(a) -> int: ...
    @property
    def size(self): ...
class _Own:
    def bad(self, a): ...
"""
    assert unannotated(source) == {
        "bad": ["a", "key", "rest", "more", "return"],
        "Thing.__init__": ["a", "return"],
        "Thing.shared": ["a"],
        "Thing.size": ["return"],
    }
