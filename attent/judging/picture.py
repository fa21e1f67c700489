"""A picture of a judgement: quality by cost, the curve of full training and where every policy lies to it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

from attent.judging.arms import CONTROL, POLICY
from attent.judging.judgement import Judgement
from attent.judging.metrics import lower_is_better
from attent.judging.verdict import percent
from attent.tables import quality

_WIDTH, _HEIGHT = 720, 440
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 30, 50, 50
_FULL, _TAUGHT, _GREY = "#555555", "#0b6e4f", "#bbbbbb"


def picture(found: Judgement) -> str | None:
    """Return an SVG of the main metric by cost in full epochs (logarithmic), better upwards. None without a curve.

    Left of the curve, or above it, is cheaper than full training. Dashed: the best at a cost or below, off which
    savings are read.
    """
    metric = found.metrics[0] if found.metrics else None
    if metric is None or metric not in found.curves:
        return None
    curve = found.curves[metric]
    rows = [row for row in found.rows if row.kind in (POLICY, CONTROL) and metric in row.quality]
    taught = [(row, row.costs["full_epochs"] or curve.costs[0], row.quality[metric]) for row in rows]
    costs = [*curve.costs, *(cost for _, cost, _ in taught)]
    levels = [*curve.measured, *curve.best, *(level for _, _, level in taught)]
    x, y = _scale([math.log(cost) for cost in costs]), _scale(levels)
    if lower_is_better(metric):
        y = (y[1], y[0])

    def at(cost: float, level: float) -> tuple[float, float]:
        return (
            _LEFT + (math.log(cost) - x[0]) / (x[1] - x[0]) * (_WIDTH - _LEFT - _RIGHT),
            _HEIGHT - _BOTTOM - (level - y[0]) / (y[1] - y[0]) * (_HEIGHT - _TOP - _BOTTOM),
        )

    parts = [_text(_LEFT, 24, f"{found.recipe}: {metric} by cost in full epochs, {len(found.seeds)} seeds", 15)]
    parts.append(f'<path d="M{_LEFT} {_TOP}V{_HEIGHT - _BOTTOM}H{_WIDTH - _RIGHT}" fill="none" stroke="{_GREY}"/>')
    floor = _HEIGHT - _BOTTOM + 20
    parts += [_text(at(cost, y[0])[0], floor, f"{cost:.3g}", anchor="middle") for cost in curve.costs]
    parts += [
        _text(_LEFT - 8, at(costs[0], level)[1] + 4, quality(level), anchor="end")
        for level in (min(levels), max(levels))
    ]
    parts.append(_line([at(*point) for point in zip(curve.costs, curve.measured, strict=True)], _FULL))
    parts.append(_line([at(*point) for point in zip(curve.costs, curve.best, strict=True)], _FULL, dashed=True))
    parts += [_dot(*at(*point), _FULL) for point in zip(curve.costs, curve.measured, strict=True)]
    end = at(curve.costs[-1], curve.measured[-1])
    parts.append(_text(end[0], end[1] - 10, "full training", anchor="middle"))
    labelled = -math.inf
    for row, cost, level in sorted(taught, key=lambda one: at(*one[1:])[1]):
        px, py = at(cost, level)
        saved = row.savings.get(metric, {}).get("full_epochs")
        told = row.arm if saved is None else f"{row.arm} {percent(saved)}"
        labelled = max(py + 4, labelled + 14)  # so that no two words lie on each other
        right = px > _WIDTH - 160
        parts += [
            _dot(px, py, _TAUGHT),
            _text(px - 8 if right else px + 8, labelled, told, anchor="end" if right else "start"),
        ]
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        *parts,
        "</svg>\n",
    ])  # fmt: skip


def _scale(values: Sequence[float]) -> tuple[float, float]:
    """Return the ends of an axis: those of the values and a tenth beyond."""
    low, high = min(values), max(values)
    margin = 0.1 * (high - low) or 1.0
    return low - margin, high + margin


def _line(points: Sequence[tuple[float, float]], colour: str, *, dashed: bool = False) -> str:
    path = "L".join(f"{px:.1f} {py:.1f}" for px, py in points)
    dashes = ' stroke-dasharray="4"' if dashed else ""
    return f'<path d="M{path}" fill="none" stroke="{colour}"{dashes}/>'


def _dot(px: float, py: float, colour: str) -> str:
    return f'<circle cx="{px:.1f}" cy="{py:.1f}" r="4" fill="{colour}"/>'


def _text(px: float, py: float, words: str, size: int = 12, anchor: str = "start") -> str:
    return f'<text x="{px:.1f}" y="{py:.1f}" font-size="{size}" text-anchor="{anchor}">{escape(words)}</text>'
