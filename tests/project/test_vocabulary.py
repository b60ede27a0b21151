"""One vocabulary: names in the code are those of the glossary in CONTRIBUTING.md, not their synonyms."""

import ast
import re
from pathlib import Path

import pytest

ROOT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").exists())
PACKAGES = ("hrpose", "records", "pipelines", "model", "nms", "evaluate", "train", "benchmarks", "tests")

#: Word of a name → what the glossary says in its place. A word is a part between underscores or capitals.
INSTEAD = {
    **dict.fromkeys(("picture", "pictures"), "image"),
    **dict.fromkeys(("people", "persons"), "instances; person only where it must be human"),
    **dict.fromkeys(("figure", "figures"), "instance, sprite"),
    **dict.fromkeys(("joint", "joints"), "keypoint"),
    **dict.fromkeys(("truth", "truths"), "ground_truth"),
    **dict.fromkeys(("machine", "machines"), "worker (a process of a run) or host"),
    **dict.fromkeys(("drawn", "draws", "drew"), "synthetic, generated, sampled, rendered"),
    **dict.fromkeys(("shrink", "shrinks", "shrunk", "shrinking"), "downscale"),
    "dropped": "filtered (on purpose) or rejected (bad)",
    **dict.fromkeys(("settle", "settled", "begun"), "existing build, resume"),
    **dict.fromkeys(("outcome", "outcomes"), "shard result"),
    **dict.fromkeys(("journal", "mishap", "mishaps"), "metric log, failures"),
    **dict.fromkeys(("agreement", "feed", "interruption"), "worker consistency, input pipeline, signals"),
    "accumulate": "gradient_accumulation_steps",
    **dict.fromkeys(("centre", "centres", "centred"), "center"),
    **dict.fromkeys(("colour", "colours", "coloured"), "color"),
    **dict.fromkeys(
        ("grey", "labelled", "normalise", "normalised", "neighbour", "neighbours"), "American spelling"
    ),
}

#: Whole names instead of which there is another.
INSTEAD_OF_NAMES = {
    "evaluated": "metric_input",
    "measures": "metrics",
    "left_out": "filtered",
    "leave_out": "skip_steps",
    "choose_poses": "make_metric_input",
    "keep_poses": "rescore_and_nms",
    "WeightAverage": "WeightEMA",
    "Parts": "PredictionCache",
    "Boxes": "EvaluationSplit",
    "Measured": "MetricResult",
    "person_id": "instance_id",
    "person_ids": "instance_ids",
}

#: (file, name): why it may hold such a word. A file "*" is any.
EXCEPTIONS = {
    ("evaluate/report/examples.py", "_figure"): "HTML's element",
    ("evaluate/report/examples.py", "figures"): "HTML's element",
    ("benchmarks/scale.py", "figures"): "numbers of a benchmark",
    ("benchmarks/scale.py", "print_figures"): "numbers of a benchmark",
    ("tests/project/test_benchmarks.py", "figures"): "numbers of a benchmark",
}


def words(name):
    """The words of a name, in lower case; "ground truth" is one."""
    found = [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]
    return [
        word
        for place, word in enumerate(found)
        if not (word.startswith("truth") and found[place - 1] == "ground")
    ]


def names_in(tree):
    """(line, name) of what a module defines: functions, classes, arguments, variables, attributes, flags."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr
        elif isinstance(node, ast.alias) and node.asname:
            yield node.lineno, node.asname
        elif (
            isinstance(node, ast.Call)
            and getattr(node.func, "attr", "").startswith("DEFINE_")
            and isinstance(node.args[0], ast.Constant)
        ):
            yield node.lineno, node.args[0].value


def problems(path, name):
    """What the glossary says instead of a name of a file, if it does."""
    if any((file, name) in EXCEPTIONS for file in (path, "*")):
        return []
    said = [f"{name}: {INSTEAD_OF_NAMES[name]}"] if name in INSTEAD_OF_NAMES else []
    return said + [f"{name}: {INSTEAD[word]} instead of {word}" for word in words(name) if word in INSTEAD]


MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_names_are_those_of_the_glossary(path):
    where = path.relative_to(ROOT).as_posix()
    found = problems(where, path.stem)
    for line, name in names_in(ast.parse(path.read_text())):
        found += [f"line {line}: {problem}" for problem in problems(where, name)]
    assert not found


def test_every_exception_is_needed():
    names = {
        path.relative_to(ROOT).as_posix(): {name for _, name in names_in(ast.parse(path.read_text()))}
        for path in MODULES
    }
    unused = [
        (file, name)
        for file, name in EXCEPTIONS
        if not any(name in found for path, found in names.items() if file in (path, "*"))
    ]
    assert not unused


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("read_picture", "image"),
        ("num_joints", "keypoint"),
        ("TruthIndex", "ground_truth"),
        ("left_out", "filtered"),
    ],
)
def test_a_name_that_the_glossary_does_not_have_is_found(name, said):
    assert said in problems("x.py", name)[0]
    assert problems("x.py", "read_ground_truth") == problems("x.py", "update_image") == []
