"""What the built-in recipes teach, the same in every backend: data, architecture, weights, optimiser, schedule."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from attent.data import digits, library_text
from attent.errors import RecipeError
from attent.plan.plan import Plan
from attent.reference.architecture import Architecture, initial_parameters
from attent.reference.optimisers import AdamW, warm_up_cosine

_PATCH = 2  # pixels along each side of a patch
_INK = 16.0  # the darkest pixel
_BYTES = 256


def digits_task(plan: Plan, *, learning_rate: float, depth: int, width: int, heads: int) -> dict[str, Any]:
    """Return the arguments of a reference learner that classifies handwritten digits by 2x2-pixel patches.

    AdamW with weight decay 0.1; the learning rate warms up over a tenth of the plan's steps and falls to 0 as a
    cosine. Raises RecipeError for an impossible learning rate.

    Example:
        >>> import attent
        >>> from attent.reference.recipe_tasks import digits_task
        >>> plan = attent.Plan.default(epochs=2, batch_size=32)
        >>> digits_task(plan, learning_rate=8e-3, depth=1, width=8, heads=2)["inputs"].shape
        (1437, 16, 4)
    """
    data = digits()
    architecture = Architecture(
        "classify", length=16, outputs=10, patch=_PATCH**2, width=width, heads=heads, depth=depth, hidden=2 * width
    )
    return {
        "architecture": architecture,
        "parameters": initial_parameters(architecture, plan.seed),
        "inputs": _patches(data.x_train),
        "targets": data.y_train,
        "held_out": (_patches(data.x_test), data.y_test),
        "optimiser": AdamW(weight_decay=0.1),
        "learning_rate": _schedule(plan, learning_rate, len(data.y_train)),
    }


def text_task(
    plan: Plan, *, learning_rate: float, windows: int, window_bytes: int, depth: int, width: int, heads: int
) -> dict[str, Any]:
    """Return the arguments of a reference learner that predicts each next byte of Python's standard library.

    An example is a window of ``window_bytes`` bytes; optimiser and schedule as in `digits_task`. Raises
    RecipeError for an impossible number of windows or learning rate.

    Example:
        >>> import attent
        >>> from attent.reference.recipe_tasks import text_task
        >>> plan = attent.Plan.default(epochs=2, batch_size=32)
        >>> task = text_task(plan, learning_rate=0.01, windows=9, window_bytes=8, depth=1, width=8, heads=2)
        >>> task["inputs"].shape
        (9, 8)
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
    return {
        "architecture": architecture,
        "parameters": initial_parameters(architecture, plan.seed),
        "inputs": inputs,
        "targets": targets,
        "held_out": _windows(text.held_out, window_bytes, windows),
        "optimiser": AdamW(weight_decay=0.1),
        "learning_rate": _schedule(plan, learning_rate, len(inputs)),
    }


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
