"""The tuning of the full-data baseline: a small grid, one seed that is judged nowhere, and what it cost."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from attent.judging.jobs import JobResult
from attent.metrics import better

BATCH_SIZE = "batch_size"
SEED_DISTANCE = 1_000_000  # from the first judged seed to the one tuned on


class Tuning(msgspec.Struct, frozen=True, kw_only=True):
    """The grid by option (``batch_size`` among them), a job per point in its order, and the point chosen."""

    grid: dict[str, list[Any]]
    metric: str
    points: list[dict[str, Any]]
    jobs: list[JobResult]
    chosen: dict[str, Any]
    edges: list[str]


def points_of(grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return the points of a grid, the last option's values changing first.

    Example:
        >>> from attent.judging.tuning import points_of
        >>> points_of({"learning_rate": [1, 2], "batch_size": [8]})
        [{'learning_rate': 1, 'batch_size': 8}, {'learning_rate': 2, 'batch_size': 8}]
    """
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def default_grid(
    defaults: Mapping[str, Any], batch_size: int, n: int, options: Mapping[str, Any]
) -> dict[str, list[Any]]:
    """Return the grid tried where none is given: half, once and twice the learning rate; half and the whole batch.

    ``defaults``: the recipe's options and their defaults; ``options``: those that are given, which stay.

    Example:
        >>> from attent.judging.tuning import default_grid
        >>> default_grid({"learning_rate": 0.01, "depth": 2}, 32, 1000, {})
        {'learning_rate': [0.005, 0.01, 0.02], 'batch_size': [16, 32]}
    """
    grid: dict[str, list[Any]] = {}
    for name in ("learning_rate", "lr"):
        rate = options.get(name, defaults.get(name))
        if isinstance(rate, int | float) and not isinstance(rate, bool) and rate > 0:
            grid[name] = [rate / 2, rate, rate * 2]
            break
    grid[BATCH_SIZE] = [batch_size // 2, batch_size] if batch_size > 1 else [batch_size]
    return grid


def tune(
    grid: Mapping[str, Sequence[Any]], metric: str, run: Callable[[Mapping[str, Any]], JobResult | None]
) -> Tuning | None:
    """Run every point and return the best by the metric; None if it was stopped before its end.

    Of equals the first is chosen. A point that diverged loses to any other.

    Example:
        >>> from attent.judging.jobs import JobResult
        >>> from attent.judging.tuning import tune
        >>> def run(point):
        ...     return JobResult(arm="", seed=0, plan={}, options={}, epochs=1, steps=1, examples_scored=0,
        ...         examples_trained=10, quality={"loss": abs(point["lr"] - 2)})
        >>> found = tune({"lr": [1, 2, 4]}, "loss", run)
        >>> found.chosen, found.edges
        ({'lr': 2}, [])
    """
    points, jobs = points_of(grid), []
    for point in points:
        job = run(point)
        if job is None:
            return None
        jobs.append(job)
    best = 0
    for place, job in enumerate(jobs):
        if better(metric, _quality(job, metric), _quality(jobs[best], metric)):
            best = place
    chosen = points[best]
    edges = [
        f"{name} {chosen[name]} is the {'smallest' if chosen[name] == values[0] else 'largest'} tried"
        for name, values in ((name, sorted(values)) for name, values in grid.items() if _are_numbers(values))
        if len(values) > 1 and chosen[name] in (values[0], values[-1])
    ]
    return Tuning(
        grid={name: list(values) for name, values in grid.items()},
        metric=metric,
        points=points,
        jobs=jobs,
        chosen=chosen,
        edges=edges,
    )


def _are_numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _quality(job: JobResult, metric: str) -> float | None:
    return None if job.failure is not None else job.quality.get(metric)
