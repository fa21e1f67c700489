"""Ctrl-C and SIGTERM: the first asks a run to stop where it can go on from, the second ends it at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_TOLD = b"\nstopping after this segment, with a checkpoint; once more to stop at once\n"


class Stop:
    """True once a signal has come. As a context, it takes the signals and gives them back at its end.

    Example:
        >>> from attent.cli.interrupts import Stop
        >>> with Stop() as stop:
        ...     stop()
        False
    """

    def __init__(self) -> None:
        self._asked = False
        self._before: dict[signal.Signals, Any] = {}

    def __call__(self) -> bool:
        """Return whether to stop."""
        return self._asked

    def __enter__(self) -> Stop:
        """Take the signals; outside the main thread Python gives none."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        # print() must not be called here: the signal may have come in the middle of one.
        with contextlib.suppress(OSError):
            os.write(2, _TOLD)
