"""The reference learner of `attent.reference`, with the same arguments, on JAX."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import optax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from attent.errors import LearnerError
from attent.learner import checked_arrays
from attent.reference import SGD, AdamW, Architecture, Optimiser, Parameters, parameter_shapes
from attent.reference.examples import Examples, checked_examples
from attent.run.workers import Workers
from attent_jax.learner import JaxLearner
from attent_jax.processes import workers
from attent_jax.programs import Programs
from attent_jax.reference import cross_entropies, reference_logits, reference_loss, token_mask

Array = npt.NDArray[Any]


def reference_learner(
    architecture: Architecture,
    parameters: Parameters,
    inputs: Array,
    targets: Array,
    *,
    lengths: Array | None = None,
    held_out: tuple[Array, Array] | tuple[Array, Array, Array] | None = None,
    task_weights: tuple[float, ...] | None = None,
    optimiser: Optimiser | None = None,
    learning_rate: float | Callable[[int], float] = 1e-3,
    schedule_steps: int = 2**16,
    scoring_batch: int = 128,
    dtype: Literal["float64", "float32"] = "float64",
    device: str | None = None,
    batch_sharding: NamedSharding | None = None,
) -> JaxLearner:
    """Return a learner that does what ``attent.reference.NumpyLearner`` of the same arguments does.

    Data and parameters are copied to the first device of the platform ``device`` ("cpu", "cuda", "tpu"), by default
    to JAX's own choice. float64 switches on JAX's 64-bit mode for the process.
    A ``learning_rate`` that is a function is evaluated here for the first ``schedule_steps`` steps; later steps
    take the last value. Raises LearnerError where arguments do not fit, or for an optimiser other than AdamW and
    SGD, or where JAX has no such platform.

    Example:
        >>> import numpy as np
        >>> from attent.reference import Architecture, initial_parameters
        >>> from attent_jax import reference_learner
        >>> a = Architecture("classify", length=2, outputs=2, patch=1, width=8, heads=2)
        >>> inputs, targets = np.array([[[0.0], [0.0]], [[1.0], [1.0]]]), np.array([0, 1])
        >>> learner = reference_learner(a, initial_parameters(a, seed=0), inputs, targets, dtype="float32")
        >>> learner.score(np.array([0, 1])).shape
        (2,)
    """
    if dtype not in ("float64", "float32"):
        raise LearnerError(f"dtype must be 'float64' or 'float32', got {dtype!r}")
    if dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    train = checked_examples(architecture, inputs, targets, lengths, dtype, "training", task_weights)
    checked = checked_arrays(parameters, parameter_shapes(architecture), "parameters")
    evaluate = None
    if held_out is not None:
        held_inputs, held_targets, *held_lengths = held_out
        tested = checked_examples(
            architecture,
            held_inputs,
            held_targets,
            held_lengths[0] if held_lengths else None,
            dtype,
            "held-out",
            task_weights,
        )
        evaluate = _evaluation(architecture, tested, scoring_batch, task_weights)
    given = AdamW() if optimiser is None else optimiser
    learner = JaxLearner(
        _there({name: array.astype(dtype) for name, array in checked.items()}, device),
        _present(train),
        reference_loss(architecture),
        reference_optimizer(given, learning_rate, schedule_steps),
        task_weights=None if task_weights is None else {str(task): w for task, w in enumerate(task_weights)},
        evaluate=evaluate,
        score_batch_size=scoring_batch,
        batch_sharding=batch_sharding,
    )
    key = (
        architecture,
        task_weights,
        train.lengths is None,
        given,
        learning_rate,
        schedule_steps,
        device,
        batch_sharding,
    )
    learner._programs = _shared(learner._programs, *key)
    return learner


def reference_workers(rank: int, world: int, addresses: Sequence[str]) -> Callable[..., Workers]:
    """Join so many processes, and return `reference_learner` for all of them together, on a mesh of their devices.

    addresses: ``"host:port"`` of each process; they meet at rank 0's. Programs are compiled without optimisation: they
    run a few times each.
    """
    os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(addresses[0], world, rank)

    def together(*arguments: Any, **settings: Any) -> Workers:
        mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))
        rows = NamedSharding(mesh, PartitionSpec("data"))
        return workers(reference_learner(*arguments, batch_sharding=rows, **settings))

    return together


def reference_optimizer(
    settings: Optimiser, learning_rate: float | Callable[[int], float], schedule_steps: int = 2**16
) -> optax.GradientTransformation:
    """Return the optax transformation that does what AdamW or SGD of `attent.reference` does.

    Example:
        >>> from attent.reference import AdamW
        >>> from attent_jax.reference_training import reference_optimizer
        >>> type(reference_optimizer(AdamW(weight_decay=0.1), 1e-3)).__name__
        'GradientTransformationExtraArgs'
    """
    rate: Any = learning_rate
    if callable(learning_rate):
        # A table: the reference's schedules branch on the step in Python, and these are its very numbers.
        table = np.array([learning_rate(step) for step in range(schedule_steps)])

        def rate(count: jax.Array) -> jax.Array:
            return jnp.asarray(table)[jnp.minimum(count, len(table) - 1)]

    if isinstance(settings, AdamW):
        return optax.adamw(
            rate, b1=settings.beta1, b2=settings.beta2, eps=settings.epsilon, weight_decay=settings.weight_decay
        )
    if isinstance(settings, SGD):
        decay = optax.add_decayed_weights(settings.weight_decay)
        return optax.chain(decay, optax.trace(settings.momentum), optax.scale_by_learning_rate(rate))
    raise LearnerError(f"optimiser must be AdamW or SGD of attent.reference, got {settings!r}")


def _shared(own: Programs, *key: Any) -> Programs:
    """Return the programs of the first learner with this key: data and parameters are arguments of theirs.

    So learners that differ in nothing else are compiled once.
    """
    try:
        return _kept(*key).setdefault("programs", own)
    except TypeError:  # a schedule that has no hash
        return own


@functools.lru_cache(maxsize=16)
def _kept(*key: Any) -> dict[str, Programs]:
    return {}


def _present(examples: Examples) -> tuple[Array, ...]:
    return tuple(array for array in examples if array is not None)


def _there(parameters: Parameters, device: str | None) -> Any:
    """Return the parameters on a platform's first device, where all else follows them; as they are where None."""
    if device is None:
        return parameters
    try:
        return jax.device_put(parameters, jax.devices(device)[0])
    except RuntimeError as error:
        raise LearnerError(
            f"device must name a platform that this JAX has, got {device!r}; its devices are {jax.devices()}"
        ) from error


