"""Whether a saved optimiser state fits an optimiser, which `Optimizer.load_state_dict` does not ask."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.optim import Optimizer

from attent.errors import LearnerError

# What torch.optim's own optimisers keep one number of for each parameter; all else has the parameter's shape.
_NUMBERS = frozenset({"step", "mu_product", "eta", "mu"})


def check_moments(optimizer: Optimizer, saved: Mapping[str, Any]) -> None:
    """Raise LearnerError unless each saved value is of a parameter there is, and of a shape that it can have.

    An optimiser that has stepped knows the shapes. One that has not keeps nothing yet: for those of torch.optim
    the parameter's shape then decides; what others keep is theirs to know.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    current = optimizer.state_dict()["state"]
    own = type(optimizer).__module__.startswith("torch.optim.") and not isinstance(optimizer, torch.optim.LBFGS)
    for index, values in saved["state"].items():
        if not isinstance(index, int) or not 0 <= index < len(parameters):
            raise LearnerError(
                f"the state's optimizer has moments of parameter {index!r}; this learner's has {len(parameters)} "
                "parameters"
            )
        known = current.get(index, {})
        for name, value in values.items():
            there = known.get(name)
            if isinstance(there, torch.Tensor):
                ours, fits = kind(there), kind(value) == kind(there)
            elif own and isinstance(value, torch.Tensor):
                shapes = list(_shapes(optimizer, name, parameters[index]))
                ours, fits = f"of shape {' or '.join(map(str, shapes))}", tuple(value.shape) in shapes
            else:
                continue
            if not fits:
                raise LearnerError(
                    f"'optimizer/state/{index}/{name}' is {kind(value)} in the state, but {ours} in this learner"
                )
    if own:
        _check_complete(saved)


def kind(value: Any) -> str:
    """Return dtype and shape of a tensor in words, and the type of anything else.

    Example:
        >>> import torch
        >>> from attent_torch.moments import kind
        >>> kind(torch.zeros(2, 3)), kind(1.5)
        ('float32 of shape (2, 3)', 'float')
    """
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}"
    return type(value).__name__


def _shapes(optimizer: Optimizer, name: str, parameter: torch.Tensor) -> Iterator[tuple[int, ...]]:
    shape = tuple(parameter.shape)
    if name in _NUMBERS:
        yield ()
    elif name == "row_var":  # Adafactor's means over a matrix's columns, and over its rows
        yield (*shape[:-1], 1)
    elif name == "col_var":
        yield (*shape[:-2], 1, *shape[-1:])
    else:
        yield shape


def _check_complete(saved: Mapping[str, Any]) -> None:
    """Raise LearnerError where a parameter lacks a moment that another of its group and dimensions has."""
    for group in saved["param_groups"]:
        held = {index: saved["state"][index] for index in group["params"] if index in saved["state"]}
        for dimensions in {_dimensions(values) for values in held.values()}:
            alike = {index: set(values) for index, values in held.items() if _dimensions(values) == dimensions}
            every = set().union(*alike.values())
            for index, names in alike.items():
                if every - names:
                    name = min(every - names)
                    raise LearnerError(f"the state lacks 'optimizer/state/{index}/{name}', which other parameters have")


def _dimensions(values: Mapping[str, Any]) -> bool:
    # Adafactor keeps rows and columns of matrices, and a vector whole.
    return "row_var" in values or "col_var" in values
