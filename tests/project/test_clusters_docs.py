"""What BUILD.md says about clusters is what Beam and this project have."""

import argparse
import re
import shlex

import pytest
from absl import flags
from apache_beam.options.pipeline_options import PipelineOptions

import pipelines.cli
from tests.helpers.shared import ROOT

COMMAND = "python pipelines/build_records.py"


def section():
    """The part of BUILD.md about clusters."""
    return re.search(
        r"^## Clusters and the cloud\n(.*?)^## ", (ROOT / "BUILD.md").read_text(), re.DOTALL | re.MULTILINE
    )[1]


def commands(text):
    """(our flags, Beam's arguments) of each record build in a document's indented lines."""
    lines = "\n".join(line for line in text.splitlines() if line.startswith("    ")).replace("\\\n", " ")
    for line in lines.splitlines():
        if line.strip().startswith(COMMAND):
            own, _, rest = line.removeprefix(COMMAND).partition(" -- ")
            yield shlex.split(own.strip().removeprefix(COMMAND)), shlex.split(rest)


def beam_parser():
    """A parser with the options of all of Beam's own classes, which refuses others."""
    parser, classes = argparse.ArgumentParser(allow_abbrev=False, exit_on_error=False), [PipelineOptions]
    while classes:
        found = classes.pop()
        if found is not PipelineOptions and found.__module__ == PipelineOptions.__module__:
            found._add_argparse_args(parser)
        classes += found.__subclasses__()
    return parser


def test_beam_knows_every_argument_of_every_command_of_the_section():
    found = list(commands(section()))
    assert {argument for _, rest in found for argument in rest if argument.startswith("--runner=")} >= {
        f"--runner={name}Runner" for name in ("Flink", "Spark", "Dataflow")
    }
    for own, rest in found:
        values = flags.FlagValues()
        pipelines.cli.define_flags(values)
        values(["build_records", *own])
        assert beam_parser().parse_known_args(rest)[1] == []


def test_every_option_the_section_names_exists():
    values = flags.FlagValues()
    pipelines.cli.define_flags(values)
    known = {option for action in beam_parser()._actions for option in action.option_strings}
    named = set(re.findall(r"`(--\w+)", section()))
    assert len(named) > 10
    assert named <= known | {f"--{name}" for name in values}


def test_an_option_that_beam_does_not_know_would_be_found():
    ((_, rest),) = commands(
        f"    {COMMAND} --dataset coco -- \\\n        --runner=FlinkRunner --flink_masters=a"
    )
    assert beam_parser().parse_known_args(rest)[1] == ["--flink_masters=a"]


@pytest.mark.parametrize(
    "name", ["requirements-worker.txt", "requirements-cloud.txt", "docker/worker.Dockerfile"]
)
def test_files_the_section_names_are_there(name):
    assert name in section()
    assert (ROOT / name).exists()


def test_the_workers_image_has_the_beam_and_the_versions_of_the_constraints():
    constraints = (ROOT / "constraints.txt").read_text()
    dockerfile = (ROOT / "docker/worker.Dockerfile").read_text()
    beam = re.search(r"^apache-beam==(.+)$", constraints, re.MULTILINE)[1]
    assert re.search(r"^FROM apache/beam_python\$\{PYTHON\}_sdk:(.+)$", dockerfile, re.MULTILINE)[1] == beam
    for name in re.search(r"\^\((.+)\)==", dockerfile)[1].split("|"):
        assert re.search(rf"^{name}==", constraints, re.MULTILINE)
