"""Small readers of customers' questions: 77 intents from scratch, and 17 more for a reader that knows the other 60."""

from __future__ import annotations

import numpy as np
import torch

import attent
from attent.errors import RecipeError
from attent.learner import Ids
from attent.plan.plan import Plan
from attent_torch import TorchLearner
from panel.bags import Bag, bags
from panel.data import questions
from panel.grouped import Part, classifier, learn_before
from panel.training import adamw, seeded

_MOST = 150  # questions of the most frequent intent, where there is a tail
_RANKS, _NEW = 5, 7  # seeds of what is the same for every plan: which intents are rare, and which are new
_WEIGHT_DECAY = 0.05


@attent.recipe(epochs=4, batch_size=16, metric_of="training")
def intents(
    plan: Plan,
    *,
    learning_rate: float = 8e-3,
    data: str = "",
    examples: int = 3000,
    tail: float = 1.0,
    wrong_share: float = 0.0,
    costs: bool = False,
) -> TorchLearner:
    """Teach a bag of hashed words and runs of letters the intents of Banking77 from scratch.

    The folder ``data`` must hold banking77_train.csv and banking77_test.csv; what is not taught is held out too.
    ``tail``: how many times rarer the last intent is than the first; above 1 there are up to 150 questions of the first,
    and ``examples`` is left aside. ``wrong_share`` of what is taught is labelled wrongly. Groups: thirds of the intents,
    the most frequent first. Metrics: accuracy and loss in nats as the intents are trained; accuracy of all intents
    evenly; of each group. The plan's seed draws the questions and the first weights. ``costs``: the learner says what
    each question costs, its parts.
    """
    given, test = questions(data)
    if not 1 <= examples <= len(given.texts):
        raise RecipeError(f"examples must be in [1, {len(given.texts)}], got {examples}")
    if not tail >= 1:
        raise RecipeError(f"tail, how many times rarer the last intent is than the first, must be >= 1, got {tail}")
    if not 0 <= wrong_share < 1:
        raise RecipeError(f"wrong_share must be in [0, 1), got {wrong_share}")
    draw = np.random.default_rng(plan.seed)
    intents = int(given.intents.max()) + 1
    rank = np.random.default_rng(_RANKS).permutation(intents)
    third = np.minimum(rank * 3 // intents, 2)
    taught = _tail(given.intents, rank, tail, draw) if tail > 1 else draw.permutation(len(given.texts))[:examples]
    kept = np.setdiff1d(np.arange(len(given.texts)), taught)
    true, true_test = given.intents[taught], np.concatenate([test.intents, given.intents[kept]])
    y = torch.from_numpy(true.copy())
    if wrong_share:
        wrong = draw.permutation(len(y))[: round(wrong_share * len(y))]
        y[wrong] = (y[wrong] + torch.from_numpy(draw.integers(1, intents, len(wrong)))) % intents
    with seeded(plan.seed):
        model = Bag(intents)
    train = Part(bags([given.texts[row] for row in taught]), y, third[true], true)
    asked = bags(test.texts + [given.texts[row] for row in kept])
    held_out = Part(asked, torch.from_numpy(true_test), third[true_test], true_test)
    optimised = adamw(model.parameters(), learning_rate, plan.total_steps(len(y)), _WEIGHT_DECAY)
    return classifier(plan, model, train, held_out, optimised, even=True, costs=_parts(train.x) if costs else None)


@attent.recipe(epochs=3, batch_size=16, metric_of="training")
def new_intents(
    plan: Plan,
    *,
    learning_rate: float = 8e-3,
    data: str = "",
    examples: int = 4000,
    new_share: float = 0.08,
    new: int = 17,
    pretraining_epochs: int = 8,
    costs: bool = False,
) -> TorchLearner:
    """Continue a bag that knows 60 intents on the very questions that it knows and a few of ``new`` other intents.

    ``new_share`` of the examples are of these. Data as with `intents`. Groups: 0 known, 1 new. Metrics: accuracy and
    loss in nats as the two are trained; accuracy of both evenly, and of each. Costs as with `intents`.
    """
    given, test = questions(data)
    draw = np.random.default_rng(plan.seed)
    intents = int(given.intents.max()) + 1
    if not 1 <= new < intents:
        raise RecipeError(f"new, how many intents are, must be in [1, {intents}), got {new}")
    new_ones = np.random.default_rng(_NEW).permutation(intents)[:new]
    is_new = np.isin(given.intents, new_ones)
    known, unknown = draw.permutation(np.flatnonzero(~is_new)), draw.permutation(np.flatnonzero(is_new))
    many_new = round(examples * new_share)
    many_known = examples - many_new
    for name, many, there in (("known", many_known, len(known)), ("new", many_new, len(unknown))):
        if not 1 <= many <= there:
            raise RecipeError(f"examples of {name} intents must be in [1, {there}], got {many}")
    taught = np.concatenate([known[:many_known], unknown[:many_new]])
    kept = np.concatenate([known[many_known:], unknown[many_new:]])
    x, y = bags([given.texts[row] for row in taught]), torch.from_numpy(given.intents[taught])
    true_test = np.concatenate([test.intents, given.intents[kept]])
    with seeded(plan.seed):
        model = Bag(intents)
    before = Plan.full(epochs=pretraining_epochs, batch_size=32, seed=plan.seed)
    learn_before(model, x[:many_known], y[:many_known], before)
    groups, groups_test = np.repeat([0, 1], [many_known, many_new]), np.isin(true_test, new_ones).astype(np.int64)
    asked = bags(test.texts + [given.texts[row] for row in kept])
    held_out = Part(asked, torch.from_numpy(true_test), groups_test, groups_test)
    optimised = adamw(model.parameters(), learning_rate, plan.total_steps(examples), _WEIGHT_DECAY)
    train = Part(x, y, groups, groups)
    counted = _parts(x) if costs else None
    return classifier(plan, model, train, held_out, optimised, new=(1,), even=True, costs=counted)


def _parts(x: torch.Tensor) -> torch.Tensor:
    return (x > 0).sum(1)


def _tail(intents: Ids, rank: Ids, tail: float, draw: np.random.Generator) -> Ids:
    """Return rows of which each intent has fewer by its rank, at least one, in the order drawn."""
    of = [np.flatnonzero(intents == intent) for intent in range(len(rank))]
    many = [max(1, round(_MOST * tail ** (-place / (len(rank) - 1)))) for place in rank.tolist()]
    kept = [draw.permutation(rows)[:count] for rows, count in zip(of, many, strict=True)]
    return draw.permutation(np.concatenate(kept))
