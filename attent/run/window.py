"""Streams without an end, a window at a time: ids need a number of examples that stays, and memory an end."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from attent import checks
from attent.errors import CourseError


class Window:
    """The next n examples of a stream, held in memory as a dataset with ids 0 to n-1; ``advance`` moves on by n.

    A plan is run over each window, so ids stay for as long as it lasts; id i is example ``first + i`` of the stream.
    The last window may be smaller, and after it comes one of length 0.

    Args:
        stream: gives the same examples whenever it is iterated over anew: an iterable dataset of Hugging Face, one of
            ``tf.data`` or grain, or an object of your own with ``__iter__``.
        n: examples of a window.

    ``load_state`` goes on from the stream's own state where it has one (``state_dict``, or ``get_state`` of its
    iterator), else by its ``skip``, else by passing over what was taken. Shuffling buffers before the window make a
    stream's own state inexact; none is needed, since a plan has an order of its own.

    Raises PlanError for an n that is none, CourseError for what cannot be iterated over again.

    Example:
        >>> from attent.run.window import Window
        >>> window = Window("abcde", 2)
        >>> while len(window):
        ...     print(window.first, [window[i] for i in range(len(window))], window.advance())
        0 ['a', 'b'] 2
        2 ['c', 'd'] 1
        4 ['e'] 0
    """

    def __init__(self, stream: Iterable[Any], n: int) -> None:
        self.n = checks.whole("n", n, 1)
        if not hasattr(stream, "__iter__") or hasattr(stream, "__next__"):
            raise CourseError(
                f"a window needs a stream that can be begun anew, got {type(stream).__name__}: give the dataset, or an "
                "object whose __iter__ makes the generator"
            )
        self._stream, self.first = stream, 0
        self._iterator: Iterator[Any] = iter(stream)
        self._place: Any = None  # of the stream, at the window's beginning; None: it has none of its own
        self._examples = self._taken()

    def __len__(self) -> int:
        """Return the number of examples held, 0 after the stream's end."""
        return len(self._examples)

    def __getitem__(self, id: int) -> Any:
        """Return an example by its id in the window."""
        return self._examples[id]

    def advance(self) -> int:
        """Let these examples go and hold the next n; return how many there are, 0 at the stream's end."""
        place = self._told()
        self.first += len(self._examples)
        self._examples = []  # before the next are read: memory for one window
        self._place = place
        self._examples = self._taken()
        return len(self._examples)

    def state(self) -> dict[str, Any]:
        """Return what ``load_state`` goes on from, at this window: plain numbers, and the stream's own state if any."""
        return {"n": self.n, "first": self.first, "held": len(self._examples), "stream": copy.deepcopy(self._place)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Hold the window again that ``state`` is of, read from the same stream.

        Raises CourseError for a state of another n, or where the stream does not give as many; this window stays then.
        """
        try:
            n, first, held, place = (state[name] for name in ("n", "first", "held", "stream"))
        except (KeyError, TypeError):
            raise CourseError("not a window's state: give what Window.state() returned") from None
        if n != self.n:
            raise CourseError(f"the state is of a window of {checks.shown(n)} examples, this one has {self.n}")
        for name, count in (("first", first), ("held", held)):
            checks.whole(name, count, 0, error=CourseError)
        if place is not None and not self._keeps_place():
            raise CourseError("the state holds a place of the stream's own, and this stream keeps none: it is another")
        other = Window.__new__(Window)
        other.n, other._stream, other.first, other._place = n, self._stream, first, copy.deepcopy(place)
        other._iterator = _begun(self._stream, first, place)
        other._examples = other._taken()
        if len(other) != held:
            # The stream's own place has moved: back to the end of this window.
            self._iterator = _begun(self._stream, self.first, self._place)
            self._taken()
            raise CourseError(
                f"the stream gives {len(other)} examples from {first} on where it gave {held}: it is another, or has "
                "changed"
            )
        self.__dict__.update(other.__dict__)

    def _taken(self) -> list[Any]:
        return list(itertools.islice(self._iterator, self.n))

    def _keeps_place(self) -> bool:
        return hasattr(self._stream, "load_state_dict") or hasattr(self._iterator, "set_state")

    def _told(self) -> Any:
        """Return the stream's own state, None where it has none."""
        for holder, name in ((self._stream, "state_dict"), (self._iterator, "get_state")):
            if hasattr(holder, name):
                return copy.deepcopy(getattr(holder, name)())
        return None


def _begun(stream: Any, first: int, place: Any) -> Iterator[Any]:
    """Return an iterator over a stream from an example on."""
    if place is not None and hasattr(stream, "load_state_dict"):
        stream.load_state_dict(copy.deepcopy(place))
        return iter(stream)
    if place is not None:
        iterator: Any = iter(stream)
        iterator.set_state(copy.deepcopy(place))
        return iterator  # type: ignore[no-any-return]
    if first and hasattr(stream, "skip"):
        return iter(stream.skip(first))
    return itertools.islice(iter(stream), first, None)
