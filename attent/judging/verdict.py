"""What a judgement says in a sentence or two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attent.judging.bootstrap import Estimate
from attent.judging.judgement import Curve, Row
from attent.judging.policies import POLICY

LEAST_SEEDS = 5  # with fewer an interval is too narrow to be called certain


def best_of(rows: Sequence[Row], metric: str) -> Row | None:
    """Return the policy that saves most: among those worse in no metric, if any is; by the interval's low end."""
    policies = [row for row in rows if row.kind == POLICY and metric in row.savings]

    def merit(row: Row) -> tuple[bool, bool, float, float]:
        found = row.savings[metric]["full_epochs"]
        low = found.value if found.low is None else found.low
        return found.surely_above and not row.worse, found.surely_above, low, found.value

    return max(policies, key=merit, default=None)


def verdict(
    recipe: str,
    rows: Sequence[Row],
    curves: Mapping[str, Curve],
    metrics: Sequence[str],
    seeds: int,
    doubts: Sequence[str] = (),
) -> tuple[str, str | None]:
    """Return whether teaching pays and with what certainty, and the name of the arm that does for certain.

    ``doubts``: sentences about what was compared, said after what was found.
    """
    said, pays = _found(recipe, rows, curves, metrics, seeds)
    return " ".join([said, *doubts]), pays


def _found(
    recipe: str, rows: Sequence[Row], curves: Mapping[str, Curve], metrics: Sequence[str], seeds: int
) -> tuple[str, str | None]:
    if not seeds:
        return "Nothing can be concluded: there is no seed of which every arm has finished.", None
    main = metrics[0]
    if main not in curves:
        return (
            f"Nothing can be concluded: the main metric, {main}, is missing or not finite in every run. "
            "Has the held-out data more than one class?"
        ), None
    curve = curves[main]
    failed = [row.arm for row in rows if row.kind != POLICY and row.failures]
    if curve.best[0] == curve.best[-1]:
        if failed:
            return f"Nothing can be concluded: runs of {', '.join(failed)} failed, which the curve needs.", None
        return (
            f"Nothing can be concluded: full training does not get better between {curve.costs[0]:.2f} and "
            f"{curve.costs[-1]:.2f} epochs ({main} {curve.best[0]:.4g} at once), so no saving can be read off. "
            "Try shorter lengths, or fewer epochs."
        ), None
    best = best_of(rows, main)
    if best is None:
        return "Nothing can be concluded: no policy has finished.", None
    found = best.savings[main]["full_epochs"]
    certain = certainty(found, seeds)
    policies = sum(row.kind == POLICY for row in rows)
    among = f", the best of {policies} policies," if policies > 1 else ""
    if not found.surely_above:
        if seeds < 2:
            return (
                f"On {recipe}, {best.arm}{among} saves {percent(found)} with a single seed, which proves nothing: "
                "an interval needs at least 2."
            ), None
        return (
            f"On {recipe}, no policy saves with certainty: the best is {best.arm}, {percent(found)} ({certain}). "
            "Train on all data."
        ), None
    cost, reached = best.costs["full_epochs"] or 0.0, "at least " if found.bound > 0 else ""
    sentence = (
        f"On {recipe}, {best.arm}{among} reaches in {cost:.2f} full epochs the {main} of "
        f"{reached}{cost / (1 - found.value):.2f}: it saves {percent(found)} ({certain})."
    )
    if failed:
        return (
            f"{sentence} But runs of {', '.join(failed)} failed: against training that fails nothing is proved.",
            None,
        )
    if seeds < LEAST_SEEDS:
        return f"{sentence} That is no proof yet: certainty needs at least {LEAST_SEEDS} seeds.", None
    others = [name for name in best.worse if name != main]
    if others:
        return f"{sentence} But at that cost full training is better by {', '.join(others)}: no clear win.", None
    if len(metrics) > 1:
        sentence += " No other metric is surely worse."
    by_time = best.savings[main].get("process_seconds")
    if by_time is not None and not by_time.surely_above:
        sentence += f" By process time it is less certain: {percent(by_time)} ({interval(by_time)})."
    return sentence, best.arm


def certainty(found: Estimate, seeds: int) -> str:
    """Return the interval in words.

    Example:
        >>> from attent.judging.bootstrap import Estimate
        >>> from attent.judging.verdict import certainty
        >>> certainty(Estimate(value=0.22, low=0.15, high=0.28, high_open=True), 5)
        '95 %: 15 to >= 28, 5 seeds'
    """
    if found.low is None or found.high is None:
        return "1 seed, no interval"
    return f"95 %: {interval(found)}, {seeds} seeds"


def interval(found: Estimate) -> str:
    """Return the interval's ends in percent, an open one as a bound."""
    if found.low is None or found.high is None:
        return ""
    low = f"{'<= ' * found.low_open}{round(100 * found.low)}"
    return f"{low} to {'>= ' * found.high_open}{round(100 * found.high)}"


def percent(found: Estimate) -> str:
    """Return a saving in percent, a bound as one.

    Example:
        >>> from attent.judging.bootstrap import Estimate
        >>> from attent.judging.verdict import percent
        >>> percent(Estimate(value=0.23, bound=1)), percent(Estimate(value=-0.05, bound=-1))
        ('>= 23 %', '<= -5 %')
    """
    return f"{('<= ', '', '>= ')[found.bound + 1]}{round(100 * found.value)} %"
