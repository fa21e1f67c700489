"""Named arrays for any tree of tensors, numbers and strings, and back, without pickle.

Each tensor becomes an array named by its path, such as ``model/head.weight``. Everything else is one JSON
text, stored as uint8 in the array ``tree``. A dtype that NumPy lacks (bfloat16, float8) is stored as
unsigned integers of its width and named in the tree.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from attent.errors import LearnerError
from attent.learner import State

TREE = "tree"
_BITS = {1: torch.uint8, 2: torch.uint16, 4: torch.uint32, 8: torch.uint64}


def pack(tree: Any) -> State:
    """Return ``tree`` as named, contiguous arrays that share no memory with it.

    A tree is made of dicts, lists, tuples, Counters, strings, numbers, None, tensors and arrays. Raises
    LearnerError naming the path of anything else.

    Example:
        >>> import torch
        >>> from attent_torch.state import pack, unpack
        >>> packed = pack({"lr": 0.1, "w": torch.ones(2, dtype=torch.bfloat16)})
        >>> sorted(packed), packed["w"].dtype
        (['tree', 'w'], dtype('uint16'))
        >>> unpack(packed)
        {'lr': 0.1, 'w': tensor([1., 1.], dtype=torch.bfloat16)}
    """
    arrays: State = {}
    text = json.dumps(_packed(tree, (), arrays))
    arrays[TREE] = np.frombuffer(text.encode(), np.uint8).copy()
    return arrays


def unpack(state: Mapping[str, npt.NDArray[Any]]) -> Any:
    """Return the tree that `pack` was given, with tensors on the host that share no memory with ``state``.

    Raises LearnerError naming an array that is missing or unknown.
    """
    if TREE not in state:
        raise LearnerError(f"this is no state of a TorchLearner: it has no array '{TREE}'")
    unread = set(state) - {TREE}
    try:
        tree = _unpacked(json.loads(np.asarray(state[TREE]).tobytes()), state, unread)
    except (ValueError, TypeError, StopIteration, AttributeError, IndexError) as error:
        raise LearnerError(f"this is no state of a TorchLearner: its array '{TREE}' cannot be read: {error}") from error
    if unread:
        raise LearnerError(f"the state holds arrays that it does not mention: {', '.join(sorted(unread))}")
    return tree


def _packed(value: Any, path: tuple[str, ...], arrays: State) -> Any:
    def inner(child: Any, key: object) -> Any:
        return _packed(child, (*path, str(key)), arrays)

    name = "/".join(path)
    if value is None or (isinstance(value, (bool, int, float, str)) and not isinstance(value, np.generic)):
        return value
    if isinstance(value, torch.Tensor):
        arrays[name] = _array(value, name)
        return {"tensor": name, "dtype": str(value.dtype).removeprefix("torch.")}
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biufc":
        arrays[name] = np.array(value, order="C")
        return {"array" if isinstance(value, np.ndarray) else "number": name}
    if isinstance(value, dict):
        kind = "counter" if isinstance(value, Counter) else "dict"
        return {kind: [[inner(key, f"key {key}"), inner(child, key)] for key, child in value.items()]}
    if isinstance(value, (list, tuple)):
        children = [inner(child, index) for index, child in enumerate(value)]
        return {"tuple": children} if isinstance(value, tuple) else children
    raise LearnerError(
        f"cannot save '{name}', which is {type(value).__module__}.{type(value).__qualname__}; "
        "a state may hold tensors, arrays, numbers, strings, and lists, tuples and dicts of them"
    )


def _array(tensor: torch.Tensor, name: str) -> npt.NDArray[Any]:
    if tensor.layout is not torch.strided:
        raise LearnerError(f"cannot save '{name}', a tensor of layout {tensor.layout}; only dense tensors can be")
    # detach().to() of a tensor on the host would share its memory.
    copied = tensor.detach().to("cpu", copy=True).contiguous()
    try:
        return copied.numpy()
    except TypeError:
        return copied.view(_BITS[copied.element_size()]).numpy()


def _unpacked(value: Any, state: Mapping[str, npt.NDArray[Any]], unread: set[str]) -> Any:
    def inner(child: Any) -> Any:
        return _unpacked(child, state, unread)

    if isinstance(value, list):
        return [inner(child) for child in value]
    if not isinstance(value, dict):
        return value
    kind, content = next(iter(value.items()))
    if kind == "tuple":
        return tuple(inner(content))
    if kind in ("dict", "counter"):
        pairs = {inner(key): inner(child) for key, child in content}
        return pairs if kind == "dict" else Counter(pairs)
    if content not in state:
        raise LearnerError(f"the state lacks the array '{content}'")
    unread.discard(content)
    array = np.array(state[content], order="C")
    if array.dtype.kind not in "biufc" or not array.dtype.isnative:
        raise LearnerError(
            f"'{content}' is an array of {array.dtype} in the state, which no tensor or number is kept in"
        )
    if kind == "tensor":
        dtype, tensor = getattr(torch, value["dtype"]), torch.from_numpy(array)
        if tensor.dtype == dtype:
            return tensor
        if tensor.dtype != _BITS.get(dtype.itemsize) or _numpy_has(dtype):
            raise LearnerError(f"'{content}' is {array.dtype} in the state, which says that it is {value['dtype']}")
        return tensor.view(dtype)
    return array if kind == "array" else array[()]


def _numpy_has(dtype: torch.dtype) -> bool:
    try:
        torch.empty(0, dtype=dtype).numpy()
    except TypeError:
        return False
    return True
