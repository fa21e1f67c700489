"""Built-in recipes on the reference learner: vision transformers on digits, and a byte-level GPT."""

from __future__ import annotations

from typing import Literal

from attent.plan.plan import Plan
from attent.plugins import recipe
from attent.reference.known_digits import NEW_CLASSES, known_digits_task
from attent.reference.learner import NumpyLearner
from attent.reference.recipe_tasks import digits_task, text_task


@recipe(epochs=12, batch_size=32)
def vit_digits(
    plan: Plan,
    *,
    learning_rate: float = 8e-3,
    depth: int = 2,
    width: int = 32,
    heads: int = 4,
    precision: Literal["float64", "float32"] = "float64",
) -> NumpyLearner:
    """A vision transformer on 8x8 handwritten digits, 1,437 to train on, 360 held out; 2x2-pixel patches.

    AdamW with weight decay 0.1; the learning rate warms up over a tenth of the steps to ``learning_rate``
    and falls to 0 as a cosine. Needs no download.
    """
    task = digits_task(plan, learning_rate=learning_rate, depth=depth, width=width, heads=heads)
    return NumpyLearner(**task, dtype=precision)


@recipe(epochs=3, batch_size=16, seeds=5, metric_of="training")
def known_digits(
    plan: Plan,
    *,
    known_examples: int = 700,
    known_share: float = 0.9,
    known_epochs: int = 8,
    learning_rate: float = 6e-3,
    depth: int = 2,
    width: int = 32,
    heads: int = 4,
    precision: Literal["float64", "float32"] = "float64",
) -> NumpyLearner:
    """Digits 7 to 9, a few, for a vision transformer that knows 0 to 6; ``known_share`` of the examples are known.

    The model first learns ``known_examples`` images of 0 to 6 in ``known_epochs`` epochs, once a seed and process,
    and goes on with the same images and some of 7 to 9; all others are held out. Metrics: accuracy, by the shares of
    the classes in training; the mean accuracy of all classes, of the known, of the new, and of each; loss as the first.
    Optimiser and schedule as in vit-digits. Needs no download.
    """
    task = known_digits_task(
        plan,
        known_examples=known_examples,
        known_share=known_share,
        known_epochs=known_epochs,
        learning_rate=learning_rate,
        depth=depth,
        width=width,
        heads=heads,
    )
    learner = NumpyLearner(**task, dtype=precision)
    learner.new_groups = NEW_CLASSES
    return learner


@recipe(epochs=10, batch_size=16)
def byte_gpt(
    plan: Plan,
    *,
    learning_rate: float = 1e-2,
    windows: int = 1024,
    window_bytes: int = 64,
    depth: int = 2,
    width: int = 48,
    heads: int = 4,
    precision: Literal["float64", "float32"] = "float64",
) -> NumpyLearner:
    """A byte-level GPT on Python's standard library; an example is a window of ``window_bytes`` bytes.

    AdamW with weight decay 0.1; the learning rate warms up over a tenth of the steps to ``learning_rate``
    and falls to 0 as a cosine. Needs no download; the text differs between Python versions.
    """
    task = text_task(
        plan,
        learning_rate=learning_rate,
        windows=windows,
        window_bytes=window_bytes,
        depth=depth,
        width=width,
        heads=heads,
    )
    return NumpyLearner(**task, dtype=precision)
