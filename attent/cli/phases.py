"""What the epochs of a run are called where they are shown. The trace keeps the timeline's words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attent.run.records import EpochRecord

# How an adaptive plan's reasons end (attent.choose.auto), and what was then taught.
_CHOSEN = {
    "all in turn": "in turn",
    "try the hardest": "hardest",
    "try a choice that prefers the harder": "soft",
}


def unit(plan: Mapping[str, Any], count: int = 1) -> str:
    """Return what a plan's epochs are: of an adaptive one passes, since three or so of them cost an epoch on all.

    Example:
        >>> import attent
        >>> from attent.cli.phases import unit
        >>> unit(attent.Plan.auto(epochs=6, batch_size=10).to_dict(), 14)
        'passes'
    """
    return ("pass" if count == 1 else "passes") if plan.get("adaptive") else ("epoch" if count == 1 else "epochs")


def shown_phase(plan: Mapping[str, Any], phase: str) -> str:
    """Return the word for a phase: ``all`` and ``part`` where nothing is chosen by score, so nothing is warmed up for.

    Example:
        >>> import attent
        >>> from attent.cli.phases import shown_phase
        >>> shown_phase(attent.Plan.full(epochs=6, batch_size=10).to_dict(), "warm-up")
        'all'
    """
    # As attent.plan.cost writes training on all examples: in full, or with a last epoch on a random part.
    if plan["warm_up"] + (plan["selection"] == "random") >= plan["epochs"]:
        return "all" if phase == "warm-up" else "part"
    return phase


def shown_phases(plan: Mapping[str, Any], records: Sequence[EpochRecord]) -> list[str]:
    """Return the word for each record's phase; of an adaptive plan's taught passes how the examples were chosen.

    That is ``in turn``, ``hardest`` or ``soft``, by the reasons recorded.
    """
    shown: list[str] = []
    for record in records:
        word = shown_phase(plan, record.phase)
        if plan.get("adaptive") and record.phase == "taught":
            why = None if record.selection is None else record.selection.why
            if why is None or why.endswith("go on"):  # as before
                word = shown[-1] if shown and records[len(shown) - 1].phase == "taught" else word
            else:
                word = next((said for end, said in _CHOSEN.items() if why.endswith(end)), word)
        shown.append(word)
    return shown
