"""Batches by ids for Keras' ``fit``: from arrays, or from a function of ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from keras import tree

from attent.errors import LearnerError
from attent.learner import Ids, Numbers


def fetcher(
    x: Any, y: Any, sample_weight: Any, n: int | None, class_weight: Any = None
) -> tuple[Callable[[Ids], Any], int]:
    """Return a function of ids that gives a batch, and the number of examples; see `taught_fit`.

    Raises LearnerError for what cannot be indexed by examples.

    Example:
        >>> import numpy as np
        >>> from attent_tensorflow.trainers.keras_data import fetcher
        >>> fetch, n = fetcher({"a": np.arange(3)}, np.arange(3) * 10, None, None)
        >>> n, fetch(np.array([2, 0]))
        (3, ({'a': array([2, 0])}, array([20,  0])))
    """
    if callable(x) and not isinstance(x, keras.utils.PyDataset) and not hasattr(x, "element_spec"):
        if not isinstance(n, int) or n < 1 or y is not None or sample_weight is not None:
            raise LearnerError("a function of ids gives x, y and sample_weight itself: give n=, and neither of these")
        if class_weight is not None:
            raise LearnerError("class_weight is for arrays; a function of ids returns (x, y, sample_weight)")
        return Function(x), n
    if n is not None:
        raise LearnerError("n is for a function of ids; arrays tell their own length")
    if y is None or hasattr(x, "__next__") or hasattr(x, "element_spec") or isinstance(x, keras.utils.PyDataset):
        raise LearnerError(
            f"x and y must be arrays, or x a function of ids that returns a batch, with n=, got "
            f"{type(x).__qualname__}: a dataset gives batches in an order of its own, where the plan chooses"
        )
    if class_weight is not None:
        if sample_weight is not None:
            raise LearnerError("there are both class_weight and sample_weight: multiply them, and give sample_weight")
        sample_weight = _by_class(y, class_weight)
    parts = (x, y) if sample_weight is None else (x, y, sample_weight)
    arrays = tree.map_structure(np.asarray, parts)
    lengths = {each.shape[0] if each.ndim else None for each in tree.flatten(arrays)}
    if None in lengths or any(each.dtype.kind in "OSUM" for each in tree.flatten(arrays)):
        raise LearnerError(
            "x and y must be arrays of numbers, or dicts or lists of them: use np.asarray on lists of numbers, and "
            "leave texts and objects out"
        )
    if len(lengths) != 1:
        raise LearnerError(f"x, y and sample_weight differ in their number of examples: {sorted(lengths)}")
    return Arrays(arrays), lengths.pop()


class Arrays:
    """Gives batches of arrays in memory, of any number of ids."""

    def __init__(self, arrays: Any) -> None:
        self.arrays = arrays

    def __call__(self, ids: Ids) -> Any:
        """Return (x, y), or (x, y, sample_weight), of these ids."""
        return tree.map_structure(lambda each: each[ids], self.arrays)


class Function:
    """A user's function of ids, whose failures name an id; what failed last is in ``failed``."""

    def __init__(self, fetch: Callable[[Ids], Any]) -> None:
        self.fetch = fetch
        self.failed: LearnerError | None = None

    def __call__(self, ids: Ids) -> Any:
        """Return a batch of these ids."""
        try:
            batch = self.fetch(ids)
        except Exception as error:
            self.failed = LearnerError(self._which(ids, error))
            raise self.failed from error
        lengths = {np.shape(each)[:1] for each in tree.flatten(batch) if each is not None}
        if lengths != {(len(ids),)}:
            got = sorted(length[0] if length else 0 for length in lengths)
            self.failed = LearnerError(f"the function of ids was asked for {len(ids)} examples, its arrays have {got}")
            raise self.failed
        return batch

    def _which(self, ids: Ids, error: Exception) -> str:
        for each in ids:
            try:
                self.fetch(np.array([each]))
            except Exception as own:
                return f"example {each} cannot be fetched: {type(own).__name__}: {own}"
        return f"examples {ids.tolist()} cannot be fetched at once: {type(error).__name__}: {error}"


@contextmanager
def told(fetch: Callable[[Ids], Any]) -> Iterator[None]:
    """Within this context what a backend makes of a failed fetch is raised as the failure itself."""
    try:
        yield
    except Exception as error:
        failed = getattr(fetch, "failed", None)
        if failed is None or failed is error:
            raise
        raise failed from error


def _by_class(y: Any, class_weight: Any) -> Any:
    """Return each example's weight by its class, as ``fit`` has it: 1 where the class has none."""
    labels = np.asarray(y)
    if labels.ndim > 2 or labels.dtype.kind not in "iufb":
        raise LearnerError("class_weight is for one output of classes, as numbers or one-hot: give sample_weight")
    if labels.ndim == 2:
        labels = labels[:, 0] if labels.shape[1] == 1 else labels.argmax(1)
    return np.array([class_weight.get(int(label), 1.0) for label in np.round(labels)], keras.config.floatx())


def inputs_of(fetch: Callable[[Ids], Any], batches: list[Ids], weights: list[Numbers] | None) -> dict[str, Any]:
    """Return what ``fit`` takes to train a pass's batches in their order.

    Of arrays a pass is taken at once, which is then sliced faster than by any generator.
    """
    if not isinstance(fetch, Arrays):
        return {"x": Batches(fetch, batches, weights)}
    whole = Batches(fetch, [np.concatenate(batches)], None if weights is None else [np.concatenate(weights)])[0]
    if keras.backend.backend() == "tensorflow":
        return {"x": _sliced(whole, len(batches[0]))}
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(whole)
    return {"x": x, "y": y, "sample_weight": sample_weight, "batch_size": len(batches[0])}


def validation_of(data: Any, size: int) -> Any:
    """Return validation data so that not every pass makes batches of them anew, as Keras on TensorFlow would.

    What are no arrays of numbers is returned as it is, for Keras to take or to refuse.
    """
    if keras.backend.backend() != "tensorflow" or not isinstance(data, tuple | list) or len(data) not in (2, 3):
        return data
    arrays = tree.flatten(tuple(data))
    if not all(isinstance(each, np.ndarray) and each.ndim and each.dtype.kind in "iufb" for each in arrays):
        return data
    return _sliced(data, size) if len({len(each) for each in arrays}) == 1 else data


def _sliced(parts: Any, size: int) -> Any:
    from attent_tensorflow.trainers.keras_datasets import sliced  # needs TensorFlow

    return sliced(parts, size)


class Batches(keras.utils.PyDataset):
    """A pass's batches, fetched one after another by one worker, so that they are trained in this order."""

    def __init__(self, fetch: Callable[[Ids], Any], batches: list[Ids], weights: list[Numbers] | None) -> None:
        super().__init__(workers=1, use_multiprocessing=False)
        self.fetch, self.batches, self.weights = fetch, batches, weights

    @property
    def num_batches(self) -> int:
        """The pass's steps."""
        return len(self.batches)

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> Any:
        batch = self.fetch(self.batches[index])
        if self.weights is None:
            return batch
        x, y, own = keras.utils.unpack_x_y_sample_weight(batch)
        weights = np.asarray(self.weights[index], keras.config.floatx())
        return x, y, weights if own is None else _times(own, weights)


def _times(own: Any, weights: Any) -> Any:
    """Return an example's own weights, by output or by step too, times the plan's."""
    return tree.map_structure(lambda each: each * weights.reshape(-1, *[1] * (each.ndim - 1)), own)
