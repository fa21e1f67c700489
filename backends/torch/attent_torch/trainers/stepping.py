"""The learning-rate schedule that a loop of one's own steps: looked at before the first step, and at each one."""

from __future__ import annotations

import warnings

from torch.optim.lr_scheduler import LRScheduler

from attent.errors import LearnerError
from attent_torch.schedule import check_total, steps_of
from attent_torch.settings import check_scheduler


class Stepping:
    """Watches a script's scheduler: that it was built for the run, and is stepped once for each optimiser step.

    ``steps``: optimiser steps of the run; ``epochs``: how many it has. ``times``: steps of the scheduler that are an
    optimiser step; under accelerate as many as there are processes. ``anew``: nothing will be restored.

    Raises LearnerError at once for a schedule of another length, see `attent_torch.schedule.check_total`; where it may
    still be restored, when training begins.

    Example:
        >>> import attent, torch
        >>> from attent_torch.trainers.stepping import Stepping
        >>> optimizer = torch.optim.SGD(torch.nn.Linear(1, 1).parameters(), 0.1)
        >>> scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 30)
        >>> stepping = Stepping(scheduler, steps=30, epochs=5)
        >>> stepping.begin(0)
        >>> stepping.check(0)
        >>> optimizer.step()
        >>> scheduler.step()
        >>> try:
        ...     stepping.check(0)
        ... except attent.AttentError as error:
        ...     print(str(error)[:46])
        the scheduler took 1 steps in 0 optimiser step
    """

    def __init__(self, scheduler: LRScheduler, steps: int, epochs: int, *, times: int = 1, anew: bool = True) -> None:
        self._scheduler: LRScheduler = getattr(scheduler, "scheduler", scheduler)  # accelerate wraps it
        check_scheduler(self._scheduler)
        self._steps, self._epochs, self._times = steps, epochs, times
        if anew and steps_of(self._scheduler) <= 0:
            check_total(self._scheduler, times * steps, epochs)
        self._told = False
        self.restored()

    def restored(self) -> None:
        """Look at the schedule again when training goes on: until then it is restored too."""
        self._looked = False
        self._first: tuple[int, int] | None = None

    def begin(self, done: int) -> None:
        """Look at the schedule where a pass begins, or training goes on within one, after so many optimiser steps.

        Raises LearnerError if its end is not the run's; warns, once, if it took fewer than half the optimiser's steps.
        """
        if not self._looked:
            check_total(self._scheduler, self._times * (self._steps - done), self._epochs)
            self._looked = True
        if self._first is None or self._told:
            return
        taken, stepped = self._since(done)
        if stepped < taken * self._times / 2:
            self._told = True
            warnings.warn(
                f"the scheduler took {stepped} steps in {taken} optimiser steps: step it after every optimiser step, "
                "or do not give it to the teacher",
                UserWarning,
                stacklevel=4,
            )

    def check(self, done: int) -> None:
        """Raise LearnerError if the scheduler took more steps than the optimiser, which has completed so many."""
        if self._first is None:
            self._first = done, steps_of(self._scheduler)
        taken, stepped = self._since(done)
        if stepped > taken * self._times:
            raise LearnerError(
                f"the scheduler took {stepped} steps in {taken} optimiser steps: step it once, after the optimiser, "
                "and where batches are accumulated only after the last of those that make a step"
            )

    def _since(self, done: int) -> tuple[int, int]:
        assert self._first is not None
        return done - self._first[0], steps_of(self._scheduler) - self._first[1]
