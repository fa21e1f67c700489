"""What a learner must remember to go on exactly, as named arrays and back, without pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from attent.errors import LearnerError
from attent.extra import Extra
from attent.learner import State
from attent_tensorflow.extra import as_now, leaves
from attent_tensorflow.frozen import Frozen
from attent_tensorflow.variables import Named

ABOUT, STEPS = "about", "steps"


class Checkpoint:
    """The variables that make up a learner, by name, the kind of its optimiser, and what goes on beside them.

    In a state each variable is an array by its name, but not those in ``frozen`` while they are what they were at
    first. ``steps`` is the number of steps taken, and ``about`` a JSON text as uint8: the optimiser's class, each
    variable's dtype, and the number and digest of what was left out. A dtype that NumPy lacks (bfloat16) is stored as
    unsigned integers of its width.

    Example:
        >>> import tensorflow as tf
        >>> from attent.extra import Extra
        >>> from attent_tensorflow.frozen import Frozen
        >>> from attent_tensorflow.state import Checkpoint
        >>> w = tf.Variable(tf.ones(2, tf.bfloat16))
        >>> state = Checkpoint({"model/w": w}, None, Frozen(tf.Module(), []), Extra(None)).gathered(3)
        >>> sorted(state), state["model/w"].dtype
        (['about', 'model/w', 'steps'], dtype('uint16'))
    """

    def __init__(self, variables: Named, optimizer: Any, frozen: Frozen, extra: Extra) -> None:
        self._variables, self._frozen, self._extra = variables, frozen, extra
        self._optimizer = type(optimizer).__qualname__

    def settings(self) -> State:
        """Return the learning rates among the variables, by name."""
        return {
            name: _array(variable)
            for name, variable in self._variables.items()
            if name.startswith("optimizer/") and name.rpartition("/")[2] == "learning_rate" and variable.shape == ()
        }

    def put(self, name: str, value: npt.NDArray[Any]) -> None:
        """Give one variable the value that ``settings`` returned."""
        native = self._variables[name].dtype.as_numpy_dtype
        self._variables[name].assign(value.view(native))

    def gathered(self, steps: int) -> State:
        """Return the present values, copied; before the first step all, as what training changes is not known yet."""
        still = self._frozen.unchanged() if steps else {}
        values = {**self._variables, **leaves(self._extra.states())}
        state: State = {name: _array(value) for name, value in values.items() if name not in still}
        about = {"optimizer": self._optimizer, "dtypes": {name: _dtype(values[name]).name for name in state}}
        if still:
            about["frozen"] = {"count": len(still), "digest": self._frozen.digest(still)}
        state[STEPS] = np.array(steps, np.int64)
        state[ABOUT] = np.frombuffer(json.dumps(about, sort_keys=True).encode(), np.uint8).copy()
        return state

    def taken_up(self, state: Mapping[str, npt.NDArray[Any]]) -> int:
        """Put a state's values into the variables and return its number of steps.

        Raises LearnerError naming what does not fit; nothing is changed then.
        """
        steps = self._check(state)
        self._extra.load(as_now(state, self._extra.states()))
        for name, variable in self._variables.items():
            if name not in state:
                continue  # as it is
            array = np.asarray(state[name])
            native = variable.dtype.as_numpy_dtype
            variable.assign(array if array.dtype == native else array.view(native))
        return steps

    def _check(self, state: Mapping[str, npt.NDArray[Any]]) -> int:
        for name in (ABOUT, STEPS):
            if name not in state:
                raise LearnerError(f"this is no state of a TensorFlowLearner: it has no array '{name}'")
        try:
            about = json.loads(np.asarray(state[ABOUT]).tobytes())
            optimizer, dtypes = about["optimizer"], dict(about["dtypes"])
            count, digest = (about.get("frozen") or {"count": 0, "digest": None}).values()
        except (ValueError, TypeError, KeyError) as error:
            raise LearnerError(f"this is no state of a TensorFlowLearner: its array '{ABOUT}' holds {error}") from error
        if optimizer != self._optimizer:
            raise LearnerError(f"the state's optimizer is {optimizer}, this learner's is {self._optimizer}")
        own = {**self._variables, **leaves(self._extra.states())}
        saved = set(state) - {ABOUT, STEPS}
        missing, unknown = sorted(set(own) - saved), sorted(saved - set(own))
        left_out = [name for name in missing if name in self._frozen]
        if len(left_out) == count:
            missing = [name for name in missing if name not in left_out]
        if missing or unknown:
            raise LearnerError(
                f"the state does not fit the learner: it lacks {_listed(missing)} and has {_listed(unknown)} too many"
            )
        if count and digest != self._frozen.digest(self._frozen.checksums(left_out)):
            raise LearnerError(
                f"the state leaves out {count} variables that training does not change ({_listed(left_out)}), and "
                "those of this learner are others: build it from the very model that the run began with"
            )
        for name, value in own.items():
            if name not in saved:
                continue
            array, dtype = np.asarray(state[name]), dtypes.get(name)
            if dtype is None or array.dtype != _stored(tf.as_dtype(dtype)):
                dtype = str(array.dtype)  # not its name, which is the same in the other byte order
            if dtype != _dtype(value).name or array.shape != value.shape:
                raise LearnerError(
                    f"'{name}' is {dtype} of shape {array.shape} in the state, but {_dtype(value).name} of shape "
                    f"{tuple(value.shape)} in this learner"
                )
        steps = np.asarray(state[STEPS])
        if steps.shape != () or steps.dtype != np.int64 or steps < 0:
            raise LearnerError(f"'{STEPS}' must be one int64 of at least 0, got {steps!r}")
        return int(steps)


def _stored(dtype: tf.DType) -> np.dtype[Any]:
    """Return the NumPy dtype that values of ``dtype`` are stored in."""
    native = np.dtype(dtype.as_numpy_dtype)
    return native if native.kind in "biufc" else np.dtype(f"uint{8 * native.itemsize}")


def _dtype(value: Any) -> tf.DType:
    return tf.as_dtype(value.dtype)


def _array(value: Any) -> npt.NDArray[Any]:
    array = value if isinstance(value, np.ndarray) else value.numpy()
    return np.array(array, order="C").view(_stored(_dtype(value)))


def _listed(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:8]) + (" ..." if len(names) > 8 else "") or "nothing"
