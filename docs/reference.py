"""Makes the documentation as HTML that needs no network: the pages, and every module's docstrings by pdoc.

python docs/reference.py [FOLDER]        by default build/docs
"""

import importlib
import os
import re
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: Not this file's own folder but the repository's root is where packages are looked for.
sys.path[0] = str(ROOT)
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("PDOC_ALLOW_EXEC", "1")  # what we import may ask for the processor's name

import pdoc.render  # noqa: E402
import pdoc.render_helpers  # noqa: E402


@dataclass(frozen=True)
class Page:
    """A Markdown file as HTML.

    Attributes:
        path: of the HTML file below the output folder, as the Markdown file's below the repository's root.
        title: its first heading.
        body: HTML.
        contents: HTML, a list of its headings.
        up: from the page's folder to the output folder, "" or "../".
    """

    path: str
    title: str
    body: str
    contents: str
    up: str


def render_page(source: Path, output: Path) -> Page:
    """One Markdown file.

    Links to other pages lead to their HTML, those to other files of the repository to these.
    """
    text = source.read_text()
    relative = source.relative_to(ROOT)
    html = pdoc.render_helpers.to_html(text)

    def retarget(match: re.Match) -> str:
        attribute, link, anchor = match.groups(default="")
        target = source.parent / link
        if target.suffix == ".md":
            return f'{attribute}="{link.removesuffix(".md")}.html{anchor}"'
        there = os.path.relpath(target, (output / relative).parent)
        return f'{attribute}="{there}{anchor}"'

    return Page(
        path=str(relative.with_suffix(".html")),
        title=re.search(r"^# (.+)$", text, re.MULTILINE)[1],
        body=re.sub(r'(href|src)="(?!\w+:|#)([^"#]+)(#[^"]*)?"', retarget, html),
        contents=html.toc_html,
        up="../" * (len(relative.parts) - 1),
    )


def modules() -> list[str]:
    """Every module of ours; names that a package only loads when they are asked for are made part of it."""
    names = []
    for package in sorted(path.parent for path in ROOT.glob("*/__init__.py") if path.parent.name != "tests"):
        module = importlib.import_module(package.name)
        if lazy := sorted({*dir(module)} - {*vars(module)}):
            vars(module).update({name: getattr(module, name) for name in lazy})
            vars(module).setdefault("__all__", lazy)
        for path in sorted(package.rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return names


def main(output: Path) -> None:
    """Writes everything below a folder."""
    sources = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    sources += [ROOT / f"{name}.md" for name in ("BUILD", "CONTRIBUTING", "CHANGELOG", "BENCHMARKS")]
    pages = [render_page(source, output) for source in sources]
    pdoc.render.configure(docformat="google", template_directory=ROOT / "docs/templates")
    pdoc.render.env.globals["pages"] = pages
    template = pdoc.render.env.get_template("page.html.jinja2")
    for page in pages:
        path = output / page.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(template.render(page=page))
    # Packages bring their modules but those that ``__all__`` leaves out; to name one again is no mistake.
    warnings.filterwarnings("ignore", "The module specification", UserWarning)
    pdoc.pdoc(*modules(), output_directory=output)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build/docs").resolve())
