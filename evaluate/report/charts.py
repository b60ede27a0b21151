"""Curves and bars as SVG to stand inside an HTML page, without scripts; `page.STYLE` has their colors."""

from collections.abc import Sequence
from html import escape

import numpy as np
import numpy.typing as npt

_WIDTH, _HEIGHT = 560, 392
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 16, 44, 56


def line_chart(
    title: str,
    x_label: str,
    y_label: str,
    x: npt.NDArray[np.float64],
    lines: Sequence[tuple[str, npt.NDArray[np.float64]]],
) -> str:
    """Curves over the unit square.

    Args:
        title: what it shows, for instances that listen to the page.
        x_label, y_label: of the axes.
        x: (N,) in 0..1.
        lines: (name, (N,) in 0..1), at most as many as the page has colors for lines (3).

    Returns:
        An svg element that scales with its surroundings.
    """
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM

    def place(u, v):
        return _LEFT + u * (right - _LEFT), bottom - v * (bottom - _TOP)

    parts = []
    for tick in np.linspace(0, 1, 6):
        (column, _), (_, row) = place(tick, 0), place(0, tick)
        parts += [
            f'<path class="grid" d="M{column:.1f} {_TOP}V{bottom}M{_LEFT} {row:.1f}H{right}"/>',
            _text(column, bottom + 22, f"{tick:.1f}", "middle"),
            _text(_LEFT - 8, row + 4, f"{tick:.1f}", "end"),
        ]
    parts += [
        _text((_LEFT + right) / 2, _HEIGHT - 6, x_label, "middle"),
        f'<text class="label" text-anchor="middle" transform="translate(18 {(_TOP + bottom) / 2:.0f}) '
        f'rotate(-90)">{escape(y_label)}</text>',
    ]
    for number, (name, y) in enumerate(lines):
        points = " ".join("{:.1f},{:.1f}".format(*place(u, v)) for u, v in zip(x, y, strict=True))
        parts.append(f'<polyline class="line line{number}" points="{points}"/>')
        start = _LEFT + 165 * number
        parts += [
            f'<path class="line line{number}" d="M{start} 16h34"/>',
            _text(start + 42, 22, name, "start"),
        ]
    return _svg(title, _WIDTH, _HEIGHT, parts)


def bar_chart(title: str, bars: Sequence[tuple[str, float | None, str]]) -> str:
    """Horizontal bars, each with its name before and its value behind.

    Args:
        title: what they show, for instances that listen to the page.
        bars: (short name, value or None, text); None: no bar, only the text.

    Returns:
        An svg element.
    """
    left, full, step = 110, 230, 30
    parts = []
    for number, (name, value, text) in enumerate(bars):
        top = 4 + step * number
        length = 0 if value is None else full * min(max(value, 0), 1)
        parts += [
            _text(left - 10, top + 15, name, "end"),
            f'<rect class="track" x="{left}" y="{top}" width="{full}" height="20" rx="2"/>',
            f'<rect class="bar" x="{left}" y="{top}" width="{length:.1f}" height="20" rx="2"/>',
            _text(left + full + 10, top + 15, text, "start"),
        ]
    return _svg(title, _WIDTH, 8 + step * len(bars), parts)


def share_bar(title: str, shares: Sequence[tuple[str, float]]) -> str:
    """One bar that is divided among parts.

    Args:
        title: the shares in words.
        shares: (css class, share in 0..1).

    Returns:
        An svg element as wide as its surroundings.
    """
    parts, start = [], 0.0
    for name, share in shares:
        if share > 0:
            width = 100 * share
            parts.append(
                f'<rect class="{escape(name)}" x="{start:.2f}" width="{width:.2f}" y="0" height="10"/>'
            )
            start += width
    return (
        '<svg class="shares" viewBox="0 0 100 10" preserveAspectRatio="none" role="img">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )


def _svg(title, width, height, parts):
    return (
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img"><title>{escape(title)}</title>'
        f"{''.join(parts)}</svg>"
    )


def _text(x, y, text, anchor):
    return f'<text class="label" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
