"""How a run is watched: a bar per arm on a terminal, now and then a line elsewhere. Both go to standard error."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TextIO

from attent.judging.referee import Tell, Watch, Work
from attent.run.teaching import Listener, Progress

_SECONDS_BETWEEN_EPOCHS = 5.0
_SECONDS_BETWEEN_LINES = 60.0


@contextlib.contextmanager
def watching(stream: TextIO | None = None) -> Iterator[tuple[Tell, Watch]]:
    """Give what tells a line and what watches jobs, as it suits the stream."""
    stream = sys.stderr if stream is None else stream
    if not stream.isatty():
        yield lambda line: print(line, file=stream, flush=True), lines(stream)
        return
    with bars(stream) as watched:
        yield watched


class TimeLeft:
    """Estimates the seconds left for all jobs from the pace so far.

    Example:
        >>> from attent.cli.progress import TimeLeft
        >>> times = iter([0.0, 10.0])
        >>> left = TimeLeft(lambda: next(times))
        >>> left.begin(1.0, 2.0)
        >>> left.update(0.0), left.update(0.5)
        (None, 50.0)
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._amount = self._rest = self._seconds = self._worked = 0.0
        self._before: tuple[float, float] | None = None

    def begin(self, amount: float, rest: float) -> None:
        """Take note of a job of so much work, and of the work of all jobs after it, in any unit."""
        self._amount, self._rest, self._before = amount, rest, None

    def update(self, share: float) -> float | None:
        """Take note that this share of the job is done; return the seconds left, None while there is no pace yet."""
        now = self._clock()
        if self._before is not None:  # the time between two jobs is spent on building and judging, not on work
            self._seconds += now - self._before[1]
            self._worked += (share - self._before[0]) * self._amount
        self._before = share, now
        if self._worked <= 0:
            return None
        return max(0.0, (self._rest + (1 - share) * self._amount) * self._seconds / self._worked)


def lines(stream: TextIO, clock: Callable[[], float] = time.monotonic) -> Watch:
    """Return the watch that writes lines: at an epoch's end, but not too often, else once a minute."""
    time_left, told_at = TimeLeft(clock), clock()

    def begin(work: Work) -> Listener:
        time_left.begin(work.amount, work.rest)

        def listen(progress: Progress) -> None:
            nonlocal told_at
            left = time_left.update(progress.done)
            wait = _SECONDS_BETWEEN_LINES if progress.record is None else _SECONDS_BETWEEN_EPOCHS
            if clock() - told_at >= wait:
                told_at = clock()
                print(f"{work.arm}: {described(work, progress, left)}", file=stream, flush=True)

        return listen

    return begin


@contextlib.contextmanager
def bars(stream: TextIO) -> Iterator[tuple[Tell, Watch]]:
    """Draw one bar per arm, with what is under way and the time left for all beside it; lines are told above."""
    import rich.console  # takes a tenth of a second
    import rich.progress
    import rich.table

    time_left = TimeLeft()
    console = rich.console.Console(file=stream)
    shown = rich.progress.Progress(
        rich.progress.TextColumn("{task.fields[arm]}", markup=False),
        rich.progress.BarColumn(bar_width=12),
        rich.progress.TextColumn(
            "{task.fields[told]}", markup=False, table_column=rich.table.Column(no_wrap=True, overflow="ellipsis")
        ),
        console=console,
    )
    tasks: dict[str, rich.progress.TaskID] = {}
    before: list[Callable[[], None]] = []

    def begin(work: Work) -> Listener:
        time_left.begin(work.amount, work.rest)
        while before:  # only the job under way tells the time left
            before.pop()()
        if work.arm not in tasks:
            tasks[work.arm] = shown.add_task(work.arm, total=1.0, arm=work.arm, told="")
        shown.update(tasks[work.arm], completed=0.0)

        def listen(progress: Progress) -> None:
            told = described(work, progress, time_left.update(progress.done))
            shown.update(tasks[work.arm], completed=progress.done, told=told)
            before[:] = [lambda: shown.update(tasks[work.arm], told=described(work, progress, None))]

        return listen

    with shown:
        yield lambda line: console.print(line, markup=False, highlight=False, soft_wrap=True), begin


def described(work: Work, progress: Progress, seconds_left: float | None) -> str:
    """Return in a few words what is under way: the seed of several, the epoch, the loss, and the time left for all."""
    seed = f"seed {work.plan.seed}, " if work.seeds > 1 else ""
    loss = "scoring" if progress.loss is None else f"loss {progress.loss:.3g}"
    left = "" if seconds_left is None else f", {clock_time(seconds_left)} left"
    return f"{seed}{work.plan.unit} {progress.epoch + 1}/{progress.epochs}, {loss}{left}"


def clock_time(seconds: float) -> str:
    """Return seconds as hours, minutes and seconds.

    Example:
        >>> from attent.cli.progress import clock_time
        >>> clock_time(3671.2), clock_time(71)
        ('1:01:11', '1:11')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
