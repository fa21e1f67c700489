"""What a traced graph does besides computing: which variables it writes, and which random numbers it draws."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import tensorflow as tf

from attent.errors import LearnerError

_WRITES = re.compile(
    r"Assign\w*VariableOp|Resource(Apply|SparseApply|Scatter|Strided)\w*|Rng\w*Skip|Stateful(?!Partitioned)\w*"
)
# Their generators live inside the operation: nobody can save them, put them back or seed them anew.
_UNSAVEABLE = frozenset(
    [
        "RandomUniform",
        "RandomUniformInt",
        "RandomStandardNormal",
        "TruncatedNormal",
        "ParameterizedTruncatedNormal",
        "RandomGamma",
        "RandomPoisson",
        "RandomPoissonV2",
        "RandomShuffle",
        "Multinomial",
    ]
)


class Graph:
    """One traced function: called with tensors, never traced again.

    Raises LearnerError for a loss that draws from TensorFlow's stateful random operations.
    """

    def __init__(self, function: Callable[..., Any], signature: list[tf.TensorSpec]) -> None:
        self._function = traced(function, signature)
        definition = self._function.graph.as_graph_def()
        nodes = [*definition.node, *(node for f in definition.library.function for node in f.node_def)]
        operations = {node.op for node in nodes}
        unsaveable = sorted(operations & _UNSAVEABLE)
        if unsaveable:
            raise LearnerError(
                f"the loss or the data draw random numbers by {unsaveable[0]}, whose state cannot be saved, so a run "
                "could not be resumed; use tf.random.stateless_* with the loss's argument `seed`, a "
                "tf.random.Generator that the model holds, or Keras layers"
            )
        self.writes = any(_WRITES.fullmatch(operation) for operation in operations)

    @property
    def variables(self) -> tuple[tf.Variable, ...]:
        """The variables that the function reads or writes."""
        return tuple(self._function.graph.variables)

    def __call__(self, *arguments: tf.Tensor) -> tf.Tensor:
        """Run the function."""
        return self._function(*arguments)

    def harmlessly(self, *arguments: tf.Tensor) -> tf.Tensor:
        """Run the function and put back the variables that it wrote, if it writes any."""
        if not self.writes:
            return self._function(*arguments)
        with kept(self.variables):
            return self._function(*arguments)


def traced(function: Callable[..., Any], signature: list[tf.TensorSpec]) -> Any:
    """Return ``function`` as a concrete function; a LearnerError in it comes out as it was raised."""
    try:
        return tf.function(function, input_signature=signature).get_concrete_function()
    except Exception as error:
        # AutoGraph raises an error of its own, an account of the call stack, while it handles the one that was raised.
        raised = error.__context__
        if isinstance(raised, LearnerError):
            raise LearnerError(raised.rule, field=raised.field) from error
        raise


@contextmanager
def kept(variables: Any) -> Iterator[None]:
    """Put the values of ``variables`` back at the end."""
    values = [(variable, tf.identity(variable)) for variable in variables]
    try:
        yield
    finally:
        for variable, value in values:
            variable.assign(value)
