"""What a plan costs against training on all examples, and that training: in full, or for as long as a plan costs.

The last two are the controls of every comparison.
"""

from __future__ import annotations

import dataclasses
import warnings
from typing import NamedTuple

import numpy as np

from attent.choose.policies import Random
from attent.errors import CostWarning
from attent.learner import Numbers
from attent.plan.plan import Plan

ASSUMED_FORWARD_SHARE = 1 / 3


def full_plan(plan: Plan) -> Plan:
    """Return as many epochs on all examples, with the same batch size and seed.

    Example:
        >>> import attent
        >>> from attent.plan.cost import full_plan
        >>> full_plan(attent.Plan.default(epochs=4, batch_size=10)).cost(100).epochs
        4.0
    """
    return _epochs_on_all(plan, plan.full_epochs)


def short_plan(plan: Plan, n: int, forward_share: float) -> Plan:
    """Return the training on all n examples that costs what the plan costs, as long as its own schedule.

    Example:
        >>> import attent
        >>> from attent.plan.cost import short_plan
        >>> plan = attent.Plan(epochs=4, batch_size=10, ratio=0.5, warm_up=1)
        >>> [(row.k, row.steps) for row in short_plan(plan, 100, 1 / 3).timeline(100)]
        [(100, 10), (100, 10), (50, 5)]
    """
    cost = plan.cost(n, forward_share)
    return on_all(plan, n, cost.examples_trained + cost.examples_scored * forward_share)


def on_all(plan: Plan, n: int, examples: float) -> Plan:
    """Return the training on all n examples, with the plan's batch size and seed, that trains so many in all.

    Whole epochs first; what remains is a last epoch on that share of the examples, drawn at random. Less than
    half a batch is left out, since a step on a few examples is mostly noise; so the costs differ by less than
    half a batch. A recipe gives this plan a complete learning-rate schedule of its own.

    Example:
        >>> import attent
        >>> from attent.plan.cost import on_all
        >>> [row.k for row in on_all(attent.Plan.full(epochs=9, batch_size=10), 100, 230).timeline(100)]
        [100, 100, 30]
    """
    epochs, rest = divmod(max(1, round(examples)), n)
    if epochs and rest < min(plan.batch_size, n) / 2:
        return _epochs_on_all(plan, epochs)
    return dataclasses.replace(_epochs_on_all(plan, epochs + 1), warm_up=epochs, ratio=rest / n, select=Random())


def same_training(one: Plan, other: Plan, n: int) -> bool:
    """Return whether two plans train alike: equal, or both on all examples throughout.

    Example:
        >>> import attent
        >>> from attent.plan.cost import full_plan, same_training
        >>> plan = attent.Plan(epochs=4, batch_size=10, ratio=1.0)
        >>> same_training(plan, full_plan(plan), 100)
        True
    """
    if one == other:
        return True
    same = ("epochs", "batch_size", "seed", "bucket")
    alike = all(getattr(one, name) == getattr(other, name) for name in same)
    return alike and all(row.k == n for plan in (one, other) for row in plan.timeline(n))


def _epochs_on_all(plan: Plan, epochs: int) -> Plan:
    everything = Plan.full(epochs=epochs, batch_size=plan.batch_size, seed=plan.seed)
    return dataclasses.replace(everything, non_finite=plan.non_finite, bucket=plan.bucket)


class InUnit(NamedTuple):
    """A cost in the learner's unit, such as tokens: ``about``, if examples cost as the others do; and its ends.

    ``least`` and ``most`` hold whatever is chosen.
    """

    least: float
    about: float
    most: float


def cost_in_unit(plan: Plan, costs: Numbers, forward_share: float = ASSUMED_FORWARD_SHARE) -> tuple[InUnit, InUnit]:
    """Return what a plan costs, and the longest epoch or pass for which it chooses, zeros where it never does.

    costs: of each example, float64, shape (n,), as a learner's ``costs()``. An example that is scored counts
    ``forward_share`` of its cost; which ones are is not known where not all are, so these count at their mean.

    Example:
        >>> import numpy as np, attent
        >>> from attent.plan.cost import cost_in_unit
        >>> cost_in_unit(attent.Plan.auto(epochs=3, batch_size=10), np.repeat([1.0, 3.0], 150))
        (InUnit(least=1200.0, about=1800.0, most=2400.0), InUnit(least=100.0, about=200.0, most=300.0))
    """
    n, mean = len(costs), float(costs.mean())
    cheapest_first = np.concatenate([np.zeros(1), np.cumsum(np.sort(costs))])
    of_all = float(cheapest_first[-1])
    rows = plan.timeline(n)

    def taught(k: int) -> InUnit:
        return InUnit(float(cheapest_first[k]), k * mean, of_all - float(cheapest_first[n - k]))

    passes = [taught(row.k) for row in rows]
    longest = max((row.k for row in rows if row.select), default=0)
    scored = forward_share * mean * sum(row.scored for row in rows)
    whole = InUnit(*(sum(ends) + scored for ends in zip(*passes, strict=True)))
    return whole, taught(longest)


def warn_if_losing(plan: Plan, n: int) -> None:
    """Warn (CostWarning) where a plan is predicted to cost more than training on all n examples.

    Example:
        >>> import warnings, attent
        >>> from attent.plan.cost import warn_if_losing
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     warn_if_losing(attent.Plan(epochs=3, batch_size=8, ratio=0.8, source="fresh"), 40)
        >>> str(caught[0].message).split(",")[0]
        'this plan costs 3.40 epochs on all examples'
    """
    cost = plan.cost(n, ASSUMED_FORWARD_SHARE)
    if cost.examples_scored and cost.saving < 0:
        warnings.warn(
            f"this plan costs {cost.epochs:.2f} epochs on all examples, more than the {plan.full_epochs} of training "
            f"on all of them, if scoring an example costs {ASSUMED_FORWARD_SHARE:.2f} of training on it (attent judge "
            "measures it). Lower ratio, or take source=Reuse(), which scores nothing",
            CostWarning,
            stacklevel=3,
        )
