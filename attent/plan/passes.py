"""Plans in passes: shares of an epoch, as many as cost so many epochs on all examples."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from attent import checks
from attent.errors import PlanError


def in_passes(epochs: int, changes: Mapping[str, Any]) -> tuple[dict[str, Any], float]:
    """Return the fields of a plan whose passes cost ``epochs`` epochs, both ends included, and the ratio asked for.

    changes: a plan's fields, of which ``ratio``, a third where it is not given, is near that of the passes: there is a
    whole number of them. Raises PlanError for ends longer than the run, a cycle, or a ratio that is none of passes.

    Example:
        >>> from attent.plan.passes import in_passes
        >>> in_passes(5, {"ratio": 0.4, "cool_down": 1})
        ({'warm_up': 1, 'ratio': 0.375, 'cool_down': 1, 'epochs': 10}, 0.4)
    """
    fields = {"warm_up": 1, "ratio": 1 / 3, "cool_down": 0, **changes}
    warm_up, cool_down = (checks.whole(name, fields[name], 0) for name in ("warm_up", "cool_down"))
    if warm_up + cool_down > epochs:
        raise PlanError(
            f"must be at most epochs ({epochs}), got {warm_up} + {cool_down}", field=("warm_up", "cool_down")
        )
    if fields.get("cycle") is not None:
        raise PlanError(
            f"must be None, got {checks.shown(fields['cycle'])}: passes alone make up the cost", field="cycle"
        )
    ratio = checks.number("ratio", fields["ratio"], 0.01, 0.5, rule="a number in [0.01, 0.5] for passes")
    left = epochs - warm_up - cool_down
    passes = math.floor(left / ratio + 0.5)
    if passes:  # whole passes that cost what is left, neither more nor less
        fields["ratio"] = left / passes
    return {**fields, "warm_up": warm_up, "cool_down": cool_down, "epochs": warm_up + passes + cool_down}, ratio
