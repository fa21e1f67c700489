"""How a run is watched: a bar on a terminal, now and then a line elsewhere. Both go to standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Protocol, TextIO

from attent.teaching import Listener, Progress

_SECONDS_BETWEEN_EPOCHS = 5.0
_SECONDS_BETWEEN_LINES = 60.0


class Watch(Protocol):
    """Shows arms under way; a context, so that a terminal is left in order."""

    def arm(self, name: str) -> Listener:
        """Return the listener of an arm that starts or goes on now."""
        ...

    def __enter__(self) -> Watch:
        """Begin to show."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End it."""
        ...


def watch(work: Mapping[str, float], stream: TextIO | None = None) -> Watch:
    """Return the watch that suits the stream. ``work`` is the cost of each arm still to run, in any unit."""
    stream = sys.stderr if stream is None else stream
    if not stream.isatty():
        return LineWatch(work, stream)
    from attent.cli.progress_bar import BarWatch  # brings rich, which takes a tenth of a second

    return BarWatch(work, stream)


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


class LineWatch:
    """A line at an epoch's end, though not every few seconds, one a minute in long epochs, and one at an arm's end."""

    def __init__(self, work: Mapping[str, float], stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock, self._time_left = stream, clock, TimeLeft(work, clock)
        self._told_at = clock()

    def arm(self, name: str) -> Listener:
        """Return the listener of an arm that starts or goes on now."""

        def listen(progress: Progress) -> None:
            left = self._time_left.update(name, progress.done)
            ended = progress.record is not None
            last = ended and progress.epoch + 1 == progress.epochs
            wait = _SECONDS_BETWEEN_EPOCHS if ended else _SECONDS_BETWEEN_LINES
            if last or self._clock() - self._told_at >= wait:
                self._told_at = self._clock()
                print(f"{name}: {described(progress)}, {clock_time(left)} left", file=self._stream, flush=True)

        return listen

    def __enter__(self) -> LineWatch:
        """Begin: nothing to do."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End: nothing to do."""


def described(progress: Progress) -> str:
    """Return in a few words what is under way: epoch, phase, loss, ratio and how many examples."""
    loss = "scoring" if progress.loss is None else f"loss {progress.loss:.4g}"
    return (
        f"epoch {progress.epoch + 1}/{progress.epochs} {progress.phase}, {loss}, ratio {progress.ratio:.2f}, "
        f"{progress.k:,} examples"
    )


def clock_time(seconds: float | None) -> str:
    """Return seconds as hours, minutes and seconds; ``?`` for None.

    Example:
        >>> from attent.cli.progress import clock_time
        >>> clock_time(3671.2), clock_time(None)
        ('1:01:11', '?')
    """
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
