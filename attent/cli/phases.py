"""What the epochs of a run are called where they are shown. The trace keeps the timeline's words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attent.plan.plan import Unit
from attent.run.records import EpochRecord


def counted(unit: Unit, count: int = 1) -> str:
    """Return what a plan counts, in the singular or the plural: epochs, or passes, a few of which cost an epoch.

    Example:
        >>> import attent
        >>> from attent.cli.phases import counted
        >>> counted(attent.Plan.auto(epochs=6, batch_size=10).unit, 14)
        'passes'
    """
    return unit if count == 1 else {"epoch": "epochs", "pass": "passes"}[unit]


def shown_phase(plan: Mapping[str, Any], phase: str) -> str:
    """Return the word for a phase: ``all`` and ``part`` where nothing is chosen by score, so nothing is warmed up for.

    Example:
        >>> import attent
        >>> from attent.cli.phases import shown_phase
        >>> shown_phase(attent.Plan.full(epochs=6, batch_size=10).to_dict(), "warm-up")
        'all'
    """
    # As attent.plan.cost writes training on all examples: in full, or with a last epoch on a random part.
    if plan["warm_up"] + (plan["select"] == "random()") >= plan["epochs"]:
        return "all" if phase == "warm-up" else "part"
    return phase


def shown_phases(plan: Mapping[str, Any], records: Sequence[EpochRecord]) -> list[str]:
    """Return the word for each record's phase; of an adaptive plan's taught passes how the examples were chosen.

    That is ``in turn``, ``hardest`` or ``soft``, by the reasons recorded.
    """
    return [(record.selection and record.selection.how) or shown_phase(plan, record.phase) for record in records]
