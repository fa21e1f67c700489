"""What is watched over a run: asked before its first step and each choice; one made again goes by the same numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from attent.errors import AttentError, LearnerError
from attent.learner import Numbers, checked_watch


class Watching:
    """What a learner's ``watch()`` said before the first step and before the latest choice, and which draw that was.

    ``numbers``: float64, shape (2, m), or None before it was asked; ``draw``: -1 until a choice has asked.
    """

    def __init__(self, watch: Callable[[], Numbers]) -> None:
        self._watch = watch
        self.numbers: Numbers | None = None
        self.draw = -1

    def begin(self) -> None:
        """Ask before the run's first step, once."""
        if self.numbers is None:
            told = self._ask(None)
            self.numbers = np.stack([told, told])

    def before(self, draw: int) -> Numbers:
        """Return the numbers of the first step and of a draw, which is asked for once."""
        assert self.numbers is not None  # begun
        if self.draw != draw:
            self.numbers = np.stack([self.numbers[0], self._ask(self.numbers.shape[1])])
            self.draw = draw
        return self.numbers

    def load(self, numbers: Numbers | None, draw: int) -> None:
        """Take up what a state keeps: both rows in one array, or None."""
        self.numbers, self.draw = None if numbers is None else numbers.reshape(2, -1), draw

    def _ask(self, many: int | None) -> Numbers:
        """Return what is watched. Raises LearnerError, also for what the function raises."""
        try:
            told = self._watch()
        except AttentError:
            raise
        except Exception as error:
            raise LearnerError(f"watch() raised {type(error).__name__}: {error}") from error
        return checked_watch(told, many)
