"""A course's state as named arrays: what is needed to go on, and a digest of it, and no more."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from attent.choose import policy
from attent.choose.sources import Reuse
from attent.errors import CourseError
from attent.learner import Ids, Numbers, State
from attent.plan.plan import Plan
from attent.run.extension import continuation_difference
from attent.run.records import Selected, digest_of_arrays

_DTYPES = {
    "position": "uint8",
    "scores": "float64",
    "seen": "int32",
    "ids": "uint8",
    "weights": "float64",
    "before": "float64",
    "watched": "float64",
    "digest": "uint8",
}
_NEEDED = {"position", "scores", "seen", "digest"}


class Position(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A course's place in its timeline: the numbers of its state, of which the arrays are the rest."""

    n: int
    plan: dict[str, Any]
    rounds: list[list[Any]]
    epoch: int
    step: int
    draw: int
    scored: bool
    chosen: bool
    loss_sum: float
    trained: int
    memory: dict[str, Any] | None
    given: str | None  # digest of the reference, or of the scores to replay
    selection: Selected | None
    finite: int | None = None  # None: of all trained
    skipped: int = 0
    scoring: int = 0
    watched_at: int = -1  # the draw before which was watched last


Unpacked = tuple[Position, Numbers, npt.NDArray[np.int32], Ids | None, Numbers | None, Numbers | None, Numbers | None]


def keeps_before(plan: Plan) -> bool:
    """Return whether a course keeps an earlier loss of each example: the one before the latest, or the first seen."""
    progress = isinstance(plan.source, Reuse) and plan.source.measure == "progress"
    return progress or "before" in policy.asks(plan.select)


def pack_ids(ids: Ids, n: int) -> npt.NDArray[np.uint8]:
    """Return ascending distinct ids below n as bits: uint8, shape (ceil(n / 8),), id 0 the highest bit.

    Example:
        >>> import numpy as np
        >>> from attent.run.state import pack_ids, unpack_ids
        >>> unpack_ids(pack_ids(np.array([0, 9]), 10), 10).tolist()
        [0, 9]
    """
    chosen = np.zeros(n, np.bool_)
    chosen[ids] = True
    return np.packbits(chosen)


def unpack_ids(bits: npt.NDArray[np.uint8], n: int) -> Ids:
    """Return the ids that ``pack_ids`` packed, ascending: int64."""
    return np.flatnonzero(np.unpackbits(bits, count=n))


def pack_json(value: object) -> npt.NDArray[np.uint8]:
    """Return a JSON-ready value as an array of its bytes: uint8."""
    return np.frombuffer(json.dumps(value, sort_keys=True).encode(), np.uint8).copy()


def unpack_json(array: npt.NDArray[Any]) -> Any:
    """Return the value that ``pack_json`` packed."""
    return json.loads(array.tobytes())


def pack(
    position: dict[str, Any],
    scores: Numbers,
    seen: npt.NDArray[np.int32],
    ids: Ids | None,
    weights: Numbers | None,
    selection: Selected | None,
    before: Numbers | None,
    watched: Numbers | None = None,
) -> State:
    """Return everything as named arrays, copied, with a digest of them all."""
    position = {**position, "selection": msgspec.to_builtins(selection)}
    state: State = {"position": pack_json(position), "scores": scores.copy(), "seen": seen.copy()}
    if ids is not None:
        state["ids"] = pack_ids(ids, len(scores))
    if weights is not None:
        state["weights"] = weights.copy()
    if before is not None:
        state["before"] = before.copy()
    if watched is not None:
        state["watched"] = watched.copy()
    state["digest"] = digest_of_state(state)
    return state


def digest_of_state(state: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.uint8]:
    """Return the SHA-256 of all that a state holds beside it: uint8, shape (32,)."""
    rest = {name: array for name, array in state.items() if name != "digest"}
    return np.frombuffer(bytes.fromhex(digest_of_arrays(rest)), np.uint8).copy()


def check_digest(state: Mapping[str, npt.NDArray[Any]]) -> None:
    """Raise CourseError if a state has changed since a course made it, or is none."""
    if not {"digest", "position"} <= set(state) or not np.array_equal(state["digest"], digest_of_state(state)):
        raise CourseError(
            "the state is damaged: its digest does not match its content, which has changed since the course made it. "
            "Take an earlier one, or begin anew"
        )


def unpack_position(array: npt.NDArray[Any]) -> Position:
    """Return the position that a state holds. Raises CourseError if it cannot be read."""
    try:
        return msgspec.convert(unpack_json(array), Position)
    except (ValueError, RecursionError) as error:
        raise CourseError(f"not a course's state: its position cannot be read: {error}") from None


def unpack(state: Mapping[str, npt.NDArray[Any]], n: int, plan: Plan) -> Unpacked:
    """Return what ``pack`` packed, copied.

    Raises CourseError if it is no course's state, has changed since it was made, or is of another plan or n. What
    the digest fits was a course's own: nothing else of it is questioned.
    """
    missing, unknown = _NEEDED - set(state), set(state) - set(_DTYPES)
    if missing or unknown:
        told, names = ("is missing", missing) if missing else ("is unknown", unknown)
        raise CourseError(f"not a course's state: {', '.join(sorted(names))} {told}")
    for name, array in state.items():
        if not isinstance(array, np.ndarray) or array.dtype != _DTYPES[name] or array.ndim != 1:
            got = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
            raise CourseError(f"the state's {name} must be one-dimensional {_DTYPES[name]}, got {got}")
    check_digest(state)
    position = unpack_position(state["position"])
    if position.n != n:
        raise CourseError(f"the state is of a course over {position.n} examples, this one has {n}")
    begun = position.epoch + (position.scored or position.scoring > 0 or position.chosen)
    difference = continuation_difference(position.plan, position.rounds, plan, n, begun)
    if difference:
        raise CourseError(f"the state is of another plan: {difference}")
    _check_lengths(state, {"scores": n, "seen": n, "before": n, "ids": -(-n // 8)})
    ids = unpack_ids(state["ids"], n) if "ids" in state else None
    _check_lengths(state, {"weights": n if ids is None else len(ids)})
    _check_place(position, plan, n if ids is None else len(ids))
    weights, before, watched = (
        state[name].copy() if name in state else None for name in ("weights", "before", "watched")
    )
    return position, state["scores"].copy(), state["seen"].copy(), ids, weights, before, watched


def _check_place(at: Position, plan: Plan, taught: int) -> None:
    """Raise CourseError for a place that no course of this plan can stand in, or has nothing left to teach in."""
    within = 0 <= at.epoch <= plan.epochs and at.draw >= 0 and at.step >= 0
    begun = at.step > 0 and at.trained == at.step * plan.batch_size < taught and at.epoch < plan.epochs
    if not within or not (begun or at.step == at.trained == 0):
        places = {name: getattr(at, name) for name in ("epoch", "step", "draw", "trained")}
        raise CourseError(f"no course of {plan.epochs} epochs stands at {places}")


def _check_lengths(state: Mapping[str, npt.NDArray[Any]], wanted: Mapping[str, int]) -> None:
    """Raise CourseError unless each of these arrays, where it is there, has its length."""
    for name, count in wanted.items():
        if name in state and len(state[name]) != count:
            raise CourseError(f"the state's {name} must have length {count}, got {len(state[name])}")
