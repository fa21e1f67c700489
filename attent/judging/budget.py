"""The referee's budget of wall time: what is left of it, and by the pace so far what fits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from time import monotonic


class Budget:
    """A budget of wall time: the time left, and by the pace so far what fits. Without a budget everything fits.

    Example:
        >>> from attent.judging.budget import Budget
        >>> times = iter([0.0, 40.0, 70.0])
        >>> budget = Budget(100.0, clock=lambda: next(times))
        >>> budget.begin({"full": 2.0, "half": 1.0})
        >>> budget.done("full", 20.0)
        >>> budget.fits(["full", "half"]), budget.fits(["full", "half"])
        (True, True)
    """

    def __init__(
        self,
        seconds: float | None,
        stop: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._stop, self._clock, self._limit = stop, clock or monotonic, seconds
        self._began = self._clock()
        self._work: dict[str, float] = {}
        self._left: dict[str, float] = {}
        self._seconds: dict[str, list[float]] = {}

    @property
    def left(self) -> float:
        """Seconds left, infinite without a budget."""
        return float("inf") if self._limit is None else self._limit - (self._clock() - self._began)

    @property
    def over(self) -> bool:
        """Whether a budget has been spent."""
        return self._limit is not None and self.left <= 0

    def must_stop(self) -> bool:
        """Return whether to stop at the next occasion: by request, or since the budget is spent."""
        return self._stop() or self.over

    def begin(self, work: Mapping[str, float]) -> None:
        """Take note of the arms of a seed and how much work each is, in any unit."""
        self._work, self._left, self._seconds = dict(work), dict(work), {}

    def done(self, arm: str, seconds: float | None) -> None:
        """Take note of a finished arm, and of the seconds it took, None if they are not known."""
        self._left.pop(arm, None)
        if seconds is not None:
            self._seconds.setdefault(arm, []).append(seconds)

    def drop(self, arm: str) -> None:
        """Take note that an arm is not run."""
        self._left.pop(arm, None)
        self._work.pop(arm, None)

    def fits_rest(self) -> bool:
        """Return whether what is left of the first seed fits, at the pace so far."""
        return self._expected(self._left) <= self.left

    def fits(self, arms: Iterable[str]) -> bool:
        """Return whether one job of each of these arms fits."""
        return self._expected({arm: self._work[arm] for arm in arms if arm in self._work}) <= self.left

    def _expected(self, work: Mapping[str, float]) -> float:
        known = [arm for arm in self._seconds if arm in self._work]
        worked = sum(self._work[arm] for arm in known)
        if not worked:
            return 0.0
        pace = sum(_mean(self._seconds[arm]) for arm in known) / worked
        return sum(_mean(self._seconds[arm]) if arm in known else pace * amount for arm, amount in work.items())


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
