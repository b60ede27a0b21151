"""The pages of the documentation, taken apart for the tests that hold them against the code."""

import argparse
import functools
import importlib
import re
import shlex

from absl import flags
from apache_beam.options.pipeline_options import PipelineOptions

from tests.helpers.shared import ROOT

PAGES = ["README.md", "BUILD.md", "CONTRIBUTING.md"]
PAGES += sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md"))

#: The fixed command files.
COMMANDS = (
    *("pipelines/build_records.py", "train/main.py", "evaluate/main.py", "evaluate/predict.py"),
    *("records/check.py", "model/weights.py", "model/export.py"),
)

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def read(page):
    """A page's text."""
    return (ROOT / page).read_text()


def section(text, heading):
    """What stands below a heading of the second level."""
    return re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)[1]


def blocks(text):
    """[(language, code)] of a page's fenced blocks."""
    return [(match[1], match[2]) for match in _FENCE.finditer(text)]


def prose(text):
    """A page without its fenced blocks."""
    return _FENCE.sub("", text)


def anchors(text):
    """What links can name in a page, by GitHub's rule: headings in lower case, without punctuation."""
    titles = re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def links(text):
    """[(path, anchor)] of a page's links and images that lead to no other site; either may be empty."""
    found = re.findall(r"\]\(([^)\s]+)\)", prose(text))
    return [link.partition("#")[::2] for link in found if not re.match(r"\w+:", link)]


def command_lines(code):
    """The commands of a shell block: lists of words, without variables that are set for them."""
    for line in code.replace("\\\n", " ").splitlines():
        for part in line.split("&&"):
            words = shlex.split(part, comments=True)
            while words and re.match(r"[A-Z_]+=", words[0]):
                del words[0]
            if words:
                yield words


def called(text):
    """[(command file, words after it)] of all calls of ours in a page's blocks and its prose's code."""
    for language, code in blocks(text):
        if language == "sh":
            yield from (
                (words[1], words[2:])
                for words in command_lines(code)
                if words[0] == "python" and words[1] in COMMANDS
            )
    for span in re.findall(r"`([^`\n]+)`", prose(text)):
        name, *words = span.removeprefix("python ").split() or [""]
        for command in COMMANDS:
            if name == command or (name == command.split("/")[1] and name != "main.py"):
                yield command, words


@functools.cache
def _module(command):
    """The module that a command file runs."""
    return importlib.import_module(re.search(r"^    from ([\w.]+) import", read(command), re.MULTILINE)[1])


def parse_flags(command, words):
    """Parses a command's own flags as the command does, and returns the names of all that it has.

    Raises:
        flags.Error: if it would refuse them.
    """
    own = words[: words.index("--")] if "--" in words else words
    module = _module(command)
    values = flags.FlagValues()
    module.define_flags(values)
    values.set_gnu_getopt(True)  # a sub-command, or a folder, may stand before flags
    values([command, *own])
    return set(values) | {f"no{name}" for name in values if values[name].boolean}


def beam_parser():
    """A parser with the options of all of Beam's own classes, which refuses others."""
    parser, classes = argparse.ArgumentParser(allow_abbrev=False, exit_on_error=False), [PipelineOptions]
    while classes:
        found = classes.pop()
        if found is not PipelineOptions and found.__module__ == PipelineOptions.__module__:
            found._add_argparse_args(parser)
        classes += found.__subclasses__()
    return parser


def files_of(page):
    """{path: code} of a page's Python blocks that are preceded by a file's path."""
    return dict(re.findall(r"^`([\w/]+\.py)`:\n\n```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))
