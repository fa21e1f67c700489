"""Cases drawn from a seed: batches, weights, ids and how arrays lie in memory. Equal seeds draw equal cases."""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from attent.learner import Ids, Numbers
from attent.reference import SGD, AdamW, Optimiser

LARGEST = 24  # examples in a batch: more than a scoring pass takes at once, and no multiple of it
LARGE = 529  # the same for the few steps that are really large
_SIZES = (1, 2, 3, 5, 8, 16, 17, 19, 23)  # few, as a framework that compiles may do so for each
_KINDS = ("from 0 to 3", "some 0", "some negative", "above 10", "of one size", "all 0", "tiny beside large")


def generator(seed: int, *words: object) -> np.random.Generator:
    """Return the generator of a case, which the seed and these words name.

    Example:
        >>> int(generator(0, "P4", "classes").integers(100))
        84
    """
    return np.random.default_rng([seed, *(zlib.crc32(str(word).encode()) for word in words)])


def handed(arrays: Sequence[Ids] | Sequence[Numbers]) -> list[Any]:
    """Return read-only copies in a list of their own: a learner that changes what it is given spoils no other case."""
    return [_read_only(array) for array in arrays]


def some_ids(rng: np.random.Generator, pool: Ids, count: int, *, repeats: bool) -> Ids:
    """Return ``count`` ids out of ``pool``, in no order; with ``repeats`` some come twice, where count is above 1."""
    ids: Ids = rng.choice(pool, count, replace=count > len(pool) or repeats)
    if repeats and count > 1:
        ids[-1] = ids[0]
    return ids


def batches(rng: np.random.Generator, pool: Ids, count: int) -> list[Ids]:
    """Return ``count`` batches out of ``pool``, the first of `LARGEST`, the rest smaller; every second has repeats."""
    sizes = [LARGEST, *rng.permutation(np.resize(rng.permutation(_SIZES), max(0, count - 1)))][:count]
    return [some_ids(rng, pool, int(size), repeats=bool(place % 2)) for place, size in enumerate(sizes)]


def large_batches(rng: np.random.Generator, pool: Ids) -> list[Ids]:
    """Return batches of more examples than a step may take at once, the largest first, with repeats."""
    sizes = (LARGE, int(rng.integers(33, 64)), int(rng.integers(65, 128)), int(rng.integers(129, 256)))
    return [some_ids(rng, pool, size, repeats=True) for size in sizes]


def weights(rng: np.random.Generator, of: Sequence[Ids]) -> list[Numbers]:
    """Return weights for each batch: every kind there is, in turn, whatever the batches' sizes."""
    kinds = np.resize(rng.permutation(_KINDS), len(of))
    return [_weights(rng, str(kind), len(ids)) for kind, ids in zip(kinds, of, strict=True)]


def _weights(rng: np.random.Generator, kind: str, count: int) -> Numbers:
    values: Numbers = rng.uniform(0.0, 3.0, count)
    some = rng.random(count) < 0.5
    some[rng.integers(count)] = True
    if kind == "some 0":
        return np.where(some, 0.0, values)
    if kind == "some negative":
        return np.where(some, -values, values)
    if kind == "above 10":
        return np.where(some, rng.uniform(10.0, 40.0, count), values)
    if kind == "of one size":
        return np.full(count, float(rng.uniform(0.2, 4.0)))
    if kind == "all 0":
        return np.zeros(count)
    return np.where(some, 1e-9, values) if kind == "tiny beside large" else values


def cut(rng: np.random.Generator, ids: Ids) -> list[Ids]:
    """Return the ids in order, in calls of drawn sizes; one of them is empty.

    Example:
        >>> import numpy as np
        >>> parts = cut(generator(0, "cut"), np.arange(50))
        >>> np.concatenate(parts).tolist() == list(range(50))
        True
    """
    at = np.sort(rng.integers(0, len(ids) + 1, rng.integers(2, 6)))
    return np.split(ids, [*at, at[-1]])


def _strided(array: np.ndarray) -> np.ndarray:
    wide = np.zeros((len(array), 3), array.dtype)
    wide[:, 1] = array
    return wide[:, 1]


def _backwards(array: np.ndarray) -> np.ndarray:
    return array[::-1].copy()[::-1]


def _read_only(array: np.ndarray) -> np.ndarray:
    kept = array.copy()
    kept.flags.writeable = False
    return kept


def _unaligned(array: np.ndarray) -> np.ndarray:
    kept = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype)
    kept[:] = array
    return kept


def _part(array: np.ndarray) -> np.ndarray:
    return np.concatenate([array[:1], array, array[:1]])[1:-1]


def _mapped(array: np.ndarray) -> np.ndarray:
    with tempfile.TemporaryFile() as file:
        kept = np.memmap(file, array.dtype, "w+", shape=array.shape)
    kept[:] = array
    return kept


LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "strided": _strided,
    "backwards in memory": _backwards,
    "read-only": _read_only,
    "unaligned": _unaligned,
    "a part of a larger array": _part,
    "in a mapped file": _mapped,
}


def laid_out(rng: np.random.Generator, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return equal arrays that lie in memory otherwise, each as drawn."""
    names = list(LAYOUTS)
    return [LAYOUTS[names[int(rng.integers(len(names)))]](array) for array in arrays]


def optimisers(rng: np.random.Generator) -> dict[str, tuple[Optimiser | None, bool]]:
    """Return optimisers by what is drawn of them, and whether they follow a drawn schedule (else one number).

    Every setting differs from its default somewhere, is 0 somewhere where it may be, and meets each other's.
    """
    beta1, beta2 = round(float(rng.uniform(0.5, 0.85)), 3), round(float(rng.uniform(0.9, 0.99)), 3)
    decay, momentum = round(float(rng.uniform(0.1, 0.4)), 2), round(float(rng.uniform(0.4, 0.8)), 3)
    drawn: list[tuple[Optimiser | None, bool]] = [
        (AdamW(beta1, beta2, float(rng.choice([1e-3, 1e-4])), decay), True),
        (AdamW(beta1=0.0, beta2=0.0, epsilon=1e-3, weight_decay=0.0), False),
        (SGD(momentum, round(decay / 10, 3)), True),
        (SGD(momentum=0.0, weight_decay=round(decay / 10, 3)), False),
        (None, False),
    ]
    return {repr(optimiser) if optimiser else "no optimiser given": (optimiser, told) for optimiser, told in drawn}


def schedule(rng: np.random.Generator, peak: float, steps: int) -> Callable[[int], float]:
    """Return a learning rate by step that neither rises nor falls throughout, and is 0 at times."""
    table = peak * rng.uniform(0.2, 1.0, steps)
    table[rng.integers(0, steps, 4)] = 0.0

    def rate(step: int) -> float:
        return float(table[min(step, steps - 1)])

    return rate
