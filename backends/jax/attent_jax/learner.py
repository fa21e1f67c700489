"""The learner for JAX: any pure per-example loss, any optax optimizer, any arrays or function of ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
import numpy.typing as npt
import optax
from jax.sharding import NamedSharding

from attent.columns import check_watch_is_callable, costs_from, groups_from, watched_from
from attent.errors import LearnerError
from attent.extra import Extra
from attent.learner import Ids, Numbers, State, check_batches, check_ids
from attent_jax.chunks import Chunk, chunks
from attent_jax.data import source
from attent_jax.extra import as_arrays, as_now
from attent_jax.frozen import FROZEN, Frozen, joined, split
from attent_jax.own_settings import differing, warn_of
from attent_jax.placement import check_params, check_sharding, home, lost, placed
from attent_jax.processes import check_same
from attent_jax.programs import Carry, Programs
from attent_jax.settings import check_optimizer, check_settings
from attent_jax.signature import asked_for
from attent_jax.state import pack, unpack

# Batches made on the host wait on the device for their turn: so many at most.
_AHEAD = 2


class JaxLearner:
    """Teaches a pure function of its parameters; implements `attent.Learner`, and `attent.Evaluates` if it can.

    Args:
        params: Any pytree of floating-point arrays; copied, so donation never touches the caller's.
        data: What ids index. A pytree of arrays that share their first dimension, copied to the device; or a
            function of ids, int64 (B,), that returns a batch, a pytree of arrays (B, ...), made on the host.
        loss: ``loss(params, batch)``: each example's loss, floating-point (B,), or a dict of them by task. The
            deviation of an example, and what is trained, is the sum of the tasks' losses times ``task_weights``
            (1 each where None). It is compiled, and given by keyword what it names of:
            ``key``: for dropout, a function of (seed, step); None while scoring;
            ``train``: True in training, False while scoring;
            ``state``: the model state; the loss then returns (losses, new_state);
            ``mask``: bool (B,), False where an example is padding.
        optimizer: An optax transformation, its learning-rate schedule included, which is
            ``plan.total_steps(len(learner))`` steps long.
        trainable: Which parameters are trained, as a mask of ``optax.masked``: True or False for every array of
            ``params`` or for all below a place, or a function of ``params`` that returns such a tree. The others get no
            gradient, the optimizer does not see them (it sees None in their places), and states leave them out: a
            digest of them is kept. None: all are trained.
        model_state: A pytree of arrays that training changes without a gradient, such as batch statistics.
        evaluate: ``evaluate(params)``, or ``evaluate(params, model_state)`` where there is one, returns quality on
            held-out data by metric name, the main one first. watch: likewise, returns one number for each example that
            must not be forgotten, lower is better, shape (m,); only then is the learner an `attent.Watches`.
        groups: The group of each example, whole numbers from 0 or texts, or the name of a column of ``data``; only then
            is the learner an `attent.Groups`, for policies by group. costs: likewise what each example costs.
        score_batch_size: Examples per forward in scoring; affects memory and speed only. None: as many as a step has,
            once ``attent.teach`` has said how many; 128 before.
        pad: Pad batches to the largest one seen by repeating an example, which costs no compilation for a last,
            smaller batch; padding has no weight, and its losses are dropped. None pads unless there is a model state
            and the loss takes no ``mask``, as statistics over a batch would count the padding. Give False where
            examples of a batch see each other in another way; then each size of batch is compiled once.
        keep_on_host: Index ``data`` on the host, where it is larger than the device; a memory map stays one.
        batch_sharding: How batches lie on a mesh, such as ``NamedSharding(mesh, P("data"))``. Parameters and data
            that are not on the mesh are replicated over it. For a mesh over several processes see
            `attent_jax.workers`.
        n: The number of examples, where ``data`` is a function.
        seed: Of ``key``. The plan's, usually.
        extra: What else goes on exactly, by name: objects with ``state_dict`` and ``load_state_dict``, such as an
            averaged model or a counter, or pairs of functions (get, set); their states are pytrees of arrays and
            numbers, and taken up in the structure that they have then.
        own_settings: Go on from a state with the settings of ``optax.inject_hyperparams`` that this learner is built
            with; otherwise those of the state are taken up, with a warning if they differ. Settings and schedules
            that are not in the optimiser's state are always the learner's own.

    Losses stay on the device and come to the host once per call. Raises LearnerError for settings, ids,
    weights, losses or states that do not fit, naming what and how.

    Example:
        >>> import jax.numpy as jnp, numpy as np, optax
        >>> from attent_jax import JaxLearner
        >>> def loss(params, batch):
        ...     x, y = batch
        ...     return (x @ params["w"] - y) ** 2
        >>> data = np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([1.0, 2.0])
        >>> learner = JaxLearner({"w": jnp.zeros(2)}, data, loss, optax.sgd(0.5))
        >>> learner.train([np.array([0, 1])] * 9).shape
        (18,)
        >>> learner.score(np.array([0, 1])).round(3).tolist()
        [0.0, 0.0]
    """

    new_groups: tuple[int, ...] = ()  # those of `groups` that are new to a model that goes on
    relevance: Numbers | None = None  # of each example to a target: float64 (n,), higher is nearer
    evaluate: Callable[[], dict[str, float]]
    watch: Callable[[], Numbers]
    groups: Callable[[], Ids]
    costs: Callable[[], Numbers]

    def __init__(
        self,
        params: Any,
        data: Any,
        loss: Callable[..., Any],
        optimizer: optax.GradientTransformation,
        *,
        trainable: Any = None,
        model_state: Any = None,
        task_weights: Mapping[str, float] | None = None,
        evaluate: Callable[..., Mapping[str, Any]] | None = None,
        watch: Callable[..., Any] | None = None,
        groups: Any = None,
        costs: Any = None,
        score_batch_size: int | None = None,
        pad: bool | None = None,
        keep_on_host: bool = False,
        batch_sharding: NamedSharding | None = None,
        n: int | None = None,
        seed: int = 0,
        extra: Mapping[str, Any] | None = None,
        own_settings: bool = False,
    ) -> None:
        check_settings({"score_batch_size": 1 if score_batch_size is None else score_batch_size}, {"seed": seed})
        check_optimizer(optimizer)
        check_watch_is_callable(watch)
        check_params(params)
        self._stateful = model_state is not None
        asked = asked_for(loss, stateful=self._stateful)
        self._pad = (not self._stateful or "mask" in asked) if pad is None else pad
        self._shards = check_sharding(batch_sharding, padded=self._pad)
        self._score_batch_size, self._told_batch_size = score_batch_size, 128
        self._own_settings, self._extra = own_settings, Extra(extra)
        where = home(params, batch_sharding)
        if not where.is_fully_addressable:
            check_same("parameters", (params, model_state))
        self._source = source(data, n, where, batch_sharding, keep_on_host=keep_on_host)
        trained, frozen = split(placed(params, where), trainable)
        self._frozen = Frozen(frozen)
        self._carry = Carry(trained, placed(optimizer.init(trained), where), placed(model_state, where))
        self._programs = Programs(loss, asked, task_weights, optimizer, self._source, batch_sharding, self._carry)
        self._seed, self._count, self._width, self._skipped = seed, 0, 0, 0
        self._key = _key(seed)
        self._failed: str | None = None
        pack(self._parts())  # names that collide, and what cannot be kept, are noticed now, not at the first checkpoint
        if evaluate is not None:
            self._evaluate = evaluate
            self.evaluate = self._judged  # only then is the learner an attent.Evaluates
        if watch is not None:
            self._watch = watch
            self.watch = self._watched
        if groups is not None:
            found, self.group_names = groups_from(groups, len(self), data)
            self.groups = found.copy
        if costs is not None:
            self.costs = costs_from(costs, len(self), data).copy

    def __len__(self) -> int:
        """Return the number of training examples."""
        return self._source.n

    @property
    def steps(self) -> int:
        """The number of optimiser steps taken."""
        return self._count

    @property
    def skipped(self) -> int:
        """The number of these that changed nothing, as a loss or the gradient was not finite."""
        return self._skipped

    @property
    def params(self) -> Any:
        """The parameters as they are now. The next call of `train` donates them: copy what must last."""
        return joined(self._carry.params, self._frozen.arrays)

    @property
    def model_state(self) -> Any:
        """The model state as it is now, None if there is none. The next call of `train` donates it."""
        return self._carry.model_state

    @property
    def compilations(self) -> dict[str, int]:
        """How often "score" and "train" were compiled: once for each width of batches."""
        return dict(self._programs.traces)

    @property
    def score_batch_size(self) -> int:
        """Examples per forward in scoring."""
        size = self._told_batch_size if self._score_batch_size is None else self._score_batch_size
        return self._divisible(min(size, len(self)))

    def check_batches(self, largest: int, smallest: int) -> None:
        """Take the largest batch of a run as the size of a forward in scoring."""
        self._told_batch_size = largest

    def score(self, ids: Ids) -> Numbers:
        """Return each example's loss in evaluation mode: float64, shape (len(ids),). Changes nothing."""
        self._check_whole()
        check_ids("ids", ids, len(self))
        size = self.score_batch_size
        parts = [ids[start : start + size] for start in range(0, len(ids), size)]
        record = _LossRecord()
        for chunk in chunks(parts, None, lambda count: size, self._source.capacity):
            record.add(chunk, self._scored(chunk, size))
        return record.fetch()

    def _scored(self, chunk: Chunk, size: int) -> jax.Array:
        examples, steps = self._source.examples(chunk), np.int32(chunk.steps)
        return self._programs.score(self._carry, self._frozen.arrays, examples, chunk.counts, steps, width=size)

    def train(self, batches: Sequence[Ids], weights: Sequence[Numbers] | None = None) -> Numbers:
        """Take one optimiser step per batch on ``mean_i(w_i * loss_i)``; return the losses from before each step.

        The losses are unweighted, float64, concatenated over the batches. Ids and weights of the whole call
        are checked before the first step. A step with a loss or a gradient that is not finite leaves parameters,
        optimiser and model state as they are (rule P8), so also an optax schedule; ``key`` goes on.
        """
        self._check_whole()
        check_batches(batches, weights, len(self))
        largest = max([self._width, *map(len, batches)])
        width = self._divisible(largest)
        record = _LossRecord()
        for chunk in chunks(batches, weights, lambda count: width if self._pad else count, self._source.capacity):
            examples = self._source.examples(chunk)
            with self._running():
                self._run(chunk, examples, record)
            self._width = largest
        with self._running():
            losses = record.fetch()
        self._skipped += record.skipped
        return losses

    def _run(self, chunk: Chunk, examples: Any, record: _LossRecord) -> None:
        first, steps = np.int32(self._count), np.int32(chunk.steps)
        self._carry, (losses, skipped) = self._programs.train(
            self._carry, self._frozen.arrays, self._key, examples, chunk.coefficients, chunk.counts, first, steps
        )
        self._count += chunk.steps
        record.add(chunk, losses, skipped)

    @contextmanager
    def _running(self) -> Iterator[None]:
        """Note where a compiled step failed: its arguments were donated to it, so what they held is gone."""
        try:
            yield
        except Exception as error:  # XLA's errors have many types; what tells is whether the arrays are still there
            if lost(self._carry):
                self._failed = f"{type(error).__name__}: {str(error).strip().splitlines()[-1]:.200}"
            raise

    def _check_whole(self) -> None:
        if self._failed is not None:
            raise LearnerError(
                f"a step failed in the middle of train() and took the parameters with it ({self._failed}); "
                "load_state() a state from before, such as the run's last checkpoint, before going on"
            )

    def state(self) -> State:
        """Return everything needed to go on exactly, as named arrays that later training does not change.

        "params/...", "optimizer/..." and "model_state/..." hold the leaves of the pytrees by path; "steps", "seed"
        and "width", the size that batches are padded to, decide what follows as well. "extra/..." is what was given so;
        "frozen" tells parameters that are left out, as training does not change them, by their number and a digest.
        """
        self._check_whole()
        return {**pack(self._parts()), **self._frozen.told()}

    def load_state(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Take up a state that ``state()`` returned, on the devices where this learner's arrays are.

        Warns where ``optax.inject_hyperparams`` holds another setting in the state than in this learner; see
        ``own_settings``. Raises LearnerError naming what does not fit (a name, shape or dtype, or other parameters
        where the state leaves them out); nothing is changed then.
        """
        own = self._parts()
        self._frozen.check(state)
        state = {name: array for name, array in state.items() if name != FROZEN}
        parts = unpack(state, own)
        numbers = {name: int(parts[name]) for name in ("seed", "steps", "width")}
        for name, value in numbers.items():
            if value < 0:
                raise LearnerError(f"'{name}' must be at least 0 in the state, got {value}")
        if any("/hyperparams/" in name for name in state):
            before = pack(own)
            if names := differing(before, state):
                if self._own_settings:
                    parts = unpack({**state, **{name: before[name] for name in names}}, own)
                else:
                    warn_of(names, before, state)
        self._extra.load({name: as_now(parts["extra"][name], now) for name, now in self._extra.states().items()})
        self._seed, self._count, self._width = numbers.values()
        self._key = _key(self._seed)
        self._carry = Carry(*(parts[name] for name in Carry._fields))
        self._failed = None

    def _parts(self) -> dict[str, Any]:
        numbers = {"seed": self._seed, "steps": self._count, "width": self._width}
        return {
            **self._carry._asdict(),
            "extra": {name: as_arrays(name, each) for name, each in self._extra.states().items()},
            **{name: np.array(value, np.int64) for name, value in numbers.items()},
        }

    def _judged(self) -> dict[str, float]:
        return {name: float(value) for name, value in self._evaluate(*self._learnt()).items()}

    def _watched(self) -> Numbers:
        return watched_from(self._watch(*self._learnt()))

    def _learnt(self) -> tuple[Any, ...]:
        return (self.params, self.model_state) if self._stateful else (self.params,)

    def _divisible(self, count: int) -> int:
        return -(-count // self._shards) * self._shards


def _key(seed: int) -> jax.Array:
    # By halves: without 64-bit integers JAX would drop the upper one.
    return jax.random.fold_in(jax.random.key(seed & 0xFFFFFFFF), seed >> 32)


class _LossRecord:
    """The losses of one call, on the device until all of them are fetched at once."""

    def __init__(self) -> None:
        self._chunks: list[Chunk] = []
        self._losses: list[jax.Array] = []
        self._skipped: list[jax.Array] = []
        self.skipped = 0  # steps, once all is fetched

    def add(self, chunk: Chunk, losses: jax.Array, *skipped: jax.Array) -> None:
        self._chunks.append(chunk)
        self._losses.append(losses)
        self._skipped.extend(skipped)
        if len(self._losses) > _AHEAD:
            jax.block_until_ready(self._losses[-1 - _AHEAD])

    def fetch(self) -> Numbers:
        own, skipped = jax.device_get((self._losses, self._skipped))
        self.skipped = sum(map(int, skipped))
        fetched: Iterator[Any] = zip(self._chunks, own, strict=True)
        return np.concatenate([np.empty(0), *(losses[chunk.valid] for chunk, losses in fetched)])
