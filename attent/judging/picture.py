"""A picture of a judgement: quality by cost, the curve of full training and where every arm lies to it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

from attent.judging.arms import CONTROL, POLICY
from attent.judging.judgement import Curve, Judgement, Row
from attent.judging.metrics import lower_is_better
from attent.judging.verdict import percent
from attent.tables import quality

_WIDTH, _HEIGHT = 760, 480
_LEFT, _RIGHT, _TOP, _BOTTOM = 84, 40, 64, 64
_LINE = 14  # between two labels
_BESIDE = 12  # between two arms of one cost
# On a light background and on a dark one; a viewer's setting decides.
_COLOURS = {
    "back": ("#ffffff", "#0d1117"),
    "ink": ("#1f2328", "#e6edf3"),
    "axis": ("#8c959f", "#6e7681"),
    "grid": ("#e6e8eb", "#21262d"),
    "full": ("#555555", "#b1bac4"),
    "policy": ("#0b6e4f", "#3fb68b"),
    "control": ("#9a5b00", "#e3a340"),
}

_LEGEND = (
    (90, "full training", "full"),
    (60, "policies", POLICY),
    (202, "controls, which look at no loss", CONTROL),
    (0, "beside a name: of full training's cost it saves", ""),
)  # how wide, the words, their kind


class _Mark(NamedTuple):
    """An arm's place: cost, level, the ends of its interval at that cost, and what is written beside it."""

    kind: str
    cost: float
    level: float
    ends: tuple[float, float] | None
    label: str


def picture(found: Judgement) -> str | None:
    """Return an SVG of the main metric by cost in full epochs (logarithmic), better upwards. None without a curve.

    Left of the curve, or above it, is cheaper than full training. Dashed: the best at a cost or below, off which
    savings are read. A bar is the 95 % interval of an arm's difference to full training at equal cost, drawn from the
    curve: where it crosses the curve, the two may be alike. An arm far off lies on the edge, with its value.
    """
    metric = found.metrics[0] if found.metrics else None
    if metric is None or metric not in found.curves:
        return None
    curve = found.curves[metric]
    marks = [_mark(row, metric, curve) for row in found.rows if row.kind in (POLICY, CONTROL) and metric in row.quality]
    x = _scale([math.log(cost) for cost in (*curve.costs, *(mark.cost for mark in marks))])
    y = _reach(curve, marks)
    up = -1 if lower_is_better(metric) else 1

    def at(cost: float, level: float) -> tuple[float, float]:
        share = (min(max(level, y[0]), y[1]) - y[0]) / (y[1] - y[0])
        return (
            _LEFT + (math.log(cost) - x[0]) / (x[1] - x[0]) * (_WIDTH - _LEFT - _RIGHT),
            (_HEIGHT - _BOTTOM - share * _tall()) if up > 0 else (_TOP + share * _tall()),
        )

    seeds = f"{len(found.seeds)} seed{'s' * (len(found.seeds) != 1)}"
    parts = [_text(_LEFT, 26, f"{found.recipe}: {metric} by cost, {seeds}, 95 % intervals", 15)]
    there, far = {"full", "", *(mark.kind for mark in marks)}, _LEFT
    for wide, words, kind in _LEGEND:
        if kind in there:
            parts.append(_text(far, 46, words, kind=kind))
            far += wide
    for level in _ticks(*y):
        height = at(curve.costs[0], level)[1]
        parts.append(f'<path class="grid" d="M{_LEFT} {height:.1f}H{_WIDTH - _RIGHT}"/>')
        parts.append(_text(_LEFT - 8, height + 4, f"{level:.6g}", anchor="end"))
    parts.append(f'<path class="axis" d="M{_LEFT} {_TOP}V{_HEIGHT - _BOTTOM}H{_WIDTH - _RIGHT}"/>')
    parts += _costs(curve, at)
    better = "lower" if up < 0 else "higher"
    counted = ", by their costs" if any(job.cost_of_all is not None for job in found.jobs) else ""
    cost = f"cost: epochs on all {found.n:,} examples{counted}, logarithmic"
    parts.append(_text(_WIDTH / 2, _HEIGHT - 14, cost, anchor="middle"))
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    parts.append(_text(20, middle, f"{metric}, {better} is better", anchor="middle", turned=True))
    for levels, dashed in ((curve.measured, False), (curve.best, True)):
        parts.append(_line([at(*point) for point in zip(curve.costs, levels, strict=True)], dashed=dashed))
    full = [at(*point) for point in zip(curve.costs, curve.measured, strict=True)]
    parts += [_dot(*point, "full") for point in full]
    places = _side_by_side([at(mark.cost, mark.level) for mark in marks])
    names = [(*point, point[0], name, "full") for point, name in zip(full, curve.arms, strict=True)]
    for mark, (px, py, right) in zip(marks, places, strict=True):
        if mark.ends is not None:
            ends = [at(mark.cost, end)[1] for end in mark.ends]
            bar = f"M{px:.1f} {ends[0]:.1f}V{ends[1]:.1f}" + "".join(f"M{px - 4:.1f} {end:.1f}h8" for end in ends)
            parts.append(f'<path class="{mark.kind}" d="{bar}"/>')
        parts.append(_dot(px, py, mark.kind))
        off = "" if y[0] <= mark.level <= y[1] else f", at {quality(mark.level)}: off the picture"
        names.append((px, py, right, mark.label + off, mark.kind))
    placed = _placed(names)
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif">',
        _style(),
        f'<rect class="back" width="{_WIDTH}" height="{_HEIGHT}"/>',
        *parts,
        *placed,
        "</svg>\n",
    ])  # fmt: skip


