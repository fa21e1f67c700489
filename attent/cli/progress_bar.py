"""The progress of a run on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import TextIO

import rich.console
import rich.progress

from attent.cli.progress import TimeLeft, clock_time, described
from attent.teaching import Listener, Progress


class BarWatch:
    """One bar per arm, with what is under way and the time left for all arms beside it."""

    def __init__(self, work: Mapping[str, float], stream: TextIO) -> None:
        self._time_left = TimeLeft(work)
        self._bars = rich.progress.Progress(
            rich.progress.TextColumn("{task.fields[arm]:>6}"),
            rich.progress.BarColumn(bar_width=24),
            rich.progress.TaskProgressColumn(),
            rich.progress.TextColumn("{task.fields[told]}", markup=False),
            console=rich.console.Console(file=stream),
        )

    def arm(self, name: str) -> Listener:
        """Return the listener of an arm that starts or goes on now."""
        bar = self._bars.add_task(name, total=1.0, arm=name, told="")

        def listen(progress: Progress) -> None:
            left = self._time_left.update(name, progress.done)
            self._bars.update(bar, completed=progress.done, told=f"{described(progress)}, {clock_time(left)} left")

        return listen

    def __enter__(self) -> BarWatch:
        """Begin to draw."""
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave the terminal in order."""
        self._bars.stop()
