"""The parts of a self-contained HTML page. Everything that comes from outside is escaped here."""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import numpy.typing as npt

from hrpose.drawing import encode

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""No scripts and no requests, whatever else may be in the page."""


@dataclass(frozen=True)
class Markup:
    """HTML that is ready to stand in a page, as opposed to text, which is escaped."""

    html: str


#: What is no `Markup` is shown as text.
Content = Markup | str | int | float


def page(title: str, parts: Iterable[Markup]) -> str:
    """A whole page.

    Args:
        title: text.
        parts: of its body.

    Returns:
        An HTML document.
    """
    body = "\n".join(part.html for part in parts)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def element(tag: str, *content: Content, css: str | None = None) -> Markup:
    """An element around texts and `Markup`."""
    attribute = f' class="{escape(css)}"' if css else ""
    return Markup(f"<{tag}{attribute}>{''.join(map(_html, content))}</{tag}>")


def section(title: str, *content: Content) -> Markup:
    """A part of the page with a heading."""
    return element("section", element("h2", title), *content)


def table(header: Sequence[Content], rows: Iterable[Sequence[Content]], css: str = "numbers") -> Markup:
    """A table whose first column names the row; too wide for a screen, it scrolls on its own.

    Args:
        header: of the columns.
        rows: as long as the header.
        css: class of the table.
    """
    head = "".join(f'<th scope="col">{_html(cell)}</th>' for cell in header)
    lines = [
        f'<tr><th scope="row">{_html(first)}</th>'
        + "".join(f"<td>{_html(cell)}</td>" for cell in rest)
        + "</tr>"
        for first, *rest in rows
    ]
    return Markup(
        f'<div class="scroll" tabindex="0"><table class="{escape(css)}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def facts(pairs: Iterable[tuple[str, Content]]) -> Markup:
    """Names and values, one below the other."""
    items = [
        # A long file name may break after an underscore, rather than anywhere.
        f"<div><dt>{_html(name)}</dt><dd>{_html(value).replace('_', '_<wbr>')}</dd></div>"
        for name, value in pairs
    ]
    return Markup(f"<dl>{''.join(items)}</dl>")


def embedded_image(image: npt.NDArray[np.uint8], text: str, quality: int) -> Markup:
    """An image inside the page.

    Args:
        image: (h, w, 3) RGB.
        text: what it shows.
        quality: of the JPEG, 1 to 100.
    """
    height, width = image.shape[:2]
    data = base64.b64encode(encode(image, ".jpg", quality)).decode("ascii")
    return Markup(
        f'<img src="data:image/jpeg;base64,{data}" width="{width}" height="{height}" alt="{escape(text)}">'
    )


def _html(content: Content) -> str:
    return content.html if isinstance(content, Markup) else escape(str(content))


#: Colors: Okabe and Ito's palette (2008), which people with any common color blindness tell apart.
STYLE = """
:root {
  --paper: #fff; --ink: #1c1c1e; --soft: #5d6066; --rule: #d9dbe0; --track: #eef0f3;
  --blue: #0072b2; --orange: #d55e00; --green: #009e73; --sky: #56b4e9; --yellow: #e69f00; --pink: #cc79a7;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #17181a; --ink: #ececee; --soft: #a4a7ae; --rule: #3a3c41; --track: #26282c;
    --blue: #4aa8e0; --orange: #f0803c; --green: #2cc295;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 20px 16px 48px; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 40px 0 8px; padding-top: 12px; border-top: 1px solid var(--rule); }
.two { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); gap: 8px 32px; }
h3 { font-size: 1rem; margin: 20px 0 8px; }
p { margin: 8px 0; max-width: 46rem; overflow-wrap: anywhere; }
.note, figcaption, dt { color: var(--soft); font-size: .875rem; }
.headline { font-size: 2.4rem; font-weight: 600; margin: 12px 0; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(165px, 1fr)); gap: 10px 20px; }
dd { margin: 0; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 8px 0; }
th, td { padding: 4px 12px 4px 0; text-align: right; border-bottom: 1px solid var(--rule); }
th { font-weight: 500; }
thead th { color: var(--soft); font-size: .875rem; vertical-align: bottom; }
tr > :first-child { text-align: left; }
.chart { display: block; width: 100%; max-width: 560px; height: auto; }
.label { fill: var(--ink); font: 14px system-ui, sans-serif; }
.grid { stroke: var(--rule); fill: none; }
.line { fill: none; stroke-width: 2.5; }
.line0 { stroke: var(--blue); } .line1 { stroke: var(--orange); stroke-dasharray: 8 4; }
.line2 { stroke: var(--green); stroke-dasharray: 2 4; }
.track { fill: var(--track); } .bar { fill: var(--blue); }
.keypoints { width: 100%; }
.keypoints tr > :nth-child(2) { text-align: left; }
.keypoints td:nth-child(2) { width: 40%; min-width: 90px; }
.shares { display: block; width: 100%; height: 16px; }
.good { fill: var(--green); background: var(--green); } .jitter { fill: var(--sky); background: var(--sky); }
.inversion { fill: var(--yellow); background: var(--yellow); }
.swap { fill: var(--pink); background: var(--pink); }
.miss { fill: var(--orange); background: var(--orange); }
.swatch { display: inline-block; width: .8em; height: .8em; margin-right: .35em; border-radius: 2px; }
.key { display: inline-block; margin-right: 1.2em; white-space: nowrap; }
.instances {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 330px), 1fr)); gap: 20px;
}
figure { margin: 0; min-width: 0; }
.pair { display: flex; gap: 6px; }
.pair > span { flex: 0 1 50%; color: var(--soft); font-size: .75rem; }
.pair img { display: block; width: 100%; height: auto; border-radius: 4px; }
figcaption { padding-top: 4px; overflow-wrap: anywhere; }
@media (max-width: 520px) {
  th, td { padding-right: 8px; font-size: .875rem; }
  .label { font-size: 19px; }
}
@media print { h2 { break-after: avoid; } figure, .chart { break-inside: avoid; } }
"""
