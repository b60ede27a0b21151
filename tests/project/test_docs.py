"""What the documentation says stays true."""

import ast
import importlib
import itertools
import pkgutil
import re
import subprocess
import sys
import tomllib

import pytest
from absl import flags

import evaluate.cli
import evaluate.prediction.cli
import pipelines.cli
import records.checking.cli
import train.cli
from hrpose.command import format_help
from records.schema import markdown_table
from tests.helpers.documents import (
    COMMANDS,
    PAGES,
    anchors,
    beam_parser,
    blocks,
    called,
    command_lines,
    files_of,
    links,
    parse_flags,
    prose,
    read,
    section,
)
from tests.helpers.shared import ROOT

ABSL = {
    "pipelines/build_records.py": pipelines.cli,
    "train/main.py": train.cli,
    "evaluate/main.py": evaluate.cli,
    "evaluate/predict.py": evaluate.prediction.cli,
    "records/check.py": records.checking.cli,
}
#: All but what needs another host than the one that CI has.
REQUIREMENTS = sorted(path.name for path in ROOT.glob("requirements*.txt") if path.stem != "requirements-gpu")
PACKAGES = [path.parent for path in ROOT.glob("*/__init__.py") if path.parent.name != "tests"]
SOURCES = [path for package in PACKAGES for path in package.rglob("*.py")]

each_page = pytest.mark.parametrize("page", PAGES)


def requirements():
    lines = [line for file in REQUIREMENTS for line in read(file).splitlines()]
    return {re.match(r"[\w-]+", line)[0] for line in lines if line and not line.startswith("#")}


@pytest.mark.parametrize("page", [*PAGES, "CHANGELOG.md", "BENCHMARKS.md"])
def test_every_link_leads_to_a_file_and_to_a_heading_of_it(page):
    for path, anchor in links(read(page)):
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target.read_text()), f"{path}#{anchor}"


def test_links_and_headings_are_found():
    text = "# A b: `c`, d\n[x](y.md#z) ![p](q.jpg) [self](#a-b-c-d) [away](https://example.org)\n"
    assert links(text) == [("y.md", "z"), ("q.jpg", ""), ("", "a-b-c-d")]
    assert anchors(f"{text}```sh\n# no heading\n```\n") == {"a-b-c-d"}


@each_page
def test_every_block_says_what_it_is(page):
    """So that none is passed over by the tests of blocks; text is for what cannot be run."""
    assert {language for language, _ in blocks(read(page))} <= {"sh", "python", "yaml", "text"}
    indented = re.findall(r"\n\n {4,}\S.*", prose(read(page)))
    assert not indented, "a block without fences"


@each_page
def test_shell_blocks_name_files_targets_and_flags_that_exist(page, monkeypatch):
    monkeypatch.chdir(ROOT)  # as in README: flag files are named from there
    targets = set(re.findall(r"^([\w-]+):", read("Makefile"), re.MULTILINE))
    for program, *words in (
        line for kind, code in blocks(read(page)) if kind == "sh" for line in command_lines(code)
    ):
        if program == "make":
            assert {word for word in words if "=" not in word} <= targets
        elif program == "pip":
            files = [word for option, word in itertools.pairwise(words) if option in ("-r", "-c")]
            assert all((ROOT / file).exists() for file in files), words
        elif program == "pytest":
            assert all((ROOT / word).exists() for word in words if word.startswith("tests/")), words
        elif program == "python":
            assert (ROOT / words[0]).exists(), words[0]
        else:
            assert program in ("docker", "gcloud", "source"), program


