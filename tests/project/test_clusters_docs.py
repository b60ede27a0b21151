"""What the page about clusters says is what Beam and this project have."""

import re

import pytest

from tests.helpers.documents import beam_parser, blocks, command_lines, parse_flags, read, section
from tests.helpers.shared import ROOT

COMMAND = "pipelines/build_records.py"


def page():
    return read("docs/clusters.md")


def builds(text):
    """(our words, Beam's) of each record build in a page's shell blocks."""
    for language, code in blocks(text):
        for words in command_lines(code) if language == "sh" else ():
            if words[:2] == ["python", COMMAND]:
                split = words.index("--") if "--" in words else len(words)
                yield words[2:split], words[split + 1 :]


def test_beam_knows_every_argument_of_every_command_of_the_page():
    found = list(builds(page()))
    assert {argument for _, rest in found for argument in rest if argument.startswith("--runner=")} >= {
        f"--runner={name}Runner" for name in ("Flink", "Spark", "Dataflow")
    }
    for own, rest in found:
        parse_flags(COMMAND, own)
        assert beam_parser().parse_known_args(rest)[1] == []


def test_every_option_the_sections_about_engines_name_exists():
    known = {option for action in beam_parser()._actions for option in action.option_strings}
    text = "".join(
        section(page(), title) for title in ("The project on the workers", "Flink and Spark", "Dataflow")
    )
    named = set(re.findall(r"`(--\w+)", text))
    assert len(named) > 10
    assert named <= known | {f"--{name}" for name in parse_flags(COMMAND, [])}


def test_an_option_that_beam_does_not_know_would_be_found():
    code = f"python {COMMAND} --dataset coco -- \\\n    --runner=FlinkRunner --flink_masters=a"
    ((_, rest),) = builds(f"```sh\n{code}\n```\n")
    assert beam_parser().parse_known_args(rest)[1] == ["--flink_masters=a"]


@pytest.mark.parametrize(
    "name", ["requirements-worker.txt", "requirements-cloud.txt", "docker/worker.Dockerfile"]
)
def test_files_the_page_names_are_there(name):
    assert name in page()
    assert (ROOT / name).exists()


def test_the_workers_image_has_the_beam_and_the_versions_of_the_constraints():
    constraints = read("constraints.txt")
    dockerfile = read("docker/worker.Dockerfile")
    beam = re.search(r"^apache-beam==(.+)$", constraints, re.MULTILINE)[1]
    assert re.search(r"^FROM apache/beam_python\$\{PYTHON\}_sdk:(.+)$", dockerfile, re.MULTILINE)[1] == beam
    for name in re.search(r"\^\((.+)\)==", dockerfile)[1].split("|"):
        assert re.search(rf"^{name}==", constraints, re.MULTILINE)
