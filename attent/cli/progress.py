"""How a run is watched: a bar on a terminal, now and then a line elsewhere. Both go to standard error."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, TextIO, get_args

from attent.cli.arms import TAUGHT
from attent.cli.phases import shown_phase, unit
from attent.plan.plan import Plan
from attent.plan.timeline import Phase
from attent.run.teaching import Listener, Progress

Watch = Callable[[str, Plan], Listener]
"""From the name and the plan of an arm that starts or goes on now to its listener."""
_SECONDS_BETWEEN_EPOCHS = 5.0
_SECONDS_BETWEEN_LINES = 60.0


@contextlib.contextmanager
def watching(work: Mapping[str, float], stream: TextIO | None = None) -> Iterator[Watch]:
    """Give the watch that suits the stream. ``work`` is the cost of each arm still to run, in any unit."""
    stream = sys.stderr if stream is None else stream
    if not stream.isatty():
        yield lines(work, stream)
        return
    from attent.cli.progress_bar import bars  # brings rich, which takes a tenth of a second

    with bars(work, stream) as watch:
        yield watch


class TimeLeft:
    """Estimates the seconds left for all arms from the pace so far.

    Example:
        >>> from attent.cli.progress import TimeLeft
        >>> times = iter([0.0, 10.0])
        >>> left = TimeLeft({"taught": 1.0, "full": 2.0}, lambda: next(times))
        >>> left.update("taught", 0.0), left.update("taught", 0.5)
        (None, 50.0)
    """

    def __init__(self, work: Mapping[str, float], clock: Callable[[], float] = time.monotonic) -> None:
        self._work, self._clock = dict(work), clock
        self._arm, self._share, self._at = "", 0.0, 0.0
        self._seconds = self._worked = 0.0

    def update(self, arm: str, share: float) -> float | None:
        """Take note that this share of an arm is done; return the seconds left, None while there is no pace yet."""
        now = self._clock()
        if arm == self._arm:  # the time between two arms is spent on building and judging, not on work
            self._seconds += now - self._at
            self._worked += (share - self._share) * self._work[arm]
        elif self._arm:
            self._work.pop(self._arm, None)
        self._arm, self._share, self._at = arm, share, now
        if self._worked <= 0:
            return None
        left = sum(self._work.values()) - share * self._work[arm]
        return max(0.0, left * self._seconds / self._worked)


def lines(work: Mapping[str, float], stream: TextIO, clock: Callable[[], float] = time.monotonic) -> Watch:
    """Return the watch that writes lines: at an arm's end, at an epoch's end, but not too often, else once a minute."""
    time_left, told_at = TimeLeft(work, clock), clock()

    def arm(name: str, plan: Plan) -> Listener:
        words = counted(name, plan)

        def listen(progress: Progress) -> None:
            nonlocal told_at
            left = time_left.update(name, progress.done)
            ended = progress.record is not None
            wait = _SECONDS_BETWEEN_EPOCHS if ended else _SECONDS_BETWEEN_LINES
            if (ended and progress.epoch + 1 == progress.epochs) or clock() - told_at >= wait:
                told_at = clock()
                print(f"{name}: {described(words, progress, left)}", file=stream, flush=True)

        return listen

    return arm


class Counted(NamedTuple):
    """What an arm counts, epochs or passes, and what it calls its phases, if anything."""

    unit: str
    phases: Mapping[str, str]


def counted(arm: str, plan: Plan) -> Counted:
    """Return the words for an arm: the others than the taught one have no phases worth a name.

    Example:
        >>> import attent
        >>> from attent.cli.progress import counted
        >>> counted("taught", attent.Plan.auto(epochs=6, batch_size=10)).unit
        'pass'
    """
    fields = plan.to_dict()
    words = {phase: shown_phase(fields, phase) for phase in get_args(Phase)} if arm == TAUGHT else {}
    if plan.unit == "pass":
        words.pop("taught", None)  # how such a pass chooses, if it does, is known at its end
    return Counted(unit(fields), words)


def described(words: Counted, progress: Progress, seconds_left: float | None) -> str:
    """Return in a few words what is under way: epoch, phase, loss, ratio, how many examples, and the time left."""
    phase = f" {words.phases[progress.phase]}" if progress.phase in words.phases else ""
    loss = "scoring" if progress.loss is None else f"loss {progress.loss:.4g}"
    left = "" if seconds_left is None else f", {clock_time(seconds_left)} left"
    return (
        f"{words.unit} {progress.epoch + 1}/{progress.epochs}{phase}, {loss}, ratio {progress.ratio:.2f}, "
        f"{progress.k:,} examples{left}"
    )


def clock_time(seconds: float) -> str:
    """Return seconds as hours, minutes and seconds.

    Example:
        >>> from attent.cli.progress import clock_time
        >>> clock_time(3671.2)
        '1:01:11'
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
