"""What the documents say stays true."""

import re
import tomllib
from pathlib import Path

import pytest
from absl import flags

import evaluate.cli
import evaluate.prediction.cli
import model.exporting.cli
import model.weight_import.cli
import pipelines.cli
import records.checking.cli
import train.cli
from hrpose.command import format_help
from records.schema import markdown_table
from tests.project.test_clusters_docs import beam_parser

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = {
    "pipelines/build_records.py": pipelines.cli,
    "train/main.py": train.cli,
    "evaluate/main.py": evaluate.cli,
    "evaluate/predict.py": evaluate.prediction.cli,
    "records/check.py": records.checking.cli,
}


def defined(module):
    values = flags.FlagValues()
    module.define_flags(values)
    return values


REQUIREMENTS = [f"requirements{kind}.txt" for kind in ("", "-dev", "-worker", "-cloud", "-dask")]


def test_build_md_holds_the_schema_table():
    text = (ROOT / "BUILD.md").read_text()
    table = re.search(r"<!-- schema -->\n(.*)\n<!-- /schema -->", text, re.DOTALL)
    assert table[1] == markdown_table()


@pytest.mark.parametrize("document", ["README.md", "BUILD.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_every_flag_and_file_the_documents_name_exists(document):
    text = (ROOT / document).read_text()
    known = {name for module in COMMANDS.values() for name in defined(module)} | {
        "help",
        "logdir",
        "flagfile",
    }
    for parser in (model.exporting.cli.parser(), model.weight_import.cli.parser()):
        known |= {option.lstrip("-") for option in re.findall(r"--[a-z0-9_]+", parser.format_help())}
    known |= {"from", "to", "overwrite"}  # of the sub-command
    known |= {"region", "display", "config"}  # of gcloud
    known |= {"smoke", "peer"}  # of the benchmarks
    known |= {option.lstrip("-") for action in beam_parser()._actions for option in action.option_strings}
    known |= {"dask_client_address", "nthreads", "service_port", "port"}  # of Dask and of Beam's services
    known |= {"net", "volume", "worker_pool", "no"}  # of docker, Beam's image, pip
    named = set(re.findall(r"(?<![\w-])--([a-z0-9_]+)", text))
    assert named <= known
    for path in re.findall(r"\]\((\w[\w./]*)\)", text):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("path", COMMANDS)
def test_help_explains_every_flag_within_a_terminal_s_width(path):
    module = COMMANDS[path]
    values = defined(module)
    text = format_help(module.NAME, module.DESCRIPTION, values)
    for name in values:
        assert values[name].help.endswith("."), name
        assert f"{name}" in text
    assert max(map(len, text.splitlines())) <= 115


def test_every_requirement_has_a_reason_in_build_md():
    build = (ROOT / "BUILD.md").read_text()
    for file in REQUIREMENTS:
        for line in (ROOT / file).read_text().splitlines():
            if line and not line.startswith("#"):
                assert re.match(r"[\w-]+", line)[0] in build, line


def test_the_supported_pythons_are_the_same_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    classifier = "Programming Language :: Python :: "
    classified = [c.removeprefix(classifier) for c in project["classifiers"] if c.startswith(classifier)]
    makefile, ci = (ROOT / "Makefile").read_text(), (ROOT / ".ci/run").read_text()
    assert re.search(r"^PYTHONS := (.*)$", makefile, re.MULTILINE)[1].split() == classified
    first, last = classified[0], int(classified[-1].removeprefix("3."))
    assert project["requires-python"] == f">={first},<3.{last + 1}"
    assert f"interpreter {first}" in ci
    assert re.search(r"^for version in (.*); do$", ci, re.MULTILINE)[1].split() == classified[1:]


def test_constraints_pin_every_requirement():
    pinned = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    for file in REQUIREMENTS:
        for line in (ROOT / file).read_text().splitlines():
            if line and not line.startswith("#"):
                assert re.match(r"[\w-]+", line)[0].lower() in pinned | {"setuptools"}, line
