"""What a learner must remember to go on exactly, as named arrays and back, without pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from attent.errors import LearnerError
from attent.learner import State
from attent_tensorflow.variables import Named

ABOUT, STEPS = "about", "steps"


class Checkpoint:
    """The variables that make up a learner, by name, and the kind of its optimiser.

    In a state each variable is an array by its name. ``steps`` is the number of steps taken, and ``about`` a
    JSON text as uint8: the optimiser's class, and each variable's dtype. A dtype that NumPy lacks (bfloat16) is
    stored as unsigned integers of its width.

    Example:
        >>> import tensorflow as tf
        >>> from attent_tensorflow.state import Checkpoint
        >>> state = Checkpoint({"model/w": tf.Variable(tf.ones(2, tf.bfloat16))}, None).gathered(3)
        >>> sorted(state), state["model/w"].dtype
        (['about', 'model/w', 'steps'], dtype('uint16'))
    """

    def __init__(self, variables: Named, optimizer: Any) -> None:
        self._variables = variables
        self._about = {
            "optimizer": type(optimizer).__qualname__,
            "dtypes": {name: variable.dtype.name for name, variable in variables.items()},
        }

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
        """Return the present values, copied."""
        state: State = {name: _array(variable) for name, variable in self._variables.items()}
        state[STEPS] = np.array(steps, np.int64)
        state[ABOUT] = np.frombuffer(json.dumps(self._about, sort_keys=True).encode(), np.uint8).copy()
        return state

    def taken_up(self, state: Mapping[str, npt.NDArray[Any]]) -> int:
        """Put a state's values into the variables and return its number of steps.

        Raises LearnerError naming what does not fit; nothing is changed then.
        """
        steps = self._check(state)
        for name, variable in self._variables.items():
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
        except (ValueError, TypeError, KeyError) as error:
            raise LearnerError(f"this is no state of a TensorFlowLearner: its array '{ABOUT}' holds {error}") from error
        if optimizer != self._about["optimizer"]:
            raise LearnerError(f"the state's optimizer is {optimizer}, this learner's is {self._about['optimizer']}")
        saved = set(state) - {ABOUT, STEPS}
        missing, unknown = sorted(set(self._variables) - saved), sorted(saved - set(self._variables))
        if missing or unknown:
            raise LearnerError(
                f"the state does not fit the learner: it lacks {_listed(missing)} and has {_listed(unknown)} too many"
            )
        for name, variable in self._variables.items():
            array = np.asarray(state[name])
            dtype = dtypes.get(name)
            if dtype is None or array.dtype != _stored(tf.as_dtype(dtype)):
                dtype = str(array.dtype)  # not its name, which is the same in the other byte order
            if dtype != variable.dtype.name or array.shape != variable.shape:
                raise LearnerError(
                    f"'{name}' is {dtype} of shape {array.shape} in the state, but {variable.dtype.name} of shape "
                    f"{tuple(variable.shape)} in this learner"
                )
        steps = np.asarray(state[STEPS])
        if steps.shape != () or steps.dtype != np.int64 or steps < 0:
            raise LearnerError(f"'{STEPS}' must be one int64 of at least 0, got {steps!r}")
        return int(steps)


def _stored(dtype: tf.DType) -> np.dtype[Any]:
    """Return the NumPy dtype that values of ``dtype`` are stored in."""
    native = np.dtype(dtype.as_numpy_dtype)
    return native if native.kind in "biufc" else np.dtype(f"uint{8 * native.itemsize}")


def _array(variable: tf.Variable) -> npt.NDArray[Any]:
    return np.array(variable.numpy(), order="C").view(_stored(variable.dtype))


def _listed(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:8]) + (" ..." if len(names) > 8 else "") or "nothing"
