"""Dates and numbers of 24 locales, of which some are written a lot and most seldom, read by a byte GPT from scratch."""

from __future__ import annotations

import numpy as np

import attent
from attent.errors import RecipeError
from attent.plan.plan import Plan
from attent_torch import TorchLearner
from panel.answering import different, from_scratch
from panel.locales import KNOWN, NEW, pair

LOCALES = (*KNOWN, *NEW, "nb", "ro", "hr", "sk", "sl", "et")
_ROOM = (35, 13)  # bytes, of the longest of each


@attent.recipe(epochs=3, batch_size=8, metric_of="training")
def locale_tail(
    plan: Plan,
    *,
    learning_rate: float = 2e-3,
    most: int = 350,
    tail: float = 30.0,
    held_out: int = 80,
    depth: int = 2,
    width: int = 48,
) -> TorchLearner:
    """Teach a byte GPT the one canonical form of what a locale writes; ``most`` pairs of the first of the locales.

    ``tail``: how many times rarer the last one is. Metrics on ``held_out`` other pairs of each locale, and costs: as
    `from_scratch` gives them. Groups: the locales. The plan's seed draws the pairs and the first weights.
    """
    if most < 1 or held_out < 1 or not tail >= 1:
        raise RecipeError(f"most and held_out must be at least 1 and tail >= 1, got {most}, {held_out} and {tail}")
    sizes = [max(1, round(most * tail ** (-rank / (len(LOCALES) - 1)))) for rank in range(len(LOCALES))]
    draw = np.random.default_rng(plan.seed)
    train, test = different(sizes, held_out, lambda group: pair(LOCALES[group], draw))
    return from_scratch(plan, train, test, _ROOM, learning_rate, depth, width)
