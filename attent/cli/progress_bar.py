"""The progress of a run on a terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TextIO

import rich.console
import rich.progress

from attent.cli.progress import TimeLeft, Watch, counted, described
from attent.plan.plan import Plan
from attent.run.teaching import Listener, Progress


@contextlib.contextmanager
def bars(work: Mapping[str, float], stream: TextIO) -> Iterator[Watch]:
    """Draw one bar per arm, with what is under way and the time left for all arms beside it."""
    time_left = TimeLeft(work)
    shown = rich.progress.Progress(
        rich.progress.TextColumn("{task.fields[arm]:>6}"),
        rich.progress.BarColumn(bar_width=16),
        rich.progress.TaskProgressColumn(),
        rich.progress.TextColumn("{task.fields[told]}", markup=False),
        console=rich.console.Console(file=stream),
    )

    def arm(name: str, plan: Plan) -> Listener:
        words = counted(name, plan)
        bar = shown.add_task(name, total=1.0, arm=name, told="")

        def listen(progress: Progress) -> None:
            told = described(words, progress, time_left.update(name, progress.done))
            shown.update(bar, completed=progress.done, told=told)

        return listen

    with shown:
        yield arm
