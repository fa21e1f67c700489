"""A pre-trained sentence encoder, fine-tuned as a whole on whether a phrase of a film review praises or blames."""

from __future__ import annotations

import numpy as np

import attent
from attent.errors import RecipeError
from attent.plan.plan import Plan
from attent_torch import TorchLearner
from panel.data import phrases
from panel.encoder import fine_tuned


@attent.recipe(epochs=2, batch_size=16, bucket=8, metric_of="training")
def sst2(
    plan: Plan,
    *,
    learning_rate: float = 2e-4,
    data: str = "",
    examples: int = 800,
    held_out: int = 1500,
    tokens: int = 40,
) -> TorchLearner:
    """Fine-tune MiniLM-L6 on phrases of SST-2; metrics on other phrases, and groups, as `fine_tuned` has them.

    The folder ``data`` must hold sst2_train.tsv; which phrases are held out is the same for every plan. Groups: 0 blame,
    1 praise. Costs: tokens. The plan's seed draws the other phrases and the head's first weights.
    """
    texts, praise = phrases(data)
    if held_out < 1 or examples < 1 or examples + held_out > len(texts):
        raise RecipeError(
            f"examples and held_out must be at least 1 and together at most {len(texts)}, got {examples} and {held_out}"
        )
    judged, others = np.split(np.random.default_rng(0).permutation(len(texts)), [held_out])
    taken = np.random.default_rng(plan.seed).permutation(others)[:examples]
    given, kept = (([texts[row] for row in rows], praise[rows]) for rows in (taken, judged))
    return fine_tuned(plan, given, kept, classes=2, learning_rate=learning_rate, tokens=tokens, counted=True)
