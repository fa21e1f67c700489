"""What a course is given from outside: a reference model's scores, those of an earlier run, groups and costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from attent.checks import shown
from attent.choose.policy import asks, may_go_by_groups
from attent.choose.scores import checked_reference
from attent.choose.sources import Replay, share_of
from attent.errors import LearnerError, PlanError
from attent.learner import Ids, Numbers, checked_costs, checked_numbers
from attent.plan.plan import Plan
from attent.run.records import digest_of_numbers


def checked_given(
    plan: Plan,
    n: int,
    reference: Numbers | None,
    replay: Mapping[int, Numbers] | None,
    groups: Ids | None = None,
    costs: Numbers | None = None,
) -> str | None:
    """Return the digest of what is given, None where nothing is, so that a run goes on with what it began with.

    reference: float64, shape (n,). replay: by draw, float64, shape (n,) each, for a plan with ``source=Replay()``.
    groups: int64, shape (n,), at least 0, for a policy that goes by groups. costs: float64, shape (n,), above 0; they
    count in the digest where the policy asks for costs, or the plan has a bucket. Raises PlanError where they do not
    belong to the plan, ScoreError or LearnerError where they are not such arrays.

    Example:
        >>> import attent, numpy as np
        >>> from attent.run.given_scores import checked_given
        >>> checked_given(attent.Plan.default(epochs=3, batch_size=1), 2, np.zeros(2), None)[:12]
        '374708fff771'
    """
    if isinstance(plan.source, Replay) != (replay is not None):
        raise PlanError(
            "replay gives the scores of an earlier run to a plan with source=Replay(), and only to one; "
            f"got source={plan.source!r} with{'out' if replay is None else ''} replay"
        )
    parts: list[Numbers] = []
    if replay is not None:
        if reference is not None:
            raise PlanError(
                "a trace keeps the numbers that were ranked, any reference subtracted: replay it without one"
            )
        draws = range(sum(row.select for row in plan.timeline(n)))
        missing = [draw for draw in draws if draw not in replay]
        if missing:
            raise PlanError(f"replay must hold the scores of every draw of the plan, draw {missing[0]} is missing")
        parts += [np.empty(0), *(checked_numbers(replay[draw], n, f"replay[{draw}]") for draw in draws)]
    if reference is not None:
        parts.append(checked_reference(reference, n))
    if "groups" in asks(plan.select):
        parts.append(checked_groups(groups, n, plan).astype(np.float64))
    elif groups is not None and may_go_by_groups(plan.select):
        parts.append(_are_groups(groups, n).astype(np.float64))
    if costs is not None:
        checked_costs(costs, n)
        if goes_by_costs(plan):
            parts.append(costs)
    elif goes_by_costs(plan):
        raise unknown_costs(plan)
    return digest_of_numbers(*parts) if parts else None


def goes_by_costs(plan: Plan) -> bool:
    """Return whether a plan needs to know what each example costs.

    Example:
        >>> import attent
        >>> from attent.run.given_scores import goes_by_costs
        >>> goes_by_costs(attent.Plan.auto(epochs=3, batch_size=8, per_cost=True))
        True
    """
    return "costs" in asks(plan.select) or plan.bucket is not None


def unknown_costs(plan: Plan) -> PlanError:
    """Return the error for a plan that goes by costs, of which none are known."""
    told = f"bucket={plan.bucket}" if plan.bucket is not None else f"{plan.select!r}"
    return PlanError(
        f"{told} goes by costs, and none are known: give the learner a method costs() that returns what each "
        "example costs (float64, one per example, above 0), a feed or trainer costs=...; or choose without"
    )


def checked_groups(groups: object, n: int, plan: Plan) -> Ids:
    """Return the groups of n examples if they are some: int64, shape (n,), at least 0, two or more of them.

    Raises PlanError where none are given, and where the policy cannot go by such groups in passes of such sizes;
    LearnerError where they are not such an array.
    """
    if groups is None:
        raise PlanError(
            f"{plan.select!r} goes by groups, and none are known: give a backend's learner, feed or trainer "
            "groups=..., one per example, or a learner of your own a method groups() (int64, from 0); or choose by "
            "another policy"
        )
    groups = _are_groups(groups, n)
    if (groups == groups[0]).all():
        raise LearnerError(f"groups must be two or more, got one ({groups[0]}) for all {n} examples")
    rows = [row for row in plan.timeline(n) if row.select]
    check = getattr(plan.select, "check_groups", None)
    if rows and check is not None:
        names, sizes = np.unique(groups, return_counts=True)
        # A pool may lack any examples, as many as are not in it: what it surely leaves of some groups must do.
        outside = max(n - row.scored if row.scored and share_of(plan.source) < 1 else 0 for row in rows)
        ks = [row.k for row in rows]
        check(dict(zip(names.tolist(), sizes.tolist(), strict=True)), min(ks), min(n, max(ks) + outside))
    return groups


def _are_groups(groups: object, n: int) -> Ids:
    if not isinstance(groups, np.ndarray) or groups.dtype != np.int64 or groups.shape != (n,):
        got = f"{groups.dtype} {groups.shape}" if isinstance(groups, np.ndarray) else type(groups).__name__
        raise LearnerError(f"groups must be an int64 array of shape ({n},), one group per example, got {got}")
    if groups.min() < 0:
        bad = int(np.flatnonzero(groups < 0)[0])
        raise LearnerError(f"groups must be at least 0, got {groups[bad]} for example {bad}")
    return groups


def checked_watching(plan: Plan, watch: object) -> Callable[[], Numbers]:
    """Return what tells how watched examples do. Raises PlanError where the policy asks for it and there is nothing."""
    if callable(watch):
        return watch
    if watch is not None:
        raise PlanError(f"watch must be a function that returns one number per watched example, got {shown(watch)}")
    if "watched" in asks(plan.select):
        raise PlanError(
            f"{plan.select!r} watches what must not be forgotten, and nothing is watched: give the learner a method "
            "watch() that returns one number per watched example, lower is better, or give watch= to a feed"
        )
    return lambda: np.empty(0)
