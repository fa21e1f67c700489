"""The judgement: its data, and from finished jobs to it by the curve of full training. Nothing is run here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from attent.judging.arms import CONTROL, FULL, POLICY, SHORT, Arm
from attent.judging.by_group import of_one_group
from attent.judging.curve import Estimate, Read, best_so_far, estimate, increasing, quality_at, resamples, saving
from attent.judging.jobs import JobResult
from attent.judging.metrics import lower_is_better
from attent.judging.tuning import Tuning
from attent.learner import Numbers
from attent.run.files import FORMAT, read_json
from attent.run.records import Seconds, scoring_over_training

FILE = "judge.json"
COSTS = ("full_epochs", "process_seconds", "wall_seconds")
PHASES = ("scoring", "selecting")  # what teaching takes beside training


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """Mean quality of full training by cost in full epochs: as measured, and the best at that cost or below.

    Short arms belong to it.
    """

    arms: list[str]
    costs: list[float]
    measured: list[float]
    best: list[float]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One arm: mean costs and qualities over the seeds, and for a policy what it saves.

    ``savings``: by metric, then by kind of cost. ``ahead``: by metric, quality beyond full training's at equal
    cost in full epochs, higher always better. ``ahead_of``: the same beyond each control's, by control and metric.
    ``worse``: the metrics in which ``ahead`` is surely below 0, those of single groups left out: of many one is by
    chance.
    ``share_of_seconds``: what scoring and selecting took of the seconds of all its runs.
    """

    arm: str
    kind: str
    costs: dict[str, float | None]
    quality: dict[str, float]
    savings: dict[str, dict[str, Estimate]] = {}
    ahead: dict[str, Estimate] = {}
    ahead_of: dict[str, dict[str, Estimate]] = {}
    worse: list[str] = []
    failures: list[str] = []
    share_of_seconds: dict[str, float] = {}


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """All that a judgement found. ``verdict`` is one sentence or two; ``pays`` names the arm that saves for certain.

    ``replayed``: how the share of the control `replay` was chosen, on a seed that is not judged.
    ``group_metrics``: quality by group (`attent.judging.by_group`). ``seeds`` are those of which every arm has
    finished; only they count. ``finished``: nothing asked for is missing.
    """

    format: int = FORMAT
    attent: str
    recipe: str
    backend: str | None
    options: dict[str, Any]
    n: int
    epochs: int
    batch_size: int
    metrics: list[str]
    group_metrics: list[str] = []
    seeds: list[int]
    seeds_wanted: int
    forward_share: float
    forward_share_measured: bool
    arms: list[Arm]
    alike: dict[str, str]
    left_out: list[str]
    tuning: Tuning | None
    replayed: Tuning | None = None
    curves: dict[str, Curve]
    rows: list[Row]
    verdict: str
    pays: str | None
    notes: list[str]
    finished: bool
    jobs: list[JobResult]
    versions: dict[str, str]
    machine: str

    def row(self, arm: str) -> Row:
        """Return the row of an arm."""
        return next(row for row in self.rows if row.arm == arm)

    def saving(self, arm: str, metric: str | None = None, cost: str = "full_epochs") -> Estimate:
        """Return what an arm saves by a metric (None: the main one) and a kind of cost."""
        return self.row(arm).savings[metric or self.metrics[0]][cost]


def read_judgement(folder: Path) -> Judgement | None:
    """Return the judgement that a folder keeps, None if it has none. Raises TraceError if it cannot be read."""
    return read_json(folder / FILE, Judgement, FORMAT)


def measured_forward_share(jobs: Sequence[JobResult]) -> float | None:
    """Return seconds of scoring an example over seconds of training on it, None if nothing was scored.

    Example:
        >>> from attent.judging.judgement import measured_forward_share
        >>> measured_forward_share([]) is None
        True
    """
    return scoring_over_training(job for job in jobs if job.failure is None)


def complete_seeds(jobs: Sequence[JobResult], arms: Sequence[str], alike: Mapping[str, str]) -> list[int]:
    """Return the seeds of which every arm, or the one that trains like it, has finished.

    Example:
        >>> from attent.judging.judgement import complete_seeds
        >>> complete_seeds([], ["full"], {})
        []
    """
    done = {(job.seed, job.arm) for job in jobs}
    seeds = sorted({job.seed for job in jobs})
    return [seed for seed in seeds if all((seed, alike.get(arm, arm)) in done for arm in arms)]