def _mark(row: Row, metric: str, curve: Curve) -> _Mark:
    level, ahead = row.quality[metric], row.ahead.get(metric)
    ends = None
    if ahead is not None and ahead.low is not None and ahead.high is not None:
        sign = -1 if lower_is_better(metric) else 1
        own = level - sign * ahead.value  # of full training at this cost
        ends = own + sign * ahead.low, own + sign * ahead.high
    saved = row.savings.get(metric, {}).get("full_epochs")
    label = row.arm if saved is None else f"{row.arm} {percent(saved)}"
    return _Mark(row.kind, row.costs["full_epochs"] or curve.costs[0], level, ends, label)


def _reach(curve: Curve, marks: Sequence[_Mark]) -> tuple[float, float]:
    """Return the ends of the axis of quality: those of the curve and of arms no further from it than it is tall."""
    levels = [*curve.measured, *curve.best]
    low, high = min(levels), max(levels)
    tall = (high - low) or abs(high) or 1.0
    near = [mark for mark in marks if low - tall <= mark.level <= high + tall]
    ends = [end for mark in near for end in mark.ends or () if low - tall <= end <= high + tall]
    return _scale([*levels, *(mark.level for mark in near), *ends])


def _costs(curve: Curve, at: object) -> list[str]:
    parts, right = [], -math.inf
    for cost in curve.costs:
        px = at(cost, 0.0)[0]  # type: ignore[operator]
        parts.append(f'<path class="axis" d="M{px:.1f} {_HEIGHT - _BOTTOM}v5"/>')
        if px - right >= 34:  # so that no two numbers lie on each other
            parts.append(_text(px, _HEIGHT - _BOTTOM + 20, f"{cost:.3g}", anchor="middle"))
            right = px
    return parts


def _side_by_side(points: Sequence[tuple[float, float]]) -> list[tuple[float, float, float]]:
    """Return points of arms, those of nearly one cost side by side, and how far right those of that cost reach."""
    order = sorted(range(len(points)), key=lambda place: points[place])
    found: list[tuple[float, float, float]] = [(0.0, 0.0, 0.0)] * len(points)
    while order:
        near = [place for place in order if points[place][0] - points[order[0]][0] < _BESIDE]
        order = order[len(near) :]
        first = points[near[0]][0]
        for number, place in enumerate(near):
            found[place] = first + number * _BESIDE, points[place][1], first + (len(near) - 1) * _BESIDE
    return found


def _placed(words: Sequence[tuple[float, float, float, str, str]]) -> list[str]:
    """Return labels right of their points (left, where there is no room), moved down where two would overlap.

    words: of each the point, how far right what stands beside it reaches, the text and the kind. A line leads from the
    point to a label that stands away from it.
    """
    parts: list[str] = []
    taken: list[tuple[float, float, float]] = []  # left, right, height
    for px, py, reach, word, kind in sorted(words, key=lambda one: one[1]):
        wide = 6.6 * len(word) + 10
        before = reach + wide > _WIDTH - 4
        edge = px - 8 if before else reach + 8
        left, right = (edge - wide, edge) if before else (edge, edge + wide)
        height = min(py + 4, _HEIGHT - _BOTTOM - 6)  # above the axis
        while any(left < end and start < right and abs(height - other) < _LINE for start, end, other in taken):
            height += 1
        taken.append((left, right, height))
        if reach > px or height > py + 10:
            parts.append(
                f'<path class="axis" stroke-width=".6" d="M{px:.1f} {py:.1f}L{edge - 2:.1f} {height - 4:.1f}"/>'
            )
        parts.append(_text(edge, height, word, anchor="end" if before else "start", kind=kind))
    return parts


def _style() -> str:
    def rules(which: int) -> str:
        colour = {name: both[which] for name, both in _COLOURS.items()}
        kinds = "".join(
            f"path.{name}{{stroke:{colour[name]}}}circle.{name},text.{name}{{fill:{colour[name]}}}"
            for name in ("axis", "grid", "full", "policy", "control")
        )
        return f".back{{fill:{colour['back']}}}text{{fill:{colour['ink']};stroke:{colour['back']}}}{kinds}"

    both = f"path{{fill:none}}text{{paint-order:stroke;stroke-width:3}}{rules(0)}"
    return f"<style>{both}@media (prefers-color-scheme:dark){{{rules(1)}}}</style>"


def _tall() -> int:
    return _HEIGHT - _TOP - _BOTTOM


def _scale(values: Sequence[float]) -> tuple[float, float]:
    """Return the ends of an axis: those of the values and a tenth beyond."""
    low, high = min(values), max(values)
    margin = 0.1 * (high - low) or 1.0
    return low - margin, high + margin


def _ticks(low: float, high: float) -> list[float]:
    """Return four to nine round numbers within an axis."""
    rough = (high - low) / 5
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * each for each in (1, 2, 5, 10) if unit * each >= rough)
    first = math.ceil(low / step)
    return [number * step for number in range(first, math.floor(high / step) + 1)]


def _line(points: Sequence[tuple[float, float]], *, dashed: bool) -> str:
    path = "L".join(f"{px:.1f} {py:.1f}" for px, py in points)
    return f'<path class="full" d="M{path}"{" stroke-dasharray=" + chr(34) + "4" + chr(34) if dashed else ""}/>'


def _dot(px: float, py: float, kind: str) -> str:
    return f'<circle class="{kind}" cx="{px:.1f}" cy="{py:.1f}" r="4"/>'


def _text(
    px: float, py: float, words: str, size: int = 12, anchor: str = "start", *, kind: str = "", turned: bool = False
) -> str:
    place = f'x="{px:.1f}" y="{py:.1f}"' + (f' transform="rotate(-90 {px:.1f} {py:.1f})"' if turned else "")
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} {place} font-size="{size}" text-anchor="{anchor}">{escape(words)}</text>'
