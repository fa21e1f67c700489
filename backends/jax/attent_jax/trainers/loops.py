"""Loops of one's own over a jitted step, in flax, Equinox or plain JAX: five lines change, the loop stays."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from attent import checks
from attent.columns import column
from attent.errors import CourseError, LearnerError, PlanError
from attent.learner import Ids, Numbers
from attent.plan.plan import Plan
from attent.plan.timeline import epoch_ends
from attent.run.feed import Feed, epoch_beyond_end
from attent.run.trace import Trace
from attent_jax.trainers.batches import fetcher
from attent_jax.trainers.gradients import check_all_finite


class Teacher:
    """Chooses what a training loop of your own trains: it gives the batches, and is told each example's loss.

    ``for batch in teacher`` is one epoch: as much training as the plan spends on one, so that
    ``for epoch in range(epochs)`` stays as it is. Every batch has ``plan.batch_size`` examples, so that a jitted step
    is compiled once: a pass's last batch is filled up with an example of its own, whose weight is 0. A batch is as
    ``data`` is built, with ``weights``, shape (plan.batch_size,), float: ``losses @ weights`` is what a step
    minimises, the mean over the batch's examples, weighted where the plan weighs. A dict of arrays has them as
    "weights", a tuple last.

    An epoch ends the iterator: a loop that counts steps goes by ``teacher.batches()``, which gives those of all epochs.

    Args:
        plan: what is taught when.
        accumulate: how many batches one optimiser step takes, as ``optax.MultiSteps`` does. A batch of the plan is then
            dealt out to so many, of equal size; the mean of their gradients is that of the whole.
        data: dict or tuple of arrays whose first axis numbers the examples; or a function of ids, int64 (B,), that
            returns such a batch of them, together with ``n``; or their number, for batches (ids, weights).
        n: number of examples, for a function only.
        score: ``score(batch)`` returns one loss per example, (plan.batch_size,), in evaluation mode; only for a plan
            that has scoring passes.
        fill: False: batches are as ``data`` is built, without ``weights``, for a step that takes their plain mean. A
            pass's last is then smaller, and a step is compiled for each size that is new.
        run: folder to write the run to; None: in memory.
        resume: go on with the run in that folder, from the state given to ``load_state``.
        **settings: further ones of `attent.Feed`. ``groups`` and ``costs`` may also name an array of a dict ``data``.

    Raises PlanError, LearnerError or TraceError before anything is trained.

    Example:
        >>> import attent, jax, jax.numpy as jnp, numpy as np
        >>> from attent_jax import Teacher
        >>> data = {"x": np.eye(4, dtype=np.float32), "y": np.array([0.0, 1.0, 0.0, 1.0], np.float32)}
        >>> teacher = Teacher(attent.Plan.default(epochs=3, batch_size=2), data)
        >>> @jax.jit
        ... def step(params, batch):
        ...     def loss(params):
        ...         losses = (batch["x"] @ params - batch["y"]) ** 2
        ...         return losses @ batch["weights"], losses
        ...     grads, losses = jax.grad(loss, has_aux=True)(params)
        ...     return params - 0.1 * grads, losses
        >>> params = jnp.zeros(4)
        >>> for epoch in range(3):
        ...     for batch in teacher:
        ...         params, losses = step(params, batch)
        ...         losses = teacher.record(losses)
        >>> teacher.finished, [len(teacher.trace().ids(epoch)) for epoch in range(3)]
        (True, [4, 2, 4])
    """

    def __init__(
        self,
        plan: Plan,
        data: Any,
        *,
        n: int | None = None,
        score: Callable[[Any], Any] | None = None,
        accumulate: int = 1,
        fill: bool = True,
        run: Any = None,
        resume: bool = False,
        **settings: Any,
    ) -> None:
        if jax.process_count() > 1:
            raise PlanError(
                "a Teacher is for one process, which may have many devices: in several, drive attent.Feed with the "
                "losses of all of them, from jax.experimental.multihost_utils.process_allgather"
            )
        self._of, n = fetcher(data, n)
        for name in ("groups", "costs"):
            if settings.get(name) is not None:
                settings[name] = column(name, settings[name], n, data)
        versions = {"jax": jax.__version__, **(settings.pop("versions", None) or {})}
        self.feed = Feed(plan, n, run=run, resume=resume, versions=versions, **settings)
        self._rows = rows = plan.timeline(n)
        if score is None and any(row.score for row in rows):
            raise PlanError(
                "the plan has scoring passes: give score=..., a function of a batch that returns one loss per "
                "example; or a plan that scores by the losses of training, as Plan.auto and Plan.default do"
            )
        self._score, self._ends = score, epoch_ends(rows, plan.full_epochs)
        if not isinstance(accumulate, int) or isinstance(accumulate, bool) or accumulate < 1:
            raise PlanError(f"accumulate must be a whole number of at least 1, got {accumulate!r}")
        if not fill and accumulate > 1:
            raise PlanError("fill=False is for steps of one batch: parts of a step would not weigh the same")
        self._fill, self._parts, self._size = fill, accumulate, -(-plan.batch_size // accumulate)
        dtype = np.float64 if jax.config.jax_enable_x64 else np.float32
        self._even = np.full(self._size, accumulate / plan.batch_size, dtype)  # of a full batch of even weights
        self._kept: list[Any] = []  # losses that the feed does not have yet, on the device
        self._recorded = self._given = 0  # batches of the pass
        self._beyond = 0  # epochs asked for beyond the plan's end

    @property
    def finished(self) -> bool:
        """Whether the plan is at its end."""
        return self.feed.finished

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the whole run: the length of a learning-rate schedule."""
        return self.feed.total_steps

    def trace(self) -> Trace:
        """Return what was taught so far."""
        return self.feed.trace()

    def __iter__(self) -> Iterator[Any]:
        """Yield one epoch's batches; each must be recorded before the next."""
        feed, end = self.feed, next((end for end in self._ends if end > self.feed.epoch), 0)
        if feed.finished:
            self._beyond = epoch_beyond_end(len(self._ends), self._beyond)
        while feed.epoch < end:
            while (ids := feed.to_score()) is not None:
                self._score_all(ids)
            epoch, batches, weights = feed.epoch, feed.batches(), feed.weights()
            for place in range(self._recorded, len(batches) * self._parts):
                self._given = place + 1
                step, part = divmod(place, self._parts)
                self._wanted = self._size if self._fill else len(batches[step])
                yield self._part(batches[step], None if weights is None else weights[step], part)
                if feed.epoch == epoch and self._recorded < self._given:
                    raise CourseError(
                        "the losses of the last batch were not recorded: call teacher.record(losses) for every batch, "
                        "with one loss per example, which a jitted step returns"
                    )

    def batches(self) -> Iterator[Any]:
        """Yield the batches of all epochs that are left, for a loop that counts steps; each must be recorded.

        Warns where the loop ends before the plan, as one does that has a number of steps of its own.
        """
        try:
            while not self.finished:
                yield from self
        except GeneratorExit:
            taken = sum(row.steps for row in self._rows[: self.feed.epoch]) + self._recorded // self._parts
            if taken < self.total_steps:
                warnings.warn(
                    f"the loop ended after {taken} of the plan's {self.total_steps} steps: what it teaches comes "
                    "after the first pass, and its learning rate is for all of them. Take the loop's own limit out, or "
                    "give the plan fewer epochs",
                    UserWarning,
                    stacklevel=2,
                )
            raise

    def record(self, losses: Any, finite: Any = None) -> Any:
        """Take the losses of the batch last given, from before its step, and return them.

        losses: float, shape (plan.batch_size,); what filled the batch up is not looked at. With ``fill=False``: (B,).
        They stay on the device until the pass ends.
        finite: bool, shape (): whether losses and gradient were finite, so that the step was taken, as
        `attent_jax.all_finite` says in the step. A loop whose plan has ``non_finite="drop"`` or ``"last"`` leaves out
        the others, and must say so; they are counted in the pass's record. A step of several batches is left out where
        it is False of one.

        Raises CourseError where no batch waits, LearnerError for another shape or a step that was taken on losses that
        are not finite, ScoreError at a pass's end where a loss is not finite and the plan allows none.
        """
        if self._recorded >= self._given:
            raise CourseError("no batch waits for its losses: call teacher.record(losses) once for each batch")
        self._check(losses, self._wanted)
        self._check_told(finite)
        self._kept.append((losses, True if finite is None else finite))
        self._recorded += 1
        if self._recorded == self.feed.row.steps * self._parts:
            self._hand_over()
            self._recorded = self._given = 0
        return losses

    def state(self, model: Any = None) -> dict[str, Any]:
        """Return texts to keep in a checkpoint, right after a step; orbax's JsonSave takes them.

        Between batches that are accumulated it is the state before the step. ``model``: what the checkpoint keeps
        beside them, a pytree of parameters or a module; of one with an array that is not finite nothing is given, so
        that the checkpoint from before stays. None: it is not looked at.

        Raises LearnerError naming such an array.
        """
        self._hand_over()
        check_all_finite(model, f"in pass {self.feed.epoch}")
        return self.feed.state()

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state: the next batch is the one after the last recorded. Raises as `attent.Feed.load_state`."""
        self.feed.load_state(state)
        self._kept, self._recorded, self._given = [], self.feed.done * self._parts, 0

    def _hand_over(self) -> None:
        """Give the feed the losses that were kept on the device, of whole steps."""
        steps = len(self._kept) // self._parts
        if not steps:
            return
        done, count = self.feed.done, steps * self._parts
        batches = self.feed.batches()[done : done + steps]
        try:
            found = jax.device_get(self._kept[:count])
        except RuntimeError as error:
            raise LearnerError(
                f"recorded losses cannot be read at the end of the pass: {error} Where they are donated to a later "
                "step, leave them out of donate_argnums, or record a copy"
            ) from error
        own = [ids[self._places(ids, part)] for ids in batches for part in range(self._parts)]
        losses = [np.asarray(each)[: len(ids)] for (each, _), ids in zip(found, own, strict=True)]
        left_out = self._steps_not([bool(finite) for _, finite in found])
        taken = self._steps_not([bool(np.isfinite(each).all()) for each in losses]) & ~left_out
        if self.feed.plan.non_finite != "error" and taken.any():
            raise LearnerError(
                f"{taken.sum()} of {steps} steps in pass {self.feed.epoch} had a loss that is not finite, and were "
                "taken: leave such a step out, by a jax.lax.cond on attent_jax.all_finite(losses, gradients)"
            )
        self.feed.record(np.concatenate(losses), np.concatenate(own), int(left_out.sum()))
        self._kept = self._kept[count:]

    def _steps_not(self, finite: list[bool]) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Return of which steps some batch is not finite: bool, shape (steps,)."""
        return ~np.array(finite).reshape(-1, self._parts).all(1)

    def _places(self, batch: Ids, part: int) -> slice:
        """Return where a part of a batch lies in it: parts as equal as can be."""
        return slice(part * len(batch) // self._parts, (part + 1) * len(batch) // self._parts)

    def _part(self, batch: Ids, weights: Numbers | None, part: int) -> Any:
        """Return a part of a batch of the plan, whose losses @ weights is its part of the batch's mean, times parts."""
        if not self._fill:
            if weights is not None:
                raise PlanError("the plan weighs examples, and fill=False leaves the weights out: leave fill=False out")
            return self._of(batch)
        own, times = self._places(batch, part), self._parts / len(batch)
        ids = batch[own]
        if weights is None and len(batch) == self.feed.plan.batch_size and len(ids) == self._size:
            return self._batch(ids, self._even)
        each = (np.ones(len(ids)) if weights is None else weights[own]) * times
        return self._batch(ids if len(ids) else batch[:1], each)

    def _batch(self, ids: Ids, weights: Numbers) -> Any:
        """Return a batch of full size, filled up with an example that weighs nothing."""
        scale = np.zeros(self._size, self._even.dtype)
        scale[: len(weights)] = weights
        if len(ids) < self._size:
            ids = np.concatenate([ids, np.full(self._size - len(ids), ids[0])])
        found = self._of(ids)
        if isinstance(found, dict):
            return {**found, "weights": scale}
        return (*found, scale) if isinstance(found, tuple) else (found, scale)

    def _score_all(self, ids: Ids) -> None:
        assert self._score is not None  # refused when the teacher was built
        size, found = self._size, []
        for start in range(0, len(ids), size):
            some = ids[start : start + size]
            losses = self._score(self._batch(some, np.full(len(some), 1 / len(some))) if self._fill else self._of(some))
            self._check(losses, self._size if self._fill else len(some))
            found.append(losses)
        self.feed.record(np.concatenate([np.asarray(each) for each in jax.device_get(found)])[: len(ids)], ids)

    def _check(self, losses: Any, size: int) -> None:
        shape, wanted = np.shape(losses), (size,)
        if shape != wanted:
            told = ", which is their mean: return the losses from the step beside it" if shape == () else ""
            raise LearnerError(f"the losses must be one per example, shape {wanted}, got shape {shape}{told}")
        if isinstance(losses, jax.core.Tracer):
            raise LearnerError(
                "the losses are a tracer: return them from the jitted step, and record them outside of it, once a step"
            )
        dtype = getattr(losses, "dtype", np.float32)
        if not jax.numpy.issubdtype(dtype, jax.numpy.floating):
            raise LearnerError(f"the losses must be floating-point numbers, got {dtype}")

    def _check_told(self, finite: Any) -> None:
        if finite is None and self.feed.plan.non_finite != "error":
            raise LearnerError(
                f"the plan has non_finite={self.feed.plan.non_finite!r}, so a step whose losses or gradient are not "
                "finite must be left out, and the loop must say which: teacher.record(losses, finite), with finite = "
                "attent_jax.all_finite(losses, gradients) from the jitted step"
            )
        if isinstance(finite, jax.core.Tracer):
            raise LearnerError("finite is a tracer: return it from the jitted step, and record it outside of it")
        kind = getattr(finite, "dtype", type(finite))
        if finite is not None and (np.shape(finite) != () or not np.issubdtype(kind, np.bool_)):
            raise LearnerError(f"finite must be one truth value, bool of shape (), got {checks.shown(finite)}")