def rows_of(
    arms: Sequence[Arm],
    alike: Mapping[str, str],
    jobs: Sequence[JobResult],
    seeds: Sequence[int],
    metrics: Sequence[str],
    n: int,
    forward_share: float,
) -> tuple[list[Row], dict[str, Curve]]:
    """Return the row of every arm and the curve of every metric. Every arm must have finished for every seed.

    A metric without a single finite value is left out. A job that failed counts with the worst value that any
    job has.
    """
    found = {(job.arm, job.seed): job for job in jobs}
    of = {arm.name: [found[alike.get(arm.name, arm.name), seed] for seed in seeds] for arm in arms}
    draws = resamples(len(seeds))
    costs = {kind: {name: _costs(of[name], kind, n, forward_share) for name in of} for kind in COSTS}
    # Full training at a policy's cost is as good a point of the curve as any; a twin would be the same point again.
    full = sorted(
        (arm.name for arm in arms if arm.kind in (FULL, SHORT) and arm.name not in alike),
        key=lambda name: _mean(costs["full_epochs"][name]) or 0.0,
    )
    rows = {
        arm.name: Row(
            arm=arm.name,
            kind=arm.kind,
            costs={kind: _mean(costs[kind][arm.name]) for kind in COSTS},
            quality={},
            failures=[
                f"seed {job.seed}, epoch {job.failed_epoch}: {job.failure}" for job in of[arm.name] if job.failure
            ],
            share_of_seconds=_shares([job.seconds for job in of[arm.name]]),
        )
        for arm in arms
    }
    curves: dict[str, Curve] = {}
    controls = [arm.name for arm in arms if arm.kind == CONTROL]
    for metric in metrics:
        qualities = _qualities(of, metric)
        if qualities is None:
            continue
        sign = -1.0 if lower_is_better(metric) else 1.0
        resampled = {name: sign * values[draws].mean(1) for name, values in qualities.items()}
        for arm in arms:
            row = rows[arm.name]
            row.quality[metric] = float(qualities[arm.name].mean())
            for control in controls if arm.kind == POLICY else ():
                beyond = resampled[arm.name] - resampled[control]
                row.ahead_of.setdefault(control, {})[metric] = _exact(beyond, len(seeds))
        if not full:
            continue
        measured = np.stack([resampled[name] for name in full], -1)
        best = best_so_far(measured)
        for kind, by_arm in costs.items():
            drawn = {name: values[draws].mean(1) for name, values in by_arm.items() if values is not None}
            if any(name not in drawn for name in full):
                continue
            lengths = increasing(np.stack([drawn[name] for name in full], -1))
            if (lengths <= 0).any():  # a clock too coarse for jobs this short
                continue
            if kind == "full_epochs":
                curves[metric] = Curve(
                    arms=full,
                    costs=lengths[0].tolist(),
                    measured=(sign * measured[0]).tolist(),
                    best=(sign * best[0]).tolist(),
                )
            for arm in arms:
                name, row = arm.name, rows[arm.name]
                if arm.kind not in (POLICY, CONTROL) or name not in drawn:
                    continue
                read = saving(lengths, best, drawn[name], resampled[name])
                row.savings.setdefault(metric, {})[kind] = estimate(read, len(seeds))
                if kind == "full_epochs":
                    level = quality_at(lengths, measured, drawn[name])
                    ahead = Read(resampled[name] - level.value, -level.bound)
                    row.ahead[metric] = estimate(ahead, len(seeds))
    return [_with_worse(row) for row in rows.values()], curves


def _exact(values: Numbers, seeds: int) -> Estimate:
    return estimate(Read(values, np.zeros(values.shape, np.int8)), seeds)


def _shares(seconds: Sequence[Seconds]) -> dict[str, float]:
    total = sum(each.scoring + each.selecting + each.training for each in seconds)
    return {name: sum(getattr(each, name) for each in seconds) / total for name in PHASES} if total > 0 else {}


def _with_worse(row: Row) -> Row:
    worse = [name for name, ahead in row.ahead.items() if ahead.surely_below and not of_one_group(name)]
    return msgspec.structs.replace(row, worse=worse)


def _mean(values: Numbers | None) -> float | None:
    return None if values is None else float(values.mean())


def _costs(jobs: Sequence[JobResult], kind: str, n: int, forward_share: float) -> Numbers | None:
    if kind == "full_epochs":
        return np.array([job.full_epochs(n, forward_share) for job in jobs])
    values = [None if job.failure is not None else getattr(job, kind) for job in jobs]
    if any(value is None for value in values):
        return None
    return np.array(values, np.float64)


def _qualities(of: Mapping[str, Sequence[JobResult]], metric: str) -> dict[str, Numbers] | None:
    """Return each arm's values of a metric, by seed; what failed or is not finite gets the worst there is."""
    values = {name: [None if job.failure else job.quality.get(metric) for job in jobs] for name, jobs in of.items()}
    finite = [value for arm in values.values() for value in arm if value is not None]
    if not finite:
        return None
    worst = max(finite) if lower_is_better(metric) else min(finite)
    return {name: np.array([worst if v is None else v for v in arm], np.float64) for name, arm in values.items()}
