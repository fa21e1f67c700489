"""Whether a plan costs less than training on all: predicted before a run; and what scoring cost in it."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Protocol

from attent.errors import CostWarning
from attent.plan.plan import Plan
from attent.run.records import EpochRecord, Seconds

ASSUMED_FORWARD_SHARE = 1 / 3


class Timed(Protocol):
    """What scored and trained examples and took time for it: an epoch, a job, an arm."""

    @property
    def examples_scored(self) -> int:
        """Examples scored."""
        ...

    @property
    def examples_trained(self) -> int:
        """Examples trained."""
        ...

    @property
    def seconds(self) -> Seconds:
        """Seconds by phase."""
        ...


def scoring_over_training(spent: Iterable[Timed]) -> float | None:
    """Return seconds of scoring an example over seconds of training on it, None if nothing was scored or timed.

    Example:
        >>> from attent.plan.paying import scoring_over_training
        >>> scoring_over_training([]) is None
        True
    """
    spent = list(spent)
    scored, trained = (sum(getattr(each, f"examples_{what}") for each in spent) for what in ("scored", "trained"))
    scoring, training = (sum(getattr(each.seconds, what) for each in spent) for what in ("scoring", "training"))
    if not scored or not trained or training <= 0:
        return None
    return float((scoring / scored) / (training / trained))


def forward_share(records: Sequence[EpochRecord]) -> float | None:
    """Return the seconds of scoring an example over those of training on it, in a run's epochs that did both.

    The first such epoch is left out, since it may have been spent on compiling; None where there is no other. Costs
    nothing: the run scores and trains anyway.

    Example:
        >>> import attent
        >>> from attent.plan.paying import forward_share
        >>> from attent.reference.recipes import vit_digits
        >>> plan = attent.Plan(epochs=3, batch_size=64, ratio=0.2, source="fresh")
        >>> forward_share(attent.teach(vit_digits(plan), plan).records) > 0
        True
    """
    both = [record for record in records if record.examples_scored and record.examples_trained]
    return scoring_over_training(both[1:])


def warn_if_losing(plan: Plan, n: int) -> None:
    """Warn (CostWarning) where a plan is predicted to cost more than training on all n examples.

    Example:
        >>> import warnings, attent
        >>> from attent.plan.paying import warn_if_losing
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
            "measures it). Lower ratio, or take source='reuse', which scores nothing",
            CostWarning,
            stacklevel=3,
        )
