"""Of what a function takes the mean: one loss per example, out of a function that returns nothing but their mean."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr, JaxprEqn, Literal

from attent.errors import LearnerError

_CALLS = ("jit", "pjit")  # what jax.jit is called in a jaxpr, by version


def mean_and_terms(function: Callable[..., Any], model: Any, batch: tuple[Any, ...]) -> tuple[Any, Any]:
    """Return ``function(model, *batch)``, a mean over examples, and of what it is the mean: float, shape (B,).

    The function is traced and run as it was traced: the mean and its gradient are its own, and the losses are what it
    sums up anyway, in the order in which it does. It must end in a mean, which may be times a constant, over all of an
    array whose first axis numbers the examples, as that of the batch's first array does.

    Raises LearnerError for a function that ends in anything else, as a mean over the tokens that are no padding, or a
    sum, also times a constant: of a pass's last batch, which may be smaller, it would give other losses.

    Example:
        >>> import jax.numpy as jnp
        >>> from attent_jax.trainers.means import mean_and_terms
        >>> mean, terms = mean_and_terms(lambda w, x: -jnp.mean(w * x), 2.0, (jnp.array([[1.0, 2.0], [3.0, 4.0]]),))
        >>> float(mean), terms.tolist()
        (-5.0, [-3.0, -7.0])
    """
    name = getattr(function, "__name__", "the function")
    if "flax.nnx" in sys.modules and isinstance(model, sys.modules["flax.nnx"].Module):
        raise _refused(name, "is of an nnx module, which it may change", "a mean")  # as dropout and BatchNorm do
    leaves, structure = jax.tree.flatten((model, batch))
    places = [place for place, leaf in enumerate(leaves) if hasattr(leaf, "shape") and hasattr(leaf, "dtype")]
    own = len(jax.tree.leaves(model))
    size = next((leaves[place].shape[0] for place in places if place >= own and leaves[place].shape), None)
    if size is None:
        raise LearnerError(f"{name} was given no array of examples after the model")

    def of_arrays(*arrays: Any) -> Any:
        every = list(leaves)
        for place, array in zip(places, arrays, strict=True):
            every[place] = array
        model, batch = jax.tree.unflatten(structure, every)
        return function(model, *batch)

    def larger(place: int) -> Any:
        shape, dtype = leaves[place].shape, leaves[place].dtype
        return jax.ShapeDtypeStruct((2 * size, *shape[1:]) if place >= own and shape[:1] == (size,) else shape, dtype)

    arrays = [leaves[place] for place in places]
    traced = jax.make_jaxpr(of_arrays)(*arrays)
    shape, scale = _summed(traced.jaxpr, name)
    # An axis that is as long as the batch by chance, as that of time may be, does not grow with it.
    grown, share = shape, scale
    if shape[:1] == (size,):
        try:
            grown, share = _summed(jax.make_jaxpr(of_arrays)(*map(larger, places)).jaxpr, name)
        except (TypeError, ValueError) as error:
            raise _refused(name, f"is for batches of {size} only", "a mean") from error
    if shape[:1] != (size,) or grown[:1] != (2 * size,):
        raise _refused(name, f"is over an array of shape {shape}, where the batch has {size} examples", "a mean")
    # In a mean each example weighs half as much among twice as many; in 16 bits up to rounding.
    if not math.isclose(2 * share, scale, rel_tol=0.05):
        raise _refused(name, "weighs more the larger the batch", "a sum")
    mean, terms = _run(traced.jaxpr, traced.consts, arrays)
    wide = terms.astype(jnp.promote_types(terms.dtype, jnp.float32))
    return mean, wide.reshape(size, -1).sum(1) * (scale * size)


class _End(NamedTuple):
    place: int  # of the equation, a sum or a call, whose result the output is a multiple of
    result: Any  # that result
    scale: float
    after: list[JaxprEqn]  # the equations from there to the output


def _end(jaxpr: Jaxpr, output: Any, name: str) -> _End:
    made = {var: place for place, equation in enumerate(jaxpr.eqns) for var in equation.outvars}
    scale, after, var = 1.0, [], output
    while not isinstance(var, Literal) and var in made:
        equation = jaxpr.eqns[made[var]]
        kind = equation.primitive.name
        if kind == "reduce_sum" or kind in _CALLS:
            return _End(made[var], var, scale, after[::-1])
        constants = [each for each in equation.invars if isinstance(each, Literal)]
        if kind == "neg":
            scale = -scale
        elif kind == "mul" and len(constants) == 1:
            scale *= float(constants[0].val)
        elif kind == "div" and equation.invars[1:] == constants:
            scale /= float(constants[0].val)
        elif kind != "convert_element_type":
            raise _refused(name, f"ends in {kind!r} and not in a mean over the examples", "a number")
        after.append(equation)
        var = next(each for each in equation.invars if not isinstance(each, Literal))
    raise _refused(name, "does not end in a mean over the examples", "a number")


def _output(equation: JaxprEqn, result: Any) -> Any:
    """Return what a call's result is called within it."""
    return equation.params["jaxpr"].jaxpr.outvars[equation.outvars.index(result)]


def _summed(jaxpr: Jaxpr, name: str, output: Any = None) -> tuple[tuple[int, ...], float]:
    """Return the shape of the array that is summed up, and by what the output is a multiple of its sum."""
    end = _end(jaxpr, jaxpr.outvars[0] if output is None else output, name)
    equation = jaxpr.eqns[end.place]
    if equation.primitive.name in _CALLS:
        shape, scale = _summed(equation.params["jaxpr"].jaxpr, name, _output(equation, end.result))
        return shape, scale * end.scale
    return equation.invars[0].aval.shape, end.scale


def _run(jaxpr: Jaxpr, consts: Any, arrays: Any, output: Any = None) -> tuple[Any, Any]:
    """Return the output and the array that is summed up for it, each computed once."""
    output = jaxpr.outvars[0] if output is None else output
    end = _end(jaxpr, output, "")
    equation = jaxpr.eqns[end.place]
    before = jaxpr.replace(eqns=jaxpr.eqns[: end.place], outvars=equation.invars)
    inputs = jax.core.eval_jaxpr(before, consts, *arrays)
    if equation.primitive.name in _CALLS:
        called = equation.params["jaxpr"]
        total, terms = _run(called.jaxpr, called.consts, inputs, _output(equation, end.result))
    else:
        (terms,) = inputs
        total = equation.primitive.bind(terms, **equation.params)
    after = jaxpr.replace(constvars=[], invars=[end.result], eqns=end.after, outvars=[output])
    return jax.core.eval_jaxpr(after, [], total)[0], terms


def _refused(name: str, told: str, got: str) -> LearnerError:
    return LearnerError(
        f"{name} must return one loss per example, shape (B,), or a plain mean of them, got {got} that {told}: leave "
        "the mean out, and of losses per token or output take the mean over those"
    )
