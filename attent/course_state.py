"""A course's state as named arrays: what is needed to go on, and no more."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from attent.errors import CourseError
from attent.learner import Ids, Numbers, State
from attent.plan import Plan
from attent.records import Selected

Unpacked = tuple[dict[str, Any], Numbers, npt.NDArray[np.int32], Ids | None, Numbers | None, Selected | None]


def pack_ids(ids: Ids, n: int) -> npt.NDArray[np.uint8]:
    """Return ascending distinct ids below n as bits: uint8, shape (ceil(n / 8),), id 0 the highest bit.

    Example:
        >>> import numpy as np
        >>> from attent.course_state import pack_ids, unpack_ids
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
) -> State:
    """Return everything as named arrays, copied."""
    position = {**position, "selection": msgspec.to_builtins(selection)}
    state: State = {"position": pack_json(position), "scores": scores.copy(), "seen": seen.copy()}
    if ids is not None:
        state["ids"] = pack_ids(ids, len(scores))
    if weights is not None:
        state["weights"] = weights.copy()
    return state


def unpack(state: Mapping[str, npt.NDArray[Any]], n: int, plan: Plan) -> Unpacked:
    """Return what ``pack`` packed. Raises CourseError if it is of another plan or n, or not a course's state."""
    missing = {"position", "scores", "seen"} - set(state)
    if missing:
        raise CourseError(f"not a course's state: {', '.join(sorted(missing))} is missing")
    position = unpack_json(state["position"])
    if position["n"] != n:
        raise CourseError(f"the state is of a course over {position['n']} examples, this one has {n}")
    difference = plan_difference(position["plan"], position["rounds"], plan)
    if difference:
        raise CourseError(f"the state is of another plan: {difference}")
    if state["scores"].shape != (n,) or state["seen"].shape != (n,):
        raise CourseError(f"the state's scores have shape {state['scores'].shape}, expected ({n},)")
    return (
        position,
        np.array(state["scores"], np.float64),
        np.array(state["seen"], np.int32),
        unpack_ids(state["ids"], n) if "ids" in state else None,
        np.array(state["weights"], np.float64) if "weights" in state else None,
        msgspec.convert(position["selection"], Selected | None),
    )


def plan_difference(fields: Mapping[str, Any], rounds: list[list[Any]], plan: Plan) -> str | None:
    """Return in words how a recorded plan differs from ``plan``, or None.

    Schedules are compared by the rounds they gave, so a function is the same if it says the same.
    """
    mine = json.loads(json.dumps(plan.to_dict()))
    told = [
        f"{name} was {fields.get(name)!r}, is {mine[name]!r}"
        for name in mine
        if name not in ("ratio", "interval") and fields.get(name) != mine[name]
    ]
    if rounds != [list(row) for row in plan.rounds()]:
        told.append("the ratios or intervals of its rounds differ")
    return "; ".join(told) or None
