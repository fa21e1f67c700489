"""Going on from a model that knows seven digits: data, weights and metrics, the same in every backend."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from attent.errors import RecipeError
from attent.learner import Ids, Numbers
from attent.noise import LEARNER, Noise, raw
from attent.plan import Plan
from attent.reference.architecture import Parameters
from attent.reference.learner import NumpyLearner
from attent.reference.optimisers import warm_up_cosine
from attent.reference.recipe_tasks import digits_task
from attent.teaching import teach

_CLASSES, _KNOWN = 10, 7  # of which the first are known
_PRE_TRAINING = {"batch_size": 32, "learning_rate": 8e-3}  # what suits vit-digits
_WHICH_ARE_NEW, _PRE_TRAINING_SEED = LEARNER + 2, LEARNER + 3  # draws of the plan's seed


def known_digits_task(
    plan: Plan, *, known_share: float, known_epochs: int, learning_rate: float, depth: int, width: int, heads: int
) -> dict[str, Any]:
    """Return the arguments of a reference learner that knows digits 0 to 6 and goes on with those and some of 7 to 9.

    The known examples are the very ones of the pre-training, ``known_epochs`` epochs on all of them; so many new ones
    are drawn that the known are ``known_share`` of all. Held out are the test images, and the new images that were not
    drawn. Optimiser and schedule as in `digits_task`. The pre-training is kept for the next learner of the same seed
    and options in this process.

    Raises RecipeError for an impossible share, number of epochs or learning rate.

    Example:
        >>> import attent
        >>> from attent.reference.known_digits import known_digits_task
        >>> plan = attent.Plan.full(epochs=1, batch_size=16)
        >>> options = {"learning_rate": 4e-3, "depth": 1, "width": 8, "heads": 2}
        >>> task = known_digits_task(plan, known_share=0.9, known_epochs=1, **options)
        >>> (task["targets"] < 7).sum(), (task["targets"] >= 7).sum()
        (np.int64(1023), np.int64(114))
    """
    if known_epochs < 1:
        raise RecipeError(f"known_epochs must be at least 1, got {known_epochs}")
    task = digits_task(plan, learning_rate=learning_rate, depth=depth, width=width, heads=heads)
    inputs, targets = task["inputs"], task["targets"]
    taught, left = _drawn(targets, known_share, plan.seed)
    held_inputs, held_targets = task["held_out"]
    held_targets = np.concatenate([held_targets, targets[left]])
    steps = plan.total_steps(len(taught))
    return task | {
        "parameters": _pre_trained(plan.seed, known_epochs, depth, width, heads),
        "inputs": inputs[taught],
        "targets": targets[taught],
        "held_out": (np.concatenate([held_inputs, inputs[left]]), held_targets),
        "learning_rate": warm_up_cosine(learning_rate, steps, steps // 10),
        "quality": _quality(np.bincount(targets[taught], minlength=_CLASSES), held_targets),
    }


def _drawn(targets: Ids, known_share: float, seed: int) -> tuple[Ids, Ids]:
    """Return the rows to teach and the new ones that are left, ascending."""
    known, new = np.flatnonzero(targets < _KNOWN), np.flatnonzero(targets >= _KNOWN)
    lowest = len(known) / len(targets)
    if not lowest <= known_share < 1:
        raise RecipeError(f"known_share must be in [{lowest:.3f}, 1), got {known_share}")
    few = max(1, round(len(known) * (1 - known_share) / known_share))
    new = new[np.argsort(raw(Noise(seed, _WHICH_ARE_NEW), 0, len(new)), kind="stable")]
    return np.sort(np.concatenate([known, new[:few]])), np.sort(new[few:])


@functools.lru_cache(maxsize=16)
def _pre_trained(seed: int, epochs: int, depth: int, width: int, heads: int) -> Parameters:
    """Return the parameters of a model that has learnt the first seven digits. They are shared: do not change them."""
    seed = int(raw(Noise(seed, _PRE_TRAINING_SEED), 0, 1)[0])
    batch_size, peak = int(_PRE_TRAINING["batch_size"]), _PRE_TRAINING["learning_rate"]
    plan = Plan.full(epochs=epochs, batch_size=batch_size, seed=seed)
    task = digits_task(plan, learning_rate=peak, depth=depth, width=width, heads=heads)
    known = task["targets"] < _KNOWN
    steps = plan.total_steps(int(known.sum()))
    learner = NumpyLearner(
        task["architecture"],
        task["parameters"],
        task["inputs"][known],
        task["targets"][known],
        optimiser=task["optimiser"],
        learning_rate=warm_up_cosine(peak, steps, steps // 10),
    )
    teach(learner, plan)
    return {name: learner.state()[f"parameters.{name}"] for name in task["parameters"]}


def _quality(taught: Ids, held_targets: Ids) -> Callable[[Numbers, Numbers], dict[str, float]]:
    """Return the metrics of held-out losses and hits, weighed as many of each class as were taught, and evenly."""
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
        }

    return quality
