"""Ctrl-C and SIGTERM: the first asks a run to stop where it can go on from, the second ends it at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from types import FrameType

_TOLD = b"\nstopping after this step, with a checkpoint; once more to stop at once\n"


class Stop:
    """Whether a signal has come that asks a run to stop, and with which code the program then ends."""

    def __init__(self) -> None:
        self.come: list[int] = []

    def __call__(self) -> bool:
        """Return whether one has come."""
        return bool(self.come)

    @property
    def code(self) -> int:
        """128 + the first signal's number, as a shell has it: 130 after Ctrl-C, 143 after SIGTERM; 0 after none."""
        return 128 + self.come[0] if self.come else 0


class Interrupted(KeyboardInterrupt):
    """A second signal has come. ``code``: with which the program then ends."""

    def __init__(self, code: int) -> None:
        super().__init__()
        self.code = code


@contextlib.contextmanager
def stop_signals(signals: Sequence[int] = (signal.SIGINT, signal.SIGTERM)) -> Iterator[Stop]:
    """Take these signals for the time of a context; what it gives says whether one has come.

    The second raises Interrupted. Outside the main thread, where Python gives none, nothing is taken.

    Example:
        >>> from attent.run.interrupts import stop_signals
        >>> with stop_signals() as stop:
        ...     stop(), stop.code
        (False, 0)
    """
    stop = Stop()
    own = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        if os.getpid() != own:  # a forked worker, as data loaders have: Ctrl-C is not for it, SIGTERM is its end
            if number == signal.SIGTERM:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            return
        stop.come.append(number)
        if len(stop.come) > 1:
            raise Interrupted(stop.code)
        # print() must not be called here: the signal may have come in the middle of one.
        with contextlib.suppress(OSError):
            os.write(2, _TOLD)

    in_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, handle) for number in signals} if in_main else {}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
