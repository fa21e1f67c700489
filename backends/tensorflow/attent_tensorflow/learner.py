"""The learner for TensorFlow: any model with variables, any per-example loss, any optimiser, data by ids."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from attent.columns import check_watch_is_callable, costs_from, groups_from, watched_from
from attent.errors import LearnerError
from attent.extra import Extra
from attent.learner import Ids, Numbers, State, check_batches, check_ids
from attent_tensorflow.data import source
from attent_tensorflow.extra import leaves
from attent_tensorflow.frozen import Frozen
from attent_tensorflow.graphs import kept
from attent_tensorflow.objective import Objective
from attent_tensorflow.programs import Scoring, Training
from attent_tensorflow.replicas import check_replicated, replicas_of
from attent_tensorflow.settings import check_model, check_optimizer, check_settings
from attent_tensorflow.state import Checkpoint
from attent_tensorflow.steps import Steps, skips_by_itself
from attent_tensorflow.variables import Named, bare, model_variables, optimizer_variables, other_variables


class TensorFlowLearner:
    """Teaches a TensorFlow model; implements `attent.Learner`, and `attent.Evaluates` if given ``evaluate``.

    Args:
        model: Anything with ``variables`` and ``trainable_variables``: a tf.Module, a Keras model (for which
            `KerasLearner` is shorter), an object of yours. One built in the scope of a tf.distribute.MirroredStrategy,
            with its optimiser, is trained on all replicas.
        data: What ids index. Tensors or arrays in memory (one, or nested tuples and dicts of them, sharing
            their first dimension), gathered where they live; or a function ``fetch(ids) -> batch`` of TensorFlow
            operations, ids int64 (B,), which ``tf.data`` runs ahead of the model; ``n`` is then the number of
            examples.
        loss: ``loss(model, batch, training)``: each example's loss, a floating-point tensor (B,), or a dict of
            them by task. The deviation of an example, and what is trained, is the sum of the tasks' losses
            times ``task_weights`` (1 each where None). If it has an argument ``seed``, it gets an int64 (2,)
            for tf.random.stateless_*: another one at each step, in scoring always the same one.
        optimizer: Has ``apply(gradients, variables)`` and ``variables``: Keras', `AdamW` or `SGD` of this package.
        learning_rate: Of the steps already taken, set before each step; its length is
            ``plan.total_steps(len(data))``. Leave out where the optimizer has a schedule of its own.
        score_data: The same examples without augmentation, for scoring only.
        evaluate: ``evaluate(model)`` returns quality on held-out data by metric name, the main one first.
            Changes nothing. watch: likewise, ``watch(model)`` returns one number for each example that must not be
            forgotten, lower is better, shape (m,); only then is the learner an `attent.Watches`.
        groups: The group of each example, whole numbers from 0 or texts, or the name of a column of ``data``; only then
            is the learner an `attent.Groups`, for policies by group. costs: likewise what each example costs.
        penalty: ``penalty(model)``, a scalar that each step minimises too, beside the losses.
        clip_norm: Largest Euclidean norm of a step's gradient.
        score_batch_size: Examples per forward in scoring; affects memory and speed only. None: as many as a step has,
            once ``attent.teach`` has said how many; 128 before.
        seed: Of ``loss(..., seed)``. The plan's, usually.
        extra: What else goes on exactly, by name: objects with ``state_dict`` and ``load_state_dict``, such as an
            averaged model or a counter, or pairs of functions (get, set); their states are tensors, variables, arrays
            and numbers in dicts, lists and tuples, and taken up in the structure that they have then.
        own_settings: Go on from a state with the learning rate that this learner's optimizer is built with; otherwise
            that of the state is taken up, with a warning if they differ. Schedules are always the learner's own.

    All steps of one call run in one graph, traced once for every length; losses come to the host once per call.
    Raises LearnerError for settings, ids, weights, losses or states that do not fit, naming what and how.

    Example:
        >>> import numpy as np, tensorflow as tf
        >>> from attent_tensorflow import SGD, TensorFlowLearner, cross_entropy
        >>> class Linear(tf.Module):
        ...     def __init__(self):
        ...         self.weight, self.bias = tf.Variable(tf.zeros((1, 2))), tf.Variable(tf.zeros(2))
        ...     def __call__(self, x):
        ...         return x @ self.weight + self.bias
        >>> data = np.array([[0.0], [1.0]], np.float32), np.array([0, 1])
        >>> learner = TensorFlowLearner(Linear(), data, cross_entropy, SGD(0.5))
        >>> both = np.array([0, 1])
        >>> before = learner.score(both).sum()
        >>> learner.train([both] * 20).shape, bool(learner.score(both).sum() < before)
        ((40,), True)
    """

    new_groups: tuple[int, ...] = ()  # those of `groups` that are new to a model that goes on
    relevance: Numbers | None = None  # of each example to a target: float64 (n,), higher is nearer
    evaluate: Callable[[], dict[str, float]]
    watch: Callable[[], Numbers]
    groups: Callable[[], Ids]
    costs: Callable[[], Numbers]

    def __init__(
        self,
        model: Any,
        data: Any,
        loss: Callable[..., Any],
        optimizer: Any,
        learning_rate: Callable[[int], float] | None = None,
        *,
        n: int | None = None,
        task_weights: Mapping[str, float] | None = None,
        score_data: Any = None,
        evaluate: Callable[[Any], Mapping[str, Any]] | None = None,
        watch: Callable[[Any], Any] | None = None,
        groups: Any = None,
        costs: Any = None,
        penalty: Callable[[Any], tf.Tensor | None] | None = None,
        clip_norm: float | None = None,
        score_batch_size: int | None = None,
        seed: int = 0,
        extra: Mapping[str, Any] | None = None,
        own_settings: bool = False,
    ) -> None:
        sizes = {"score_batch_size": 1 if score_batch_size is None else score_batch_size}
        check_settings(sizes, {"seed": seed}, clip_norm)
        check_watch_is_callable(watch)
        check_model(model)
        replicas = replicas_of(model_variables(model).values())
        if replicas is not None:
            check_replicated(optimizer, replicas)
        self.model, self.optimizer = model, optimizer
        self._learning_rate, self._own_settings, self._extra = learning_rate, own_settings, Extra(extra)
        leaves(self._extra.states())  # what cannot be kept is noticed now, not at the first checkpoint
        self._score_batch_size, self._told_batch_size = score_batch_size, 128
        self._source = source(data, n)
        self._score_source = (
            self._source if score_data is None else source(score_data, n if callable(score_data) else None)
        )
        self._n, self._count = len(self._source), 0
        if len(self._score_source) != self._n:
            raise LearnerError(
                f"score_data must hold the same examples as data, {self._n}, got {len(self._score_source)}"
            )
        objective = Objective(loss, task_weights, seed)
        self._scoring = Scoring(
            model, objective, self._score_source, replicas
        )  # creates variables that wait for an input
        if not getattr(optimizer, "built", True):
            with contextlib.nullcontext() if replicas is None else replicas.scope():
                optimizer.build(model.trainable_variables)
        check_optimizer(optimizer, learning_rate)
        steps = Steps(model, optimizer, objective, clip_norm, penalty or (lambda _: None), replicas)
        self._training = Training(steps, self._source, self._scoring.dtype, scheduled=learning_rate is not None)
        self._frozen = Frozen(model, self._training.trained)
        self._checkpoint: Checkpoint | None = None
        self._unknown = False  # how many steps were taken
        self._share: Callable[[Sequence[tf.Variable]], None] | None = None if replicas is None else replicas.share
        if evaluate is not None:
            self._evaluate = evaluate
            self.evaluate = self._judged  # only then is the learner an attent.Evaluates
        if watch is not None:
            self._watch = watch
            self.watch = self._watched
        if groups is not None:
            found, self.group_names = groups_from(groups, self._n, data)
            self.groups = found.copy
        if costs is not None:
            self.costs = costs_from(costs, self._n, data).copy

    def __len__(self) -> int:
        """Return the number of training examples."""
        return self._n

    @property
    def steps(self) -> int:
        """The number of optimiser steps taken."""
        return self._count

    @property
    def skipped(self) -> int:
        """The number of these that changed nothing, as a loss or the gradient was not finite."""
        return self._training.skipped

    @property
    def scales_losses(self) -> bool:
        """Whether losses are scaled, so that steps are skipped to find the scale: under any plan."""
        return skips_by_itself(self.optimizer)

    @property
    def traces(self) -> dict[str, int]:
        """How often each graph was traced: ``{"score": 1, "train": 1}`` for ever, once both were called."""
        return {"score": self._scoring.traces, "train": self._training.traces}

    @property
    def score_batch_size(self) -> int:
        """Examples per forward in scoring."""
        return self._told_batch_size if self._score_batch_size is None else self._score_batch_size

    def check_batches(self, largest: int, smallest: int) -> None:
        """Take the largest batch of a run as the size of a forward in scoring."""
        self._told_batch_size = largest

    def score(self, ids: Ids) -> Numbers:
        """Return each example's loss in inference mode: float64, shape (len(ids),). Changes nothing.

        What the loss writes to variables, of generators too, is put back afterwards.
        """
        check_ids("ids", ids, self._n)
        if not len(ids):
            return np.empty(0)
        starts = np.append(np.arange(0, len(ids), self.score_batch_size), len(ids))
        return self._scoring.run(ids, starts)

    def train(self, batches: Sequence[Ids], weights: Sequence[Numbers] | None = None) -> Numbers:
        """Take one optimiser step per batch on ``mean_i(w_i * loss_i)``; return the losses from before each step.

        The losses are unweighted, float64, concatenated over the batches. Ids and weights of the whole call
        are checked before the first step. A step with a loss or a gradient that is not finite changes no variable of
        model or optimizer (rule P8), so also a schedule of Keras'; ``learning_rate`` goes on.
        """
        self._check_known()
        check_batches(batches, weights, self._n)
        if not len(batches):
            return np.empty(0)
        ids = np.concatenate(batches)
        scale = np.ones(len(ids)) if weights is None else np.concatenate(weights)
        starts = np.cumsum([0, *map(len, batches)])
        rates = np.empty(0)
        if self._learning_rate is not None:
            rates = np.array([float(self._learning_rate(self._count + step)) for step in range(len(batches))])
        self._training.prepare()  # a loss that is refused is so before any step
        self._unknown = True  # until the graph has come to its end: it may fail after any step
        losses = self._training.run(ids, starts, scale, rates, self._count)
        if self._share is not None:
            self._share(self._untrained())
        self._count += len(batches)
        self._unknown = False
        return losses

    def join(
        self, average: Callable[[Sequence[Any]], list[tf.Tensor]], share: Callable[[Sequence[tf.Variable]], None]
    ) -> None:
        """Train from now on with the learners of other tasks, each on its share; see `attent_tensorflow.workers`.

        average: of gradients, within the graph. share: gives variables that are not trained one task's values.
        """
        self._training.average(average)
        self._share = share

    def state(self) -> State:
        """Return everything needed to go on exactly, as named arrays that later training does not change.

        Held are all variables of model and optimiser, those that the loss captures besides (a global
        generator's state), ``extra``, and the number of steps. Variables of the model that are not trained are left out
        while they are as they were at first, once a step was taken: a digest of them is kept.
        """
        self._check_known()
        return self._checkpointed().gathered(self._count)

    def load_state(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Take up a state that ``state()`` returned.

        Warns where the state has another learning rate than this learner; see ``own_settings``. Raises LearnerError
        naming what does not fit (a name, shape, dtype, another kind of optimiser, or other variables where the state
        left them out); nothing is changed then.
        """
        keeps = self._own_settings and self._learning_rate is None
        rates = self._checkpointed().settings() if self._learning_rate is None else {}
        self._count = self._checkpointed().taken_up(state)
        for name, own in rates.items():
            if keeps:
                self._checkpointed().put(name, own)
            elif own != np.asarray(state[name]):
                warnings.warn(
                    f"the run goes on with the settings of its state, not with those that this learner was built with: "
                    f"{name.rpartition('/')[2]} was {float(state[name]):g}, is {float(own):g}. To go on with the "
                    "learner's own, build it with own_settings=True",
                    UserWarning,
                    stacklevel=2,
                )
        self._unknown = False

    def _check_known(self) -> None:
        if self._unknown:
            raise LearnerError(
                "a call of train() failed, after how many of its steps is not known; load_state() a state from "
                "before, such as the run's last checkpoint, before going on"
            )

    def _checkpointed(self) -> Checkpoint:
        if self._checkpoint is None:
            model = model_variables(self.model)
            optimizer = optimizer_variables(self.optimizer, model, self._training.trained)
            known: Named = {
                **{f"model/{k}": v for k, v in model.items()},
                **{f"optimizer/{k}": v for k, v in optimizer.items()},
            }
            # The graph knows what else the loss uses; tracing it runs nothing.
            others = other_variables(self._training.variables, known)
            every = {**known, **{f"other/{k}": v for k, v in others.items()}}
            self._checkpoint = Checkpoint(every, self.optimizer, self._frozen, self._extra)
        return self._checkpoint

    def _untrained(self) -> list[tf.Variable]:
        trained = {id(v) for v in map(bare, self._training.trained)}
        return [v for v in model_variables(self.model).values() if id(v) not in trained]

    def _judged(self) -> dict[str, float]:
        with kept(self._untrained()):
            return {name: float(value) for name, value in self._evaluate(self.model).items()}

    def _watched(self) -> Numbers:
        with kept(self._untrained()):
            return watched_from(self._watch(self.model))
