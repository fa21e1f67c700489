"""Built-in recipes on JAX: a vision transformer on digits, and a byte-level GPT.

Architecture, data, initial weights, optimiser and learning-rate schedule are those of
`attent.reference.recipes`, so that every backend starts a plan from the same point.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt

from attent.data import digits, library_text
from attent.errors import RecipeError
from attent.plan import Plan
from attent.recipes import recipe
from attent.reference import AdamW, Architecture, initial_parameters, warm_up_cosine
from attent_jax.learner import JaxLearner
from attent_jax.reference_training import reference_learner

_PATCH = 2  # pixels along each side of a patch
_INK = 16.0  # the darkest pixel
_BYTES = 256


@recipe(epochs=12, batch_size=32)
def vit_digits(
    plan: Plan,
    *,
    learning_rate: float = 8e-3,
    depth: int = 2,
    width: int = 32,
    heads: int = 4,
    precision: Literal["float64", "float32"] = "float32",
) -> JaxLearner:
    """A vision transformer on 8x8 handwritten digits, 1,437 to train on, 360 held out; 2x2-pixel patches.

    AdamW with weight decay 0.1; the learning rate warms up over a tenth of the steps to ``learning_rate``
    and falls to 0 as a cosine. Runs on JAX's default device; "float64" switches on JAX's 64-bit mode for
    the process. Needs no download. Raises RecipeError for an impossible option.
    """
    data = digits()
    architecture = Architecture(
        "classify",
        length=16,
        outputs=10,
        patch=_PATCH**2,
        width=width,
        heads=heads,
        depth=depth,
        hidden=2 * width,
    )
    return reference_learner(
        architecture,
        initial_parameters(architecture, plan.seed),
        _patches(data.x_train),
        data.y_train,
        held_out=(_patches(data.x_test), data.y_test),
        optimiser=AdamW(weight_decay=0.1),
        learning_rate=_schedule(plan, learning_rate, len(data.y_train)),
        schedule_steps=plan.total_steps(len(data.y_train)) + 1,  # the last entry, 0, holds for all later steps
        dtype=precision,
    )


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
    precision: Literal["float64", "float32"] = "float32",
) -> JaxLearner:
    """A byte-level GPT on Python's standard library; an example is a window of ``window_bytes`` bytes.

    AdamW with weight decay 0.1; the learning rate warms up over a tenth of the steps to ``learning_rate``
    and falls to 0 as a cosine. Runs on JAX's default device; "float64" switches on JAX's 64-bit mode for
    the process. Needs no download; the text differs between Python versions. Raises RecipeError for an
    impossible option.
    """
    if windows < 1 or window_bytes < 1:
        raise RecipeError(f"windows and window_bytes must be at least 1, got {windows} and {window_bytes}")
    # One byte more than the windows hold, for the last target.
    text = library_text(max(1024, windows * window_bytes + 1))
    architecture = Architecture(
        "next-token",
        length=window_bytes,
        outputs=_BYTES,
        vocabulary=_BYTES,
        width=width,
        heads=heads,
        depth=depth,
        hidden=2 * width,
    )
    inputs, targets = _windows(text.train, window_bytes, windows)
    if len(inputs) < windows:
        raise RecipeError(
            f"windows must be at most {len(inputs)} of {window_bytes} bytes, which is all the text there is, "
            f"got {windows}"
        )
    return reference_learner(
        architecture,
        initial_parameters(architecture, plan.seed),
        inputs,
        targets,
        held_out=_windows(text.held_out, window_bytes, windows),
        optimiser=AdamW(weight_decay=0.1),
        learning_rate=_schedule(plan, learning_rate, len(inputs)),
        schedule_steps=plan.total_steps(len(inputs)) + 1,  # the last entry, 0, holds for all later steps
        dtype=precision,
    )


def _patches(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Return (n, 8, 8) images as (n, 16, 4) patches of ink in [0, 1], row by row."""
    side = images.shape[1] // _PATCH
    blocks = images.reshape(len(images), side, _PATCH, side, _PATCH).transpose(0, 1, 3, 2, 4)
    return blocks.reshape(len(images), side * side, _PATCH**2) / _INK


def _windows(
    text: npt.NDArray[np.uint8], window_bytes: int, most: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return up to ``most`` windows that do not overlap, and for each byte the one that follows it."""
    count = min(most, (len(text) - 1) // window_bytes)
    used = text[: count * window_bytes + 1].astype(np.int64)
    return used[:-1].reshape(count, window_bytes), used[1:].reshape(count, window_bytes)


def _schedule(plan: Plan, peak: float, n: int) -> Callable[[int], float]:
    """Return the learning rate by step, falling to 0 at the end of the plan."""
    if not 0.0 < peak < math.inf:
        raise RecipeError(f"learning_rate must be a finite number above 0, got {peak}")
    steps = plan.total_steps(n)
    return warm_up_cosine(peak, steps, steps // 10)
