"""The tuning of the full-data baseline: a small grid, one seed that is judged nowhere, and what it cost."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from attent.checks import several, shown, whole
from attent.errors import PlanError
from attent.judging.jobs import JobResult
from attent.judging.metrics import better

BATCH_SIZE = "batch_size"
FURTHER = 3  # times that the grid tried by default goes on beyond its edge
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


def grid_of(tuned: bool, tune: object, batch_sizes: object) -> dict[str, list[Any]] | None:
    """Return the values to try by option, None where the recipe is tuned already; empty: the default grid.

    Raises PlanError for values that are no list, for an empty list, and where both are said.

    Example:
        >>> from attent.judging.tuning import grid_of
        >>> grid_of(False, {"lr": [0.1, 0.2]}, None)
        {'lr': [0.1, 0.2]}
    """
    if tuned and (tune is not None or batch_sizes is not None):
        raise PlanError("tuned says that no grid is run, and tune or batch_sizes names one: give one or the other")
    if tuned:
        return None
    if tune is not None and not isinstance(tune, Mapping):
        raise PlanError(f"must be a table such as {{'learning_rate': [1e-3, 2e-3]}}, got {shown(tune)}", field="tune")
    grid = {key: several(f"tune[{key!r}]", values, "[1e-3, 2e-3]") for key, values in (tune or {}).items()}
    if batch_sizes is not None:
        sizes = several("batch_sizes", batch_sizes, "[8, 16]")
        grid[BATCH_SIZE] = [whole("batch_sizes", size, 1) for size in sizes]
    for key, values in grid.items():
        if not values:
            raise PlanError(f"the grid of {key} must have at least one value, got none")
    return grid


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
    grid: Mapping[str, Sequence[Any]],
    metric: str,
    run: Callable[[int, Mapping[str, Any]], JobResult | None],
    *,
    further: int = 0,
) -> Tuning | None:
    """Run every point and return the best by the metric; None if it was stopped before its end.

    ``run`` is called with a point and its place. Of equals the first is chosen. A point that diverged loses to any
    other. Up to ``further`` times, while the best lies on the grid's edge, the point one step beyond it is run too.

    Example:
        >>> from attent.judging.jobs import JobResult
        >>> from attent.judging.tuning import tune
        >>> def run(place, point):
        ...     return JobResult(arm="", seed=0, plan={}, options={}, epochs=1, steps=1, examples_scored=0,
        ...         examples_trained=10, quality={"loss": abs(point["lr"] - 2)})
        >>> found = tune({"lr": [0.5, 1]}, "loss", run, further=3)
        >>> found.chosen, found.grid, found.edges
        ({'lr': 2}, {'lr': [0.5, 1, 2, 4]}, [])
    """
    tried = {name: list(values) for name, values in grid.items()}
    points: list[dict[str, Any]] = []
    jobs: list[JobResult] = []
    best, to_run = 0, points_of(tried)
    while to_run:
        for point in to_run:
            job = run(len(points), point)
            if job is None:
                return None
            points.append(point)
            jobs.append(job)
            if better(metric, _quality(job, metric), _quality(jobs[best], metric)):
                best = len(points) - 1
        to_run = _beyond(tried, points[best]) if further else []
        further -= 1
    return Tuning(
        grid=tried,
        metric=metric,
        points=points,
        jobs=jobs,
        chosen=points[best],
        edges=[
            f"{name} {points[best][name]} is the {'smallest' if step < 0 else 'largest'} tried"
            for name, step in _edges(tried, points[best])
        ],
    )


def _edges(tried: Mapping[str, Sequence[Any]], point: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Return the options in which a point is the smallest (-1) or the largest (1) of several numbers tried."""
    found = []
    for name, values in tried.items():
        if len(values) > 1 and _are_numbers(values) and point[name] in (min(values), max(values)):
            found.append((name, -1 if point[name] == min(values) else 1))
    return found


def _beyond(tried: dict[str, list[Any]], point: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the points one step beyond the edges that a point lies on, and note their values as tried."""
    found = []
    for name, step in _edges(tried, point):
        value = point[name] * 2 if step > 0 else point[name] // 2 if name == BATCH_SIZE else point[name] / 2
        if value > 0:
            tried[name] = sorted([*tried[name], value])
            found.append({**point, name: value})
    return found


def _are_numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _quality(job: JobResult, metric: str) -> float | None:
    return None if job.failure is not None else job.quality.get(metric)
