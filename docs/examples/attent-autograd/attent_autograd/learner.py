"""A learner for models written with autograd.numpy, and attent's reference network as such a model."""

import autograd.numpy as np
from autograd import make_vjp
from autograd.extend import notrace_primitive

from attent.learner import check_batches, check_ids, checked_arrays, checked_state
from attent.reference import AdamW, initial_moments, parameter_shapes
from attent.reference.examples import checked_examples

_peak = notrace_primitive(lambda x: np.max(x, -1, keepdims=True))  # a shift that leaves the gradient alone


class AutogradLearner:
    """Teaches ``loss(parameters, *rows) -> (b,)`` on ``data``: arrays of n rows each, or None."""

    def __init__(self, loss, parameters, data, optimiser=None, learning_rate=1e-3, scoring_batch=64):
        self.loss = lambda p, ids: loss(p, *[None if array is None else array[ids] for array in data])
        self.n, self.scoring_batch, self.optimiser = len(data[0]), scoring_batch, optimiser or AdamW()
        self.rate = learning_rate if callable(learning_rate) else lambda step: learning_rate
        self.parameters = {name: array.copy() for name, array in parameters.items()}
        self.moments, self.steps = initial_moments(self.optimiser, self.parameters), 0

    def __len__(self):
        return self.n

    def score(self, ids):
        check_ids("ids", ids, self.n)
        parts = np.split(ids, range(self.scoring_batch, len(ids), self.scoring_batch)) if len(ids) else []
        return np.concatenate([np.zeros(0)] + [self.loss(self.parameters, part) for part in parts])  # float64

    def train(self, batches, weights=None):
        check_batches(batches, weights, self.n)  # everything is checked before anything changes
        weights = [np.ones(len(ids)) for ids in batches] if weights is None else weights
        result = [np.zeros(0)]
        for ids, weight in zip(batches, weights, strict=True):
            backward, losses = make_vjp(self.loss)(self.parameters, ids)
            gradients = backward((weight / len(ids)).astype(losses.dtype))  # of the mean of weight times loss
            result.append(losses)
            if not all(np.isfinite(array).all() for array in [losses, *gradients.values()]):
                continue  # a step that is not finite changes nothing
            self.parameters, self.moments = self.optimiser.step(
                self.parameters, gradients, self.moments, count=self.steps + 1, learning_rate=self.rate(self.steps)
            )
            self.steps += 1
        return np.concatenate(result)

    def state(self):
        groups = {"parameters": self.parameters, **self.moments}
        arrays = {f"{group}.{name}": array.copy() for group in groups for name, array in groups[group].items()}
        return {**arrays, "steps": np.array(self.steps)}

    def load_state(self, state):
        new = checked_state(state, self.state())
        self.moments = {group: {name: new[f"{group}.{name}"] for name in self.parameters} for group in self.moments}
        self.parameters = {name: new[f"parameters.{name}"] for name in self.parameters}
        self.steps = int(new["steps"])


def reference_learner(a, parameters, inputs, targets, *, lengths=None, task_weights=None, dtype="float64", **settings):
    """Return what ``attent.reference.NumpyLearner`` of the same arguments is, written in autograd."""
    parameters = checked_arrays(parameters, parameter_shapes(a), "parameters")
    parameters = {name: array.astype(dtype) for name, array in parameters.items()}
    data = checked_examples(a, inputs, targets, lengths, dtype, "training", task_weights)
    return AutogradLearner(lambda *rows: _loss(a, task_weights, *rows), parameters, data, **settings)


def _loss(a, task_weights, p, inputs, targets, lengths):
    b, t = inputs.shape[:2]
    at = np.arange(t)
    own = at < (np.full(b, t) if lengths is None else lengths)[:, None]
    share = (own / own.sum(1, keepdims=True)).astype(p["position"].dtype)
    hidden = at > at[:, None] if a.kind == "next-token" else ~own[:, None, None, :]
    x = _linear(p, "embed", inputs.reshape(b * t, -1)) if a.patch else p["embed.weight"][inputs.ravel()]
    x = (x.reshape(b, t, -1) + p["position"]).reshape(b * t, -1)
    for name in (f"blocks.{i}." for i in range(a.depth)):
        y = _norm(p, name + "norm1", x)
        parts = (_linear(p, name + part, y) for part in ("query", "key", "value"))
        query, key, value = (part.reshape(b, t, a.heads, -1).transpose((0, 2, 1, 3)) for part in parts)
        seen = np.where(hidden, -np.inf, query @ np.swapaxes(key, 2, 3) / (a.width // a.heads) ** 0.5)
        mixed = np.exp(_log_softmax(seen)) @ value
        x = x + _linear(p, name + "out", mixed.transpose((0, 2, 1, 3)).reshape(b * t, -1))
        u = _linear(p, name + "up", _norm(p, name + "norm2", x))
        gelu = 0.5 * u * (1.0 + np.tanh((2.0 / np.pi) ** 0.5 * (u + 0.044715 * u * u * u)))
        x = x + _linear(p, name + "down", gelu)
    x = _norm(p, "norm", x)
    if a.kind == "classify":
        x = np.sum(x.reshape(b, t, -1) * share[:, :, None], 1)
    log_chances = _log_softmax(_linear(p, "head", x))
    columns = zip(task_weights or (1.0,), targets.reshape(len(log_chances), -1).T, strict=True)
    losses = -sum(weight * log_chances[np.arange(len(log_chances)), column] for weight, column in columns)
    return losses if a.kind == "classify" else np.sum(losses.reshape(b, t) * share, 1)


def _linear(p, name, x):
    return x @ p[name + ".weight"] + p[name + ".bias"]


def _norm(p, name, x):
    x = x - np.mean(x, -1, keepdims=True)
    return x / np.sqrt(np.mean(x * x, -1, keepdims=True) + 1e-5) * p[name + ".scale"] + p[name + ".shift"]


def _log_softmax(x):
    x = x - _peak(x)
    return x - np.log(np.sum(np.exp(x), -1, keepdims=True))
