"""Scores that a course is given from outside: a reference model's, or those of an earlier run."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from attent.choose.scores import checked_reference
from attent.errors import PlanError
from attent.learner import Numbers, checked_numbers
from attent.plan.plan import Plan
from attent.run.records import digest_of_numbers


def checked_given(plan: Plan, n: int, reference: Numbers | None, replay: Mapping[int, Numbers] | None) -> str | None:
    """Return the digest of what is given, None where nothing is, so that a run goes on with what it began with.

    reference: float64, shape (n,). replay: by draw, float64, shape (n,) each, for a plan with source ``replay``.
    Raises PlanError where they do not belong to the plan, ScoreError or LearnerError where they are not such arrays.

    Example:
        >>> import attent, numpy as np
        >>> from attent.run.given_scores import checked_given
        >>> checked_given(attent.Plan.default(epochs=3, batch_size=1), 2, np.zeros(2), None)[:12]
        '374708fff771'
    """
    if (plan.source == "replay") != (replay is not None):
        raise PlanError(
            "replay gives the scores of an earlier run to a plan with source='replay', and only to one; "
            f"got source={plan.source!r} with{'out' if replay is None else ''} replay"
        )
    if replay is None:
        return None if reference is None else digest_of_numbers(checked_reference(reference, n))
    if reference is not None:
        raise PlanError("a trace keeps the numbers that were ranked, any reference subtracted: replay it without one")
    draws = range(sum(row.select for row in plan.timeline(n)))
    missing = [draw for draw in draws if draw not in replay]
    if missing:
        raise PlanError(f"replay must hold the scores of every draw of the plan, draw {missing[0]} is missing")
    scores = [checked_numbers(replay[draw], n, f"replay[{draw}]") for draw in draws]
    return digest_of_numbers(np.concatenate([np.empty(0), *scores]))