def _evaluation(
    architecture: Architecture, examples: Examples, batch_size: int, task_weights: tuple[float, ...] | None
) -> Callable[[Any], dict[str, Any]]:
    """Return a function that gives {"accuracy", "loss"} for classes and {"loss", "accuracy"} for tokens.

    Both are means over examples for classes, and over all tokens that are not padding for tokens.
    """
    data = tuple(jnp.array(array) for array in _present(examples))
    sums = _sums(architecture, batch_size, task_weights)

    def evaluate(parameters: Any) -> dict[str, Any]:
        loss, hits, count = (float(value) for value in jax.device_get(sums(parameters, data)))
        accuracy, loss = hits / count, loss / count
        if architecture.kind == "classify":
            return {"accuracy": accuracy, "loss": loss}
        return {"loss": loss, "accuracy": accuracy}

    return evaluate


@functools.lru_cache(maxsize=16)
def _sums(architecture: Architecture, batch_size: int, task_weights: tuple[float, ...] | None) -> Callable[..., Any]:
    """Return a compiled function that sums losses, hits and what counts over examples."""

    def outcome(parameters: Any, example: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        """Return the sums over an example of loss, hits and what counts."""
        inputs, targets, *rest = (part[None] for part in example)
        lengths = rest[0] if rest else None
        logits = reference_logits(architecture, parameters, inputs, lengths)
        best = logits.argmax(-1)
        if task_weights is not None:
            losses = cross_entropies(jnp.repeat(logits, len(task_weights), axis=0), targets[0])
            hits = (best == targets[0]).mean(dtype=jnp.result_type(float))  # in float64 where there is one
            return losses @ jnp.asarray(task_weights, losses.dtype), hits, jnp.ones(())
        counted = jnp.ones(1, bool) if architecture.kind == "classify" else token_mask(targets, lengths)
        losses = jnp.where(counted, cross_entropies(logits, targets), 0)
        return losses.sum(), ((best == targets) & counted).sum(), counted.sum()

    @jax.jit
    def sums(parameters: Any, data: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        parts = jax.lax.map(functools.partial(outcome, parameters), data, batch_size=batch_size)
        return tuple(part.sum() for part in parts)

    return sums
