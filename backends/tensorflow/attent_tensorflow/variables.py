"""The variables of a model and of its optimiser, by names that do not depend on what else was built before."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import tensorflow as tf

Named = dict[str, tf.Variable]


def bare(variable: Any) -> tf.Variable:
    """Return the TensorFlow variable inside a Keras variable, or the variable or tensor itself."""
    return variable if isinstance(variable, tf.Variable | tf.Tensor) else variable.value


def mirrored(variable: Any) -> bool:
    """Whether a variable lies on the replicas of a strategy, one value each."""
    return isinstance(variable, tf.distribute.DistributedValues)


def model_variables(model: Any) -> Named:
    """Return all variables of a model: parameters, statistics and the states of its random generators.

    Keras' are named by their paths, others by the attributes that lead to them.

    Example:
        >>> import tensorflow as tf
        >>> from attent_tensorflow.variables import model_variables
        >>> class Line(tf.Module):
        ...     def __init__(self):
        ...         self.slope, self.random = tf.Variable(1.0), tf.random.Generator.from_seed(0)
        >>> sorted(model_variables(Line()))
        ['random/_state_var', 'slope']
    """
    listed = list(getattr(model, "variables", ()))
    pairs: list[tuple[str, Any]] = []
    if any(isinstance(v, tf.Variable) for v in listed) or not listed:
        pairs += _attributes(model)
    else:
        pairs += zip(_renumbered([v.path for v in listed]), listed, strict=True)
    return _unique(pairs + [(_leaf(variable), variable) for variable in listed])


def optimizer_variables(optimizer: Any, model: Named, trained: Sequence[Any]) -> Named:
    """Return all variables of an optimiser; a moment is named after the parameter it belongs to."""
    if not hasattr(next(iter(optimizer.variables), None), "path"):
        return _unique([*_attributes(optimizer), *((_leaf(v), v) for v in optimizer.variables)])
    names = {id(variable): name for name, variable in model.items()}
    # Keras joins the parameter's path and the moment's name by underscores.
    prefixes = [(getattr(v, "path", bare(v).name).replace("/", "_").replace(":", "_"), v) for v in trained]
    prefixes.sort(key=lambda pair: -len(pair[0]))
    pairs = []
    counts: dict[str, int] = {}
    for variable in optimizer.variables:
        leaf = variable.path.rpartition("/")[2]
        for prefix, parameter in prefixes:
            # Parameters outside Keras may share a name; their moments then come in the parameters' order.
            if leaf.startswith(prefix + "_"):
                slot = leaf.removeprefix(prefix + "_")
                same = [v for other, v in prefixes if other == prefix]
                place = counts.get(leaf, 0)
                counts[leaf] = place + 1
                own = same[place] if place < len(same) else parameter
                pairs.append((f"{names[id(bare(own))]}/{slot}", variable))
                break
        else:
            pairs.append((leaf, variable))
    return _unique(pairs)


def other_variables(captured: Iterable[tf.Variable], known: Named) -> Named:
    """Return captured variables that are not known yet, such as a global generator's state."""
    own = {id(variable) for held in known.values() for variable in (held, *(held.values if mirrored(held) else ()))}
    rest = [variable for variable in captured if id(variable) not in own]
    names = _renumbered([variable.name.split(":")[0] for variable in rest])
    return _unique(zip(names, rest, strict=True))


def _attributes(root: Any) -> Iterator[tuple[str, Any]]:
    """Yield each variable that attributes lead to, with the first path to it, breadth first."""
    if not isinstance(root, tf.__internal__.tracking.AutoTrackable):
        return
    view = tf.train.TrackableView(root)
    seen, waiting = {id(root)}, [("", root)]
    while waiting:
        path, parent = waiting.pop(0)
        for key, child in view.children(parent).items():
            if id(child) in seen:
                continue
            seen.add(id(child))
            name = f"{path}/{key}" if path else str(key)
            if isinstance(child, tf.Variable) or hasattr(child, "_shared_name"):
                yield name, child
            else:
                waiting.append((name, child))


def _renumbered(paths: Sequence[str]) -> list[str]:
    """Return paths with automatic numbers such as Keras' ``dense_7`` counted anew, in order of appearance."""
    given: dict[str, str] = {}
    counts: dict[str, int] = {}
    result = []
    for path in paths:
        parts = []
        for part in path.split("/"):
            if part not in given:
                stem = re.sub(r"_\d+$", "", part)
                number = counts.get(stem, 0)
                counts[stem] = number + 1
                given[part] = f"{stem}_{number}" if number else stem
            parts.append(given[part])
        result.append("/".join(parts))
    return result


def _leaf(variable: Any) -> str:
    return str(getattr(variable, "path", None) or variable.name).split(":")[0].rpartition("/")[2]


def _unique(pairs: Iterable[tuple[str, Any]]) -> Named:
    """Return each variable once, under its first name; later ones of one name get a number."""
    result: Named = {}
    seen: set[int] = set()
    for name, variable in pairs:
        variable = bare(variable)
        if id(variable) in seen:
            continue
        seen.add(id(variable))
        number, free = 1, name
        while free in result:
            number, free = number + 1, f"{name}#{number + 1}"
        result[free] = variable
    return result
