"""Plots as inline SVG: axes, lines, bars. No library, no script, nothing that is loaded.

Sizes are in the units of a viewBox of WIDTH × HEIGHT. Colours are CSS classes of the page's.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

WIDTH: Final = 720
HEIGHT: Final = 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 16, 14, 48
_TICKS: Final = 6


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis: from `low` to `high`, linear or logarithmic, with its ticks (value, text)."""

    low: float
    high: float
    title: str
    ticks: Sequence[tuple[float, str]]
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """Where a value lies, 0–1, kept inside."""
        low, high = self.low, self.high
        if self.logarithmic:
            value, low, high = math.log10(max(value, low)), math.log10(low), math.log10(high)
        return min(1.0, max(0.0, (value - low) / (high - low)))


def linear_axis(high: float, title: str, *, low: float = 0.0) -> Axis:
    """From `low` to a round number at or above `high`."""
    span = max(high - low, 1e-9)
    step = 10.0 ** math.floor(math.log10(span / _TICKS))
    step = next(step * factor for factor in (1, 2, 5, 10, 20) if span / (step * factor) <= _TICKS)
    count = math.ceil(span / step - 1e-9)
    values = [low + step * index for index in range(count + 1)]
    return Axis(low, values[-1], title, [(value, f"{value:,.10g}") for value in values])


def time_axis(low: float, high: float, title: str) -> Axis:
    """Logarithmic, seconds, from a power of ten (times 1, 2 or 5) to another."""
    low = max(low, 1e-9)
    steps = [base * 10.0**exponent for exponent in range(-9, 6) for base in (1, 2, 5)]
    first = max((step for step in steps if step <= low * 1.0001), default=steps[0])
    last = min((step for step in steps if step >= high * 0.9999 and step > first), default=steps[-1])
    inside = [step for step in steps if first <= step <= last]
    if len(inside) > 2 * _TICKS:
        inside = [step for step in inside if round(math.log10(step), 6).is_integer()]
    return Axis(first, last, title, [(step, short_seconds(step)) for step in inside], logarithmic=True)


def short_seconds(value: float) -> str:
    """A tick: `50 µs`, `2 ms`, `1 s`."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= size * 0.9999:
            return f"{value / size:.3g} {unit}"
    return f"{value / 1e-9:.3g} ns"


@dataclass(frozen=True, slots=True)
class Curve:
    """A line through points (x, y)."""

    name: str
    points: Sequence[tuple[float, float]]
    style: str
    """A CSS class."""
    dots: bool = False


def line_plot(title: str, x: Axis, y: Axis, curves: Sequence[Curve]) -> str:
    """A plot with a line for each curve, and a legend where there are several."""
    parts = list(_frame(x, y))
    for curve in curves:
        places = [(_x(x, at), _y(y, value)) for at, value in curve.points]
        path = " ".join(f"{left:.1f},{top:.1f}" for left, top in places)
        parts.append(f'<polyline class="line {curve.style}" points="{path}"/>')
        if curve.dots:
            parts += [
                f'<circle class="dot {curve.style}" cx="{left:.1f}" cy="{top:.1f}" r="3.5">'
                f"<title>{escape(curve.name)}: {short_seconds(value)}</title></circle>"
                for (left, top), (_, value) in zip(places, curve.points, strict=True)
            ]
    if len(curves) > 1:
        parts += _legend([(curve.name, curve.style) for curve in curves])
    return _svg(title, parts)


def bar_plot(
    title: str, x: Axis, y: Axis, edges: Sequence[float], layers: Sequence[tuple[str, Sequence[float]]]
) -> str:
    """Bars between neighbouring edges; the layers (CSS class, heights) stand on one another."""
    parts = list(_frame(x, y))
    below = [0.0] * (len(edges) - 1)
    for style, heights in layers:
        for index, height in enumerate(heights):
            if height <= 0:
                continue
            left, right = _x(x, edges[index]), _x(x, edges[index + 1])
            top, bottom = _y(y, below[index] + height), _y(y, below[index])
            width = max(0.5, right - left - (1 if right - left > 3 else 0))
            parts.append(
                f'<rect class="bar {style}" x="{left:.1f}" y="{top:.1f}"'
                f' width="{width:.1f}" height="{max(0.5, bottom - top):.1f}"/>'
            )
            below[index] += height
    return _svg(title, parts)


def _svg(title: str, parts: Iterable[str]) -> str:
    label = escape(title, quote=True)
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><svg role="img" aria-label="{label}"'
        f' viewBox="0 0 {WIDTH} {HEIGHT}">{"".join(parts)}</svg></figure>'
    )


def _frame(x: Axis, y: Axis) -> Iterable[str]:
    bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    for value, text in y.ticks:
        top = _y(y, value)
        yield f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{top:.1f}" y2="{top:.1f}"/>'
        yield f'<text class="tick end" x="{_LEFT - 7}" y="{top + 4:.1f}">{escape(text)}</text>'
    for value, text in x.ticks:
        left = _x(x, value)
        yield f'<line class="grid" x1="{left:.1f}" x2="{left:.1f}" y1="{_TOP}" y2="{bottom}"/>'
        yield f'<text class="tick middle" x="{left:.1f}" y="{bottom + 17}">{escape(text)}</text>'
    middle = (_LEFT + right) / 2
    yield f'<text class="axis middle" x="{middle}" y="{HEIGHT - 8}">{escape(x.title)}</text>'
    centre = (_TOP + bottom) / 2
    yield (
        f'<text class="axis middle" transform="translate(15 {centre}) rotate(-90)">{escape(y.title)}</text>'
    )


def _legend(entries: Sequence[tuple[str, str]]) -> Iterable[str]:
    for index, (name, style) in enumerate(entries):
        top = _TOP + 14 + 18 * index
        yield f'<line class="line {style}" x1="{_LEFT + 12}" x2="{_LEFT + 36}" y1="{top}" y2="{top}"/>'
        yield f'<text class="tick" x="{_LEFT + 42}" y="{top + 4}">{escape(name)}</text>'


def _x(axis: Axis, value: float) -> float:
    return _LEFT + axis.place(value) * (WIDTH - _LEFT - _RIGHT)


def _y(axis: Axis, value: float) -> float:
    return HEIGHT - _BOTTOM - axis.place(value) * (HEIGHT - _TOP - _BOTTOM)
