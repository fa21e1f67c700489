"""Ctrl-C and SIGTERM: the first asks a run to stop where it can go on from, the second ends it at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

Stop = Callable[[], bool]
_TOLD = b"\nstopping after this step, with a checkpoint; once more to stop at once\n"


@contextlib.contextmanager
def stop_signals(signals: Sequence[int] = (signal.SIGINT, signal.SIGTERM)) -> Iterator[Stop]:
    """Take these signals for the time of a context; what it gives says whether one has come.

    The second raises KeyboardInterrupt. Outside the main thread, where Python gives none, nothing is taken.

    Example:
        >>> from attent.run.interrupts import stop_signals
        >>> with stop_signals() as stop:
        ...     stop()
        False
    """
    come: list[int] = []
    own = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        if os.getpid() != own:  # a forked worker, as data loaders have: Ctrl-C is not for it, SIGTERM is its end
            if number == signal.SIGTERM:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            return
        if come:
            raise KeyboardInterrupt
        come.append(number)
        # print() must not be called here: the signal may have come in the middle of one.
        with contextlib.suppress(OSError):
            os.write(2, _TOLD)

    in_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, handle) for number in signals} if in_main else {}
    try:
        yield lambda: bool(come)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
