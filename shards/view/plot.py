"""Line, point and bar plots as inline SVG, for pages that open without a network, in light and in dark.

Text and axes have the colour of the page's text. Everything that comes from data is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 420, 260
LEFT, RIGHT, TOP, BOTTOM = 62, 12, 24, 38
BARS, LABELS, FIGURES = 560, 190, 60  # width of a bar plot, of its labels, of the figures behind the bars
# Told apart by colour-blind people, on white and on black (Okabe and Ito 2008, without black and yellow).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
INK = 'fill="currentColor"'

Points = Sequence[tuple[float, float]]


def lines(
    title: str, across: str, up: str, series: Mapping[str, Points], low: float = 0.0, high: float = 1.0
) -> str:
    """Curves with a marker at each point, whose title tells its values; a legend where there are several."""
    most = max((x for points in series.values() for x, _ in points), default=1.0) or 1.0

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            LEFT + x / most * (WIDTH - LEFT - RIGHT),
            TOP + (high - min(max(y, low), high)) / (high - low) * (HEIGHT - TOP - BOTTOM),
        )

    names = list(series) if len(series) > 1 else []
    rows = [names[k : k + 2] for k in range(0, len(names), 2)]
    parts = [_frame(title, across, up, HEIGHT + 16 * len(rows))]
    for k, row in enumerate(rows):
        parts.append(_legend(row, LEFT, HEIGHT + 16 * k, (WIDTH - LEFT) // 2, 2 * k))
    for k in range(5):
        value = low + (high - low) * k / 4
        parts.append(_level(place(0, value)[1], f"{value:.3g}"))
        x = most * k / 4
        parts.append(_text(place(x, low)[0], HEIGHT - BOTTOM + 14, f"{x:.3g}", "middle"))
    for number, (name, points) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*p) for p in points))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
        for x, y in points:
            at = place(x, y)
            label = escape(f"{name}: {y:.4f} at {x:.4f}")
            parts.append(
                f'<circle cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="3" fill="{colour}"><title>{label}</title></circle>'
            )
    return "".join(parts) + "</svg>"


def scatter(title: str, across: str, up: str, points: Points, levels: Mapping[str, float]) -> str:
    """Points, and horizontal lines at named levels (a Bland–Altman plot)."""
    xs, ys = [x for x, _ in points] or [0.0], [*(y for _, y in points), *levels.values()] or [0.0]
    x0, x1, y0, y1 = min(xs), max(xs), min(ys), max(ys)
    x1, y1 = x1 if x1 > x0 else x0 + 1, y1 if y1 > y0 else y0 + 1

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            LEFT + (x - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT),
            TOP + (y1 - y) / (y1 - y0) * (HEIGHT - TOP - BOTTOM),
        )

    parts = [_frame(title, across, up)]
    for name, level in levels.items():
        parts.append(_level(place(x0, level)[1], f"{level:.3g}", COLOURS[1]))
        parts.append(_text(WIDTH - RIGHT, place(x0, level)[1] - 3, name, "end"))
    for x in (x0, x1):
        parts.append(_text(place(x, y0)[0], HEIGHT - BOTTOM + 14, f"{x:.3g}", "middle"))
    for x, y in points:
        at = place(x, y)
        parts.append(
            f'<circle cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="3" fill="{COLOURS[0]}" fill-opacity="0.6"/>'
        )
    return "".join(parts) + "</svg>"


def intervals(title: str, up: str, rows: Sequence[tuple[str, float, float, float]]) -> str:
    """A value with its interval for each name, and a line at 0: a forest plot. rows: name, low, value, high."""
    height = TOP + BOTTOM + 18 * len(rows)
    least = min([0.0, *(low for _, low, _, _ in rows)])
    most = max([0.0, *(high for *_, high in rows)])
    width = (most - least) or 1.0
    left = 190

    def at(value: float) -> float:
        return left + (value - least) / width * (WIDTH - left - RIGHT)

    parts = [
        f'<svg role="img" aria-label="{escape(title)}" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" {INK}>',
        _text(8, 15, title, "start", 12),
        f'<line x1="{at(0):.1f}" x2="{at(0):.1f}" y1="{TOP}" y2="{height - BOTTOM}" stroke="currentColor"/>',
    ]
    for k, (name, low, value, high) in enumerate(rows):
        y = TOP + 18 * k + 10
        parts.append(_text(left - 6, y + 4, name, "end"))
        parts.append(
            f'<line x1="{at(low):.1f}" x2="{at(high):.1f}" y1="{y}" y2="{y}" stroke="{COLOURS[0]}"/>'
        )
        parts.append(f'<circle cx="{at(value):.1f}" cy="{y}" r="3.5" fill="{COLOURS[0]}"/>')
    for value in (least, 0.0, most):
        parts.append(_text(at(value), height - BOTTOM + 14, f"{value:.2f}", "middle"))
    return "".join(parts) + _text(WIDTH / 2, height - 6, up, "middle") + "</svg>"


def bars(title: str, rows: Sequence[tuple[str, Sequence[float]]], names: Sequence[str] = ()) -> str:
    """A bar a row, made of parts one after the other: (label, sizes). names: of the parts, for the legend."""
    most = max((sum(parts) for _, parts in rows), default=0) or 1
    top = 20 if names else 0
    height, room = top + 18 * len(rows) + 6, BARS - LABELS - FIGURES
    parts = [
        f'<svg role="img" aria-label="{escape(title)}" viewBox="0 0 {BARS} {height}" width="{BARS}" {INK}>',
    ]
    parts.append(_legend(names, LABELS, 2, 110))
    for k, (label, sizes) in enumerate(rows):
        y, x = top + 18 * k, float(LABELS)
        parts.append(_text(LABELS - 6, y + 12, label, "end"))
        for number, size in enumerate(sizes):
            width = room * size / most
            told = escape(f"{label}{f', {names[number]}' if names else ''}: {size:,}")
            parts.append(
                f'<rect x="{x:.1f}" y="{y + 2}" width="{width:.1f}" height="13" '
                f'fill="{COLOURS[number % len(COLOURS)]}"><title>{told}</title></rect>'
            )
            x += width
        parts.append(_text(x + 4, y + 12, f"{sum(sizes):,}", "start"))
    return "".join(parts) + "</svg>"


def matrix(title: str, names: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """Counts of pairs of names as fields, the darker the larger (by the square root); a title tells each."""
    most = max((n for row in counts for n in row), default=0) or 1
    side, top, slanted = 16, 150, 90  # room above the fields and behind the last for their slanted names
    width, height = LABELS + side * len(names) + slanted, top + side * len(names) + 6
    parts = [
        f'<svg role="img" aria-label="{escape(title)}" viewBox="0 0 {width} {height}" width="{width}" {INK}>',
    ]
    for k, (name, row) in enumerate(zip(names, counts, strict=True)):
        x, y = LABELS + side * k + 12, top - 6
        parts.append(_text(LABELS - 6, top + side * k + 12, name, "end"))
        parts.append(
            f'<text x="{x}" y="{y}" font-size="10" transform="rotate(-60 {x} {y})">{escape(name)}</text>'
        )
        for j, count in enumerate(row):
            told = escape(f"{name}, {names[j]}: {count:,}")
            parts.append(
                f'<rect x="{LABELS + side * j}" y="{top + side * k}" width="{side - 1}" height="{side - 1}" '
                f'fill="{COLOURS[0]}" fill-opacity="{(count / most) ** 0.5:.3f}"><title>{told}</title></rect>'
            )
    return "".join(parts) + "</svg>"


def _frame(title: str, across: str, up: str, height: int = HEIGHT) -> str:
    return (
        f'<svg role="img" aria-label="{escape(title)}" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" {INK}>'
        + _text(LEFT, 15, title, "start", 12)
        + _text(WIDTH / 2, HEIGHT - 6, across, "middle")
        + f'<text x="12" y="{HEIGHT / 2}" font-size="10" text-anchor="middle" '
        f'transform="rotate(-90 12 {HEIGHT / 2})">{escape(up)}</text>'
    )


def _legend(names: Sequence[str], left: int, top: int, step: int, first: int = 0) -> str:
    """Names in a row, each behind a field of its colour; first: the number of the first colour."""
    parts = []
    for k, name in enumerate(names):
        x, colour = left + step * k, COLOURS[(first + k) % len(COLOURS)]
        parts.append(f'<rect x="{x}" y="{top}" width="10" height="10" fill="{colour}"/>')
        parts.append(_text(x + 14, top + 9, name, "start"))
    return "".join(parts)


def _level(y: float, label: str, colour: str = "") -> str:
    ink = f'stroke="{colour}"' if colour else 'stroke="currentColor" stroke-opacity="0.15"'
    line = f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" {ink}/>'
    return line + _text(LEFT - 4, y + 3, label, "end")


def _text(x: float, y: float, text: str, anchor: str, size: int = 10) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}">{escape(text)}</text>'
