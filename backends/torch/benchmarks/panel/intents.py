"""A pre-trained sentence encoder, fine-tuned as a whole on the intents of customers' questions."""

from __future__ import annotations

import numpy as np

import attent
from attent.errors import RecipeError
from attent.learner import Ids
from attent.plan.plan import Plan
from attent_torch import TorchLearner
from panel.data import Questions, questions
from panel.encoder import Texts, fine_tuned


@attent.recipe(epochs=4, batch_size=16, metric_of="even")
def banking77(
    plan: Plan,
    *,
    learning_rate: float = 3e-4,
    data: str = "",
    examples: int = 2000,
    held_out: int = 1500,
    tokens: int = 24,
    costs: bool = False,
) -> TorchLearner:
    """Fine-tune MiniLM-L6 on Banking77's 77 intents; metrics on its test questions, and groups, as `fine_tuned` has them.

    The folder ``data`` must hold banking77_train.csv and banking77_test.csv. The plan's seed draws the questions and
    the head's first weights. ``costs``: the learner says what each question costs, its tokens.
    """
    given, test_given = questions(data)
    for name, asked, there in (("examples", examples, len(given.texts)), ("held_out", held_out, len(test_given.texts))):
        if not 1 <= asked <= there:
            raise RecipeError(f"{name} must be in [1, {there}], got {asked}")
    draw, shuffled = np.random.default_rng(plan.seed), np.random.default_rng(0)
    taken = draw.permutation(len(given.texts))[:examples]
    judged = shuffled.permutation(len(test_given.texts))[:held_out]  # the file is sorted by intent
    return fine_tuned(
        plan,
        _rows(given, taken),
        _rows(test_given, judged),
        classes=len(np.unique(np.concatenate([given.intents, test_given.intents]))),
        learning_rate=learning_rate,
        tokens=tokens,
        counted=costs,
    )


def _rows(part: Questions, rows: Ids) -> Texts:
    return [part.texts[row] for row in rows], part.intents[rows]
