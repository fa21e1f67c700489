"""What goes on beside a model: averages, schedules and counters, which a learner's state keeps and puts back."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from attent.errors import LearnerError


class Extra:
    """What a user gave as ``extra=``, by name: objects with ``state_dict`` and ``load_state_dict``, or (get, set).

    What those return and take is the backend's matter. Raises LearnerError naming what is neither.

    Example:
        >>> from attent.extra import Extra
        >>> seen = {"batches": 3}
        >>> extra = Extra({"seen": (seen.copy, seen.update)})
        >>> kept = extra.states()
        >>> seen["batches"] = 9
        >>> extra.load(kept)
        >>> seen
        {'batches': 3}
    """

    def __init__(self, given: Mapping[str, Any] | None) -> None:
        if given is not None and not isinstance(given, Mapping):
            raise LearnerError(f"extra must be a dict of objects by name, got {type(given).__name__}")
        self._pairs = {name: _pair(name, each) for name, each in (given or {}).items()}

    def states(self) -> dict[str, Any]:
        """Return what each of them says, by name."""
        return {name: get() for name, (get, _) in self._pairs.items()}

    def check_names(self, saved: Iterable[str]) -> None:
        """Raise LearnerError unless a state has what this learner has."""
        if set(saved) != set(self._pairs):
            raise LearnerError(
                f"the state's extra is of {_listed(saved)}, this learner's of {_listed(self._pairs)}: give the same "
                "extra= as when the run began"
            )

    def load(self, saved: Mapping[str, Any]) -> None:
        """Give each of them its state; if one of them refuses, all have what they had. Raises LearnerError."""
        self.check_names(saved)
        before, begun = copy.deepcopy(self.states()), []
        for name, (_, put) in self._pairs.items():
            begun.append(name)
            try:
                put(saved[name])
            except Exception as error:  # each has its own
                for again in begun:
                    # One that refuses twice must not keep the others from what they had.
                    with contextlib.suppress(Exception):
                        self._pairs[again][1](before[again])
                raise LearnerError(f"extra[{name!r}] refused its state: {type(error).__name__}: {error}") from error


def _pair(name: str, each: Any) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    if isinstance(each, tuple):
        if len(each) != 2 or not all(map(callable, each)):
            raise LearnerError(
                f"extra[{name!r}] must be two functions, one that returns a state and one that takes it, got "
                f"{each!r:.80}"
            )
        return each
    for method in ("state_dict", "load_state_dict"):
        if not callable(getattr(each, method, None)):
            raise LearnerError(
                f"extra[{name!r}] must have {method}(), {type(each).__name__} has none: give a pair of functions, one "
                "that returns its state and one that takes it"
            )
    return each.state_dict, each.load_state_dict


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in sorted(names)) or "nothing"
