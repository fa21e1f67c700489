"""Random generators that a dataset keeps for itself, and what else of it a worker process must be told."""

from __future__ import annotations

import random
import types
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from attent_torch.generators import mixed

_KINDS = (random.Random, np.random.Generator, np.random.RandomState, torch.Generator)
_CLOSED = (str, bytes, int, float, complex, type, types.ModuleType, types.FunctionType, np.ndarray, torch.Tensor)
_DEPTH, _MOST = 6, 100
_OWN = 1 << 40  # children of a key: apart from the ids and what else is drawn by it

Plain = list[dict[str, Any]]


def generators_in(items: Any) -> list[Any]:
    """Return the generators that the attributes of a dataset lead to, as of its transforms, each once.

    Containers of more than 100 entries are not looked into.

    Example:
        >>> import numpy as np
        >>> from attent_torch.own_generators import generators_in
        >>> class Noisy:
        ...     def __init__(self):
        ...         self.steps = [np.random.default_rng(0)]
        >>> len(generators_in(Noisy()))
        1
    """
    found: list[Any] = []
    seen: set[int] = set()

    def look(value: Any, depth: int) -> None:
        if isinstance(value, _KINDS):
            if id(value) not in seen:
                seen.add(id(value))
                found.append(value)
            return
        if depth == _DEPTH or value is None or isinstance(value, _CLOSED) or id(value) in seen:
            return
        seen.add(id(value))
        for child in _children(value):
            look(child, depth + 1)

    look(items, 0)
    return found


def _children(value: Any) -> Sequence[Any]:
    if isinstance(value, dict):
        return list(value.values()) if len(value) <= _MOST else []
    if isinstance(value, (list, tuple, set, frozenset)):
        return list(value) if len(value) <= _MOST else []
    return list(getattr(value, "__dict__", {}).values())


def states_of(generators: Sequence[Any]) -> list[Any]:
    """Return the state of each generator, to compare and to put back."""
    return [_state(each) for each in generators]


def put_back(generators: Sequence[Any], states: Sequence[Any]) -> None:
    """Put each generator into a state that ``states_of`` returned."""
    for each, state in zip(generators, states, strict=True):
        if isinstance(each, torch.Generator):
            each.set_state(state)
        elif isinstance(each, random.Random):
            each.setstate(state)
        elif isinstance(each, np.random.Generator):
            each.bit_generator.state = state
        else:
            each.set_state(state)


def seed_each(generators: Sequence[Any], key: int) -> None:
    """Seed each generator from a 64-bit key, all differently."""
    for place, each in enumerate(generators):
        own = mixed(key, _OWN + place)
        if isinstance(each, torch.Generator):
            each.manual_seed(own)
        elif isinstance(each, random.Random):
            each.seed(own)
        elif isinstance(each, np.random.Generator):
            each.bit_generator.state = type(each.bit_generator)(own).state  # type: ignore[call-arg]
        else:
            each.seed(own & 0xFFFFFFFF)


def same(one: Sequence[Any], two: Sequence[Any]) -> bool:
    """Say whether states are equal."""
    return len(one) == len(two) and all(map(_equal, one, two))


def plain_of(items: Any) -> Plain:
    """Return the numbers and texts among the attributes of a dataset and of those that it wraps, such as an epoch."""
    kept = (bool, int, float, str, type(None))
    return [{name: value for name, value in vars(each).items() if type(value) in kept} for each in _chain(items)]


def tell(items: Any, plain: Plain) -> None:
    """Give a dataset, and those that it wraps, the attributes that ``plain_of`` returned."""
    for each, values in zip(_chain(items), plain, strict=False):
        vars(each).update(values)


def _chain(items: Any) -> Iterator[Any]:
    for _ in range(_DEPTH):
        if not hasattr(items, "__dict__"):
            return
        yield items
        items = vars(items).get("dataset")


def _state(each: Any) -> Any:
    if isinstance(each, torch.Generator):
        return each.get_state()
    if isinstance(each, random.Random):
        return each.getstate()
    return each.bit_generator.state if isinstance(each, np.random.Generator) else each.get_state(legacy=False)


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_equal(a[key], b[key]) for key in a)
    return np.array_equal(a, b) if isinstance(a, np.ndarray) else bool(a == b)
