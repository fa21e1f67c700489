"""A feed's state as texts, which every checkpoint format can hold: one JSON text and its digest."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
import numpy as np

from attent.errors import CourseError
from attent.learner import State

_FORMAT = 1
_DType = Annotated[str, msgspec.Meta(pattern=r"^[<>|][biuf][1248]$")]
_Texts = dict[str, tuple[_DType, str]]  # by name, dtype and base64


class _Told(msgspec.Struct, frozen=True):
    format: int
    fingerprint: str | None
    course: _Texts
    losses: _Texts


def written(course: State, losses: State, fingerprint: str | None) -> dict[str, Any]:
    """Return a course's state and the losses of the pass under way as ``{"feed": JSON text, "digest": SHA-256}``.

    Example:
        >>> import numpy as np
        >>> from attent.run.feed_state import read_back, written
        >>> read_back(written({}, {"numbers": np.ones(2)}, None), None)[1]["numbers"]
        array([1., 1.])
    """
    parts = {"course": _texts(course), "losses": _texts(losses)}
    text = json.dumps({"format": _FORMAT, "fingerprint": fingerprint, **parts}, sort_keys=True)
    return {"feed": text, "digest": _digest(text)}


def read_back(state: Mapping[str, Any], fingerprint: str | None) -> tuple[State, State]:
    """Return the course's state and the losses. Raises CourseError if the state is damaged, or of other data."""
    if not isinstance(state, Mapping) or set(state) != {"feed", "digest"} or not isinstance(state["feed"], str):
        got = sorted(map(str, state)) if isinstance(state, Mapping) else type(state).__name__
        raise CourseError(f"not a feed's state: it must have the texts 'feed' and 'digest', got {got}")
    text = state["feed"]
    if _digest(text) != state["digest"]:
        raise CourseError("the feed's state is damaged: its digest is not that of its text. Take an earlier checkpoint")
    try:
        found = msgspec.json.decode(text, type=dict[str, Any])
        if found.get("format", _FORMAT) != _FORMAT:
            raise CourseError(f"the feed's state has format {found['format']}, this attent reads format {_FORMAT}")
        told = msgspec.convert(found, _Told)
        course, losses = _arrays(told.course), _arrays(told.losses)
    except (ValueError, TypeError, RecursionError) as error:  # TypeError: a dtype that NumPy lacks
        raise CourseError(f"not a feed's state: its text cannot be read: {error}") from None
    if told.fingerprint != fingerprint:
        raise CourseError(
            f"the feed's state is of data with fingerprint {told.fingerprint!r}, these have {fingerprint!r}: "
            "ids would name other examples. Go on with the data the run began with, or start a new run"
        )
    return course, losses


def _texts(arrays: State) -> dict[str, list[str]]:
    return {name: [array.dtype.str, base64.b64encode(array.tobytes()).decode()] for name, array in arrays.items()}


def _arrays(texts: _Texts) -> State:
    return {name: np.frombuffer(base64.b64decode(text), dtype).copy() for name, (dtype, text) in texts.items()}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
