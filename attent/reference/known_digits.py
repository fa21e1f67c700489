"""Going on from a model that knows seven digits: data, weights and metrics, the same in every backend."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from attent.choose.noise import LEARNER, Noise, raw
from attent.errors import RecipeError
from attent.learner import Ids, Numbers
from attent.plan.plan import Plan
from attent.reference.architecture import Parameters
from attent.reference.learner import NumpyLearner
from attent.reference.optimisers import warm_up_cosine
from attent.reference.recipe_tasks import digits_task
from attent.run.teaching import teach

_CLASSES, _KNOWN = 10, 7  # of which the first are known
NEW_CLASSES = tuple(range(_KNOWN, _CLASSES))
_PRE_TRAINING_RATE = 8e-3  # with batches of 32 what suits vit-digits
_WHICH, _PRE_TRAINING_SEED = LEARNER + 2, LEARNER + 3  # draws of the plan's seed


class _Drawn(NamedTuple):
    """Which training images are known, which are new, and which are left to be held out: ascending."""

    known: Ids
    new: Ids
    left: Ids


def known_digits_task(
    plan: Plan,
    *,
    known_examples: int,
    known_share: float,
    known_epochs: int,
    learning_rate: float,
    depth: int,
    width: int,
    heads: int,
) -> dict[str, Any]:
    """Return the arguments of a reference learner that knows digits 0 to 6 and goes on with those and some of 7 to 9.

    Of the training images ``known_examples`` of the digits 0 to 6 are drawn, on which the model is pre-trained for
    ``known_epochs`` epochs, and so many new ones that the known are ``known_share`` of all. Held out are the test
    images, and the training images that were not drawn. Optimiser and schedule as in `digits_task`. The pre-training
    is kept for the next learner of the same seed and options in this process.

    Raises RecipeError for an impossible number of known examples or epochs, share or learning rate.

    Example:
        >>> import attent
        >>> from attent.reference.known_digits import known_digits_task
        >>> plan = attent.Plan.full(epochs=1, batch_size=16)
        >>> model = {"learning_rate": 4e-3, "depth": 1, "width": 8, "heads": 2}
        >>> task = known_digits_task(plan, known_examples=90, known_share=0.9, known_epochs=1, **model)
        >>> targets = task["targets"]
        >>> len(targets), len(targets[targets >= 7])
        (100, 10)
    """
    task = digits_task(plan, learning_rate=learning_rate, depth=depth, width=width, heads=heads)
    inputs, targets = task["inputs"], task["targets"]
    drawn = _drawn(targets, known_examples, known_share, plan.seed)
    if known_epochs < 1:
        raise RecipeError(f"known_epochs must be at least 1, got {known_epochs}")
    taught = np.sort(np.concatenate([drawn.known, drawn.new]))
    held_inputs, held_targets = task["held_out"]
    held_targets = np.concatenate([held_targets, targets[drawn.left]])
    steps = plan.total_steps(len(taught))
    return task | {
        "parameters": _pre_trained(plan.seed, known_examples, known_epochs, depth, width, heads),
        "inputs": inputs[taught],
        "targets": targets[taught],
        "held_out": (np.concatenate([held_inputs, inputs[drawn.left]]), held_targets),
        "learning_rate": warm_up_cosine(learning_rate, steps, steps // 10),
        "quality": _quality(np.bincount(targets[taught], minlength=_CLASSES), held_targets),
    }


def _drawn(targets: Ids, known_examples: int, known_share: float, seed: int) -> _Drawn:
    order = np.argsort(raw(Noise(seed, _WHICH), 0, len(targets)), kind="stable")
    known, new = order[targets[order] < _KNOWN], order[targets[order] >= _KNOWN]
    if not 1 <= known_examples <= len(known):
        raise RecipeError(f"known_examples must be in [1, {len(known)}], got {known_examples}")
    lowest = known_examples / (known_examples + len(new))
    if not lowest <= known_share < 1:
        raise RecipeError(
            f"known_share must be in [{lowest:.3f}, 1), since there are {len(new)} new images, got {known_share}"
        )
    few = max(1, round(known_examples * (1 - known_share) / known_share))
    left = np.concatenate([known[known_examples:], new[few:]])
    return _Drawn(*(np.sort(rows) for rows in (known[:known_examples], new[:few], left)))


@functools.lru_cache(maxsize=16)
def _pre_trained(seed: int, examples: int, epochs: int, depth: int, width: int, heads: int) -> Parameters:
    """Return the parameters of a model that has learnt the known examples. They are shared: do not change them."""
    own_seed = int(raw(Noise(seed, _PRE_TRAINING_SEED), 0, 1)[0])
    plan = Plan.full(epochs=epochs, batch_size=32, seed=own_seed)
    task = digits_task(plan, learning_rate=_PRE_TRAINING_RATE, depth=depth, width=width, heads=heads)
    known = _drawn(task["targets"], examples, 1 - 1e-9, seed).known
    steps = plan.total_steps(len(known))
    learner = NumpyLearner(
        task["architecture"],
        task["parameters"],
        task["inputs"][known],
        task["targets"][known],
        optimiser=task["optimiser"],
        learning_rate=warm_up_cosine(_PRE_TRAINING_RATE, steps, steps // 10),
    )
    teach(learner, plan)
    return {name: learner.state()[f"parameters.{name}"] for name in task["parameters"]}


def _quality(taught: Ids, held_targets: Ids) -> Callable[[Numbers, Numbers], dict[str, float]]:
    """Return the metrics of held-out losses and hits: classes weighed as they were taught, evenly, and one by one."""
    held = np.bincount(held_targets, minlength=_CLASSES)
    shares = taught / taught.sum()

    def quality(losses: Numbers, hits: Numbers) -> dict[str, float]:
        loss, accuracy = (np.bincount(held_targets, each, minlength=_CLASSES) / held for each in (losses, hits))
        return {
            "accuracy": float(shares @ accuracy),
            "even_accuracy": float(accuracy.mean()),
            "known_accuracy": float(accuracy[:_KNOWN].mean()),
            "new_accuracy": float(accuracy[_KNOWN:].mean()),
            "loss": float(shares @ loss),
            **{f"accuracy:{digit}": float(value) for digit, value in enumerate(accuracy)},
        }

    return quality