@each_page
def test_every_command_of_ours_is_called_as_it_can_be(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    for command, words in called(read(page)):
        own = words[: words.index("--")] if "--" in words else words
        if "…" in own:  # part of a command
            named = {word[2:].partition("=")[0] for word in own if word.startswith("--")}
            assert named <= parse_flags(command, []), (command, words)
        else:
            parse_flags(command, own)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_flag_that_a_command_does_not_have_would_be_found(command):
    assert list(called(f"```sh\npython {command} --no_such_flag=1\n```\n")) == [
        (command, ["--no_such_flag=1"])
    ]
    assert list(called(f"Say `{command} --no_such_flag=1` there.")) == [(command, ["--no_such_flag=1"])]
    with pytest.raises((flags.Error, SystemExit)):
        parse_flags(command, ["--no_such_flag=1"])


@each_page
def test_python_blocks_compile_and_import_what_exists(page):
    own = {path.removesuffix(".py").replace("/", ".") for path in files_of(read(page))}
    for language, code in blocks(read(page)):
        for node in ast.walk(ast.parse(code)) if language == "python" else ():
            if isinstance(node, ast.Import):
                assert all(importlib.import_module(name.name) for name in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module not in own:
                for name in node.names:
                    pkgutil.resolve_name(f"{node.module}.{name.name}")


@each_page
def test_modules_and_files_of_ours_that_the_prose_names_exist(page):
    rooms = "|".join(path.name for path in PACKAGES)
    for span in re.findall(r"`([^`\n]+)`", prose(read(page))):
        if re.fullmatch(rf"({rooms})(\.\w+)+", span) and not span.endswith(".json"):
            assert pkgutil.resolve_name(span), span
        elif re.fullmatch(rf"({rooms}|docs|docker|tests|benchmarks)/[\w/.]+", span) and "NAME" not in span:
            assert (ROOT / span).exists() or span in files_of(read(page)), span


@pytest.mark.parametrize("page", [*PAGES, "CHANGELOG.md"])
def test_every_flag_the_pages_name_exists(page):
    known = {name for command in COMMANDS for name in parse_flags(command, [])}
    known |= {"help", "logdir", "flagfile", "verbosity"}
    known |= {"region", "display", "config"}  # of gcloud
    known |= {"smoke", "peer"}  # of the benchmarks
    known |= {option.lstrip("-") for action in beam_parser()._actions for option in action.option_strings}
    known |= {"dask_client_address", "nthreads", "preload"}  # of Dask
    known |= {"service_port", "port"}  # of Beam's services
    known |= {"net", "volume", "worker_pool", "no"}  # of docker, Beam's image, pip
    text = read(page)
    if page == "CHANGELOG.md":  # the versions before the newest had other flags
        text = "".join(re.split("(^## )", text, flags=re.MULTILINE)[:3])
    known |= set(re.findall(r'Option\("(\w+)"', text))  # of a dataset or a metric that the page adds
    assert set(re.findall(r"(?<![\w-])--([a-z0-9_]+)", text)) <= known


def messages():
    """Every text of the sources, with a null character for each value that is put into it."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                yield "".join(part.value if isinstance(part, ast.Constant) else "\0" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_messages_are_quoted_as_the_code_has_them():
    """In the troubleshooting tables, where … stands for what is put into a message."""
    texts = set(messages())
    rows = re.findall(r"^\| (.*?) \| ", read("docs/troubleshooting.md"), re.MULTILINE)
    quoted = [quote for row in rows for quote in re.findall("`([^`]+)`", row)]
    assert len(quoted) > 25
    for quote in quoted:
        parts = [part.strip() for part in quote.split("…")]
        assert any(all(part in text for part in parts) for text in texts), quote


def test_the_page_about_records_holds_the_schema_table():
    table = re.search(r"<!-- schema -->\n(.*)\n<!-- /schema -->", read("docs/records.md"), re.DOTALL)
    assert table[1] == markdown_table()


@pytest.mark.parametrize("path", ABSL)
def test_help_explains_every_flag_within_a_terminal_s_width(path):
    module, values = ABSL[path], flags.FlagValues()
    module.define_flags(values)
    text = format_help(module.NAME, module.DESCRIPTION, values)
    for name in values:
        assert values[name].help.endswith("."), name
        assert f"{name}" in text
    assert max(map(len, text.splitlines())) <= 115


def test_every_requirement_has_a_reason():
    table = section(read("docs/install.md"), "Why each package is there")
    reasons = "".join(re.findall(r"^\| (.*?) \|", table, re.MULTILINE)).lower()
    assert [name for name in requirements() if name.lower() not in reasons] == []


def test_every_file_of_requirements_is_listed():
    named = set(re.findall(r"`(requirements[\w-]*\.txt)`", read("docs/install.md")))
    assert named == {path.name for path in ROOT.glob("requirements*.txt")}


def test_the_supported_pythons_are_the_same_everywhere():
    project = tomllib.loads(read("pyproject.toml"))["project"]
    classifier = "Programming Language :: Python :: "
    classified = [c.removeprefix(classifier) for c in project["classifiers"] if c.startswith(classifier)]
    makefile, ci = read("Makefile"), read(".ci/run")
    assert re.search(r"^PYTHONS := (.*)$", makefile, re.MULTILINE)[1].split() == classified
    first, last = classified[0], int(classified[-1].removeprefix("3."))
    assert project["requires-python"] == f">={first},<3.{last + 1}"
    assert f"interpreter {first}" in ci
    assert re.search(r"^for version in (.*); do$", ci, re.MULTILINE)[1].split() == classified[1:]


def test_constraints_pin_every_requirement():
    pinned = {
        line.split("==")[0].lower().replace("_", "-")
        for line in read("constraints.txt").splitlines()
        if "==" in line
    }
    assert {name.lower() for name in requirements()} <= pinned | {"setuptools"}


@pytest.mark.slow
def test_the_reference_has_every_page_and_module_and_needs_no_network(tmp_path):
    pytest.importorskip("pdoc", reason="needs requirements-docs.txt")
    command = [sys.executable, str(ROOT / "docs/reference.py"), str(tmp_path)]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert run.returncode == 0, run.stderr
    assert "Warning" not in run.stderr
    wanted = [(tmp_path / page).with_suffix(".html") for page in PAGES]
    modules = [path.parent if path.stem == "__init__" else path for path in SOURCES]
    wanted += [(tmp_path / path.relative_to(ROOT)).with_suffix(".html") for path in modules]
    assert [page for page in wanted if not page.exists()] == []
    assert 'id="read_records"' in (tmp_path / "hrpose.html").read_text(), "loaded when it is asked for"
    pages = {page: page.read_text() for page in tmp_path.rglob("*.html")}
    names = {page: set(re.findall(r'\bid="([^"]+)"', html)) for page, html in pages.items()}
    for page, html in pages.items():
        assert not re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(?:https?:)?//', html), page
        for link in re.findall(r'<(?:a|img|script)[^>]+(?:href|src)="(?!\w+:|\$)([^"]+)"', html):
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            assert target.exists(), f"{page}: {link}"
            assert not anchor or target not in names or anchor in names[target], f"{page}: {link}"
