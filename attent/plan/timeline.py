"""The timeline of a plan: its rounds, one row per epoch, and what they cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Literal, NamedTuple

import numpy as np

from attent import checks
from attent.choose.rules import count
from attent.choose.sources import Scored
from attent.errors import PlanError
from attent.plan.schedules import Schedule

MOST_FORWARD_SHARE = 1e6  # measured values are below 1; with far more a run's cost is no number
Phase = Literal["warm-up", "taught", "full", "cool-down"]


class Round(NamedTuple):
    """One selection and how long it lasts."""

    first_epoch: int
    ratio: float
    taught: int  # epochs on the selection
    full: int  # epochs on all examples after them


class Epoch(NamedTuple):
    """One row of the timeline."""

    epoch: int
    phase: Phase
    round: int | None
    ratio: float
    k: int
    score: bool
    select: bool
    steps: int
    batch_size: int
    scored: int  # examples
    shuffle: int  # the epoch whose noise orders it: its own, or the full epoch that it is a part of


class Cost(NamedTuple):
    """What a run costs. ``epochs`` is in full epochs, ``saving`` the share saved against training on all."""

    examples_scored: int
    examples_trained: int
    epochs: float
    saving: float


def rounds_of(
    first_epoch: int, epochs: int, ratio: Schedule, interval: Schedule, cycle: int | None
) -> tuple[Round, ...]:
    """Return the rounds that fill ``epochs`` epochs from ``first_epoch`` on.

    With a cycle of C rounds the interval's progress in round c is c / (C - 1), as the ratio's always is
    (1 if C = 1); without one it is the share of taught epochs gone by. Intervals are rounded half up and
    end with their cycle and with the taught epochs. Raises PlanError for a value a schedule may not give.
    """
    lengths: list[tuple[int, int]] = []
    cycles = math.ceil(epochs / cycle) if cycle else 0
    start = 0
    while start < epochs:
        progress = _share(len(lengths), cycles) if cycle else (start / (epochs - 1) if epochs > 1 else 0.0)
        whole = min(cycle or epochs, epochs - start)
        taught = min(_interval(interval, progress), whole)
        lengths.append((taught, whole - taught if cycle else 0))
        start += sum(lengths[-1])
    rounds = []
    start = first_epoch
    for number, (taught, full) in enumerate(lengths):
        rounds.append(Round(start, _ratio(ratio, _share(number, len(lengths))), taught, full))
        start += taught + full
    return tuple(rounds)


def lay_out(
    rounds: Sequence[Round],
    *,
    epochs: int,
    warm_up: int,
    n: int,
    batch_size: int,
    reselect: bool,
    scored: Scored,
    parts: int | None = None,
    cut: tuple[float, float] | None = None,
) -> tuple[Epoch, ...]:
    """Return one row per epoch for n examples.

    Nothing is scored or selected where all n are taught. Reused scores need one scoring pass if the
    first selection comes before any training. ``parts``: so many rounds are an epoch on all examples, cut between
    batches, so that together they take its very steps. ``cut``: the first two rounds are one of this ratio, and one of
    these parts, of which the first takes this share; None: none is cut in two.
    """
    if n < 1:
        raise PlanError(f"n must be at least 1, got {n}: there is nothing to teach")
    rows: list[Epoch] = []
    full_steps = math.ceil(n / batch_size)
    ends: list[list[int]] = []  # of the parts of the first such epoch, and of each other
    look = Fraction(1 if cut is None else cut[1]).limit_denominator(100)
    if parts is not None and (parts + (cut is not None)) * batch_size <= n:
        whole = [Fraction(part, parts) for part in range(1, parts)]
        begun = [] if cut is None else [look / parts]
        ends = [_cuts(n, [*begun, *whole], batch_size), _cuts(n, whole, batch_size)]

    def shuffle() -> int:
        return rows[-1].shuffle + 1 if rows else 0

    def everything(phase: Phase, times: int, number: int | None = None) -> None:
        for _ in range(times):
            rows.append(Epoch(len(rows), phase, number, 1.0, n, False, False, full_steps, batch_size, 0, shuffle()))

    everything("warm-up", warm_up)
    for number, (_, ratio, taught, full) in enumerate(rounds):
        part, k = 0, count(ratio, n)
        if ends:
            later = number - (len(ends[0]) - 1)
            cuts, part = (ends[0], number) if later < 0 else (ends[1], later % (len(ends[1]) - 1))
            k = cuts[part + 1] - cuts[part]
        elif cut is not None and number < 2:  # of the ratio as it is written: a third of it is no decimal
            exact = Fraction(repr(float(cut[0]))) * (1 - look if number else look)
            k = max(1, math.floor(exact * n + Fraction(1, 2)))
        for epoch in range(taught):
            select = k < n and (epoch == 0 or reselect)
            many = (scored.others if rows else scored.first) if select else 0
            steps = math.ceil(k / batch_size)
            of = rows[-1].shuffle if part else shuffle()
            rows.append(Epoch(len(rows), "taught", number, ratio, k, many > 0, select, steps, batch_size, many, of))
        everything("full", full, number)
    everything("cool-down", epochs - len(rows))
    return tuple(rows)


def _cuts(n: int, shares: Sequence[Fraction], batch_size: int) -> list[int]:
    """Return where an epoch on n examples is cut: between batches, as near to these shares of it as they allow."""
    batches = [0]
    for share in shares:
        batches.append(max(batches[-1] + 1, math.floor(share * n / batch_size + Fraction(1, 2))))
    return [*(number * batch_size for number in batches), n]


def cost_of(rows: Sequence[Epoch], n: int, forward_share: float, full_epochs: int) -> Cost:
    """Return the cost of a timeline over n examples, a scored example costing ``forward_share`` of a trained one."""
    forward_share = checks.number("forward_share", forward_share, 0, MOST_FORWARD_SHARE)
    scored = sum(row.scored for row in rows)
    trained = sum(row.k for row in rows)
    epochs = (trained + scored * forward_share) / n
    return Cost(scored, trained, epochs, 1 - epochs / full_epochs)


def epoch_ends(rows: Sequence[Epoch], epochs: int) -> list[int]:
    """Return the passes before which a trainer's epochs end: each costs as nearly the same as whole passes allow.

    ``epochs`` is what the plan stands for, ``plan.full_epochs``. A pass is an epoch but in an adaptive plan.

    Example:
        >>> import attent
        >>> from attent.plan.timeline import epoch_ends
        >>> rows = attent.Plan.auto(epochs=3, batch_size=10).timeline(100)
        >>> [row.k for row in rows], epoch_ends(rows, 3)
        ([100, 10, 20, 40, 30, 30, 40, 30], [1, 5, 8])
    """
    spent = np.cumsum([row.k for row in rows])
    if epochs == len(rows):
        return list(range(1, epochs + 1))
    ends = [1 + int(np.argmin(np.abs(spent - spent[-1] * epoch / epochs))) for epoch in range(1, epochs + 1)]
    return sorted({*ends, len(rows)})


def smallest_batch(rows: Sequence[Epoch]) -> tuple[int, Epoch]:
    """Return the size of a run's smallest batch, which is the last of its epoch, and the first such epoch's row.

    Example:
        >>> import attent
        >>> from attent.plan.timeline import smallest_batch
        >>> smallest_batch(attent.Plan.full(epochs=2, batch_size=20).timeline(81))[0]
        1
    """
    return min(((row.k % row.batch_size or row.batch_size, row) for row in rows), key=lambda pair: pair[0])


def _share(number: int, of: int) -> float:
    return number / (of - 1) if of > 1 else 1.0


def _ratio(schedule: Schedule, progress: float) -> float:
    ratio = schedule(progress)
    if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 0 < ratio <= 1:
        raise PlanError(
            f"must be in (0, 1], got {checks.shown(ratio)} from {schedule!r} at progress {progress:g}", field="ratio"
        )
    return float(ratio)


def _interval(schedule: Schedule, progress: float) -> int:
    epochs = schedule(progress)
    if isinstance(epochs, bool) or not isinstance(epochs, int | float) or not 1 <= epochs < math.inf:
        raise PlanError(
            f"must be at least 1 epoch, got {checks.shown(epochs)} from {schedule!r} at progress {progress:g}",
            field="interval",
        )
    return math.floor(epochs + 0.5)
