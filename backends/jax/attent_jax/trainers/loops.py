"""Loops of one's own over a jitted step, in flax, Equinox or plain JAX: five lines change, the loop stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from attent.errors import CourseError, LearnerError, PlanError
from attent.learner import Ids, Numbers, costs_from, groups_from
from attent.plan.plan import Plan
from attent.plan.timeline import epoch_ends
from attent.run.feed import Feed
from attent.run.trace import Trace


class Teacher:
    """Chooses what a training loop of your own trains: it gives the batches, and is told each example's loss.

    ``for batch in teacher`` is one epoch: as much training as the plan spends on one, so that
    ``for epoch in range(epochs)`` stays as it is. Every batch has ``plan.batch_size`` examples, so that a jitted step
    is compiled once: a pass's last batch is filled up with an example of its own, whose weight is 0. A batch is as
    ``data`` is built, with ``weights``, shape (plan.batch_size,), float: ``losses @ weights`` is what a step
    minimises, the mean over the batch's examples, weighted where the plan weighs. A dict of arrays has them as
    "weights", a tuple last.

    Args:
        plan: what is taught when.
        data: dict or tuple of arrays whose first axis numbers the examples; or their number, for batches
            (ids, weights).
        score: ``score(batch)`` returns one loss per example, (plan.batch_size,), in evaluation mode; only for a plan
            that has scoring passes.
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
        ...         teacher.record(losses)
        >>> teacher.finished, [len(teacher.trace().ids(epoch)) for epoch in range(3)]
        (True, [4, 2, 4])
    """

    def __init__(
        self,
        plan: Plan,
        data: Any,
        *,
        score: Callable[[Any], Any] | None = None,
        run: Any = None,
        resume: bool = False,
        **settings: Any,
    ) -> None:
        if jax.process_count() > 1:
            raise PlanError(
                "a Teacher is for one process, which may have many devices: in several, drive attent.Feed with the "
                "losses of all of them, from jax.experimental.multihost_utils.process_allgather"
            )
        self._data, n = _read(data)
        for name, read in (("groups", groups_from), ("costs", costs_from)):
            if settings.get(name) is not None:
                settings[name] = read(settings[name], n, self._data)
        versions = {"jax": jax.__version__, **(settings.pop("versions", None) or {})}
        self.feed = Feed(plan, n, run=run, resume=resume, versions=versions, **settings)
        rows = plan.timeline(n)
        if score is None and any(row.score for row in rows):
            raise PlanError(
                "the plan has scoring passes: give score=..., a function of a batch that returns one loss per "
                "example; or a plan that scores by the losses of training, as Plan.auto and Plan.default do"
            )
        self._score, self._ends = score, epoch_ends(rows, plan.full_epochs)
        dtype = np.float64 if jax.config.jax_enable_x64 else np.float32
        self._even = np.full(
            plan.batch_size, 1 / plan.batch_size, dtype
        )  # of a full batch whose examples weigh the same
        self._kept: list[Any] = []  # losses that the feed does not have yet, on the device
        self._recorded = self._given = 0  # batches of the pass

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
        while feed.epoch < end:
            while (ids := feed.to_score()) is not None:
                self._score_all(ids)
            epoch, batches, weights = feed.epoch, feed.batches(), feed.weights()
            for place in range(self._recorded, len(batches)):
                self._given = place + 1
                yield self._batch(batches[place], None if weights is None else weights[place])
                if feed.epoch == epoch and self._recorded < self._given:
                    raise CourseError(
                        "the losses of the last batch were not recorded: call teacher.record(losses) for every batch, "
                        "with one loss per example, which a jitted step returns"
                    )

    def record(self, losses: Any) -> None:
        """Take the losses of the batch last given, from before its step; they stay on the device until the pass ends.

        losses: float, shape (plan.batch_size,); what filled the batch up is not looked at. Raises CourseError where no
        batch waits, LearnerError for another shape, ScoreError at a pass's end where a loss is not finite.
        """
        if self._recorded >= self._given:
            raise CourseError("no batch waits for its losses: call teacher.record(losses) once for each batch")
        self._check(losses)
        self._kept.append(losses)
        self._recorded += 1
        if self._recorded == self.feed.row.steps:
            self._hand_over()
            self._recorded = self._given = 0

    def state(self) -> dict[str, Any]:
        """Return texts to keep in a checkpoint, right after a step; orbax's JsonSave takes them."""
        self._hand_over()
        return self.feed.state()

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state: the next batch is the one after the last recorded. Raises as `attent.Feed.load_state`."""
        self.feed.load_state(state)
        self._kept, self._recorded, self._given = [], self.feed.done, 0

    def _hand_over(self) -> None:
        """Give the feed the losses that were kept on the device."""
        if not self._kept:
            return
        batches = self.feed.batches()[self._recorded - len(self._kept) : self._recorded]
        losses = [np.asarray(each)[: len(ids)] for each, ids in zip(jax.device_get(self._kept), batches, strict=True)]
        self._kept = []
        self.feed.record(np.concatenate(losses), np.concatenate(batches))

    def _batch(self, ids: Ids, weights: Numbers | None) -> Any:
        """Return a batch of full size, whose weights sum as those of its examples."""
        scale = self._even if weights is None else (weights / len(ids)).astype(self._even.dtype)
        missing = self.feed.plan.batch_size - len(ids)
        if missing:
            own = np.full(len(ids), 1 / len(ids)) if weights is None else scale
            scale = np.concatenate([own, np.zeros(missing)]).astype(self._even.dtype)
            ids = np.concatenate([ids, np.full(missing, ids[0])])
        if self._data is None:
            return ids, scale
        if isinstance(self._data, dict):
            return {**{name: each[ids] for name, each in self._data.items()}, "weights": scale}
        return (*(each[ids] for each in self._data), scale)

    def _score_all(self, ids: Ids) -> None:
        assert self._score is not None  # refused when the teacher was built
        size, found = self.feed.plan.batch_size, []
        for start in range(0, len(ids), size):
            losses = self._score(self._batch(ids[start : start + size], None))
            self._check(losses)
            found.append(losses)
        self.feed.record(np.concatenate([np.asarray(each) for each in jax.device_get(found)])[: len(ids)], ids)

    def _check(self, losses: Any) -> None:
        shape, wanted = np.shape(losses), (self.feed.plan.batch_size,)
        if shape != wanted:
            told = ", which is their mean: return the losses from the step beside it" if shape == () else ""
            raise LearnerError(f"the losses must be one per example, shape {wanted}, got shape {shape}{told}")


def _read(data: Any) -> tuple[Any, int]:
    """Return a dict or tuple of arrays, or None, and the number of examples. Raises PlanError for anything else."""
    if isinstance(data, int) and not isinstance(data, bool):
        return None, data
    parts = data.values() if isinstance(data, dict) else data if isinstance(data, tuple) else ()
    lengths = {np.shape(each)[0] if hasattr(each, "shape") and np.ndim(each) else None for each in parts}
    if not lengths or None in lengths:
        raise PlanError(
            "data must be a dict or tuple of arrays whose first axis numbers the examples, or the number of examples, "
            f"got {type(data).__qualname__}"
        )
    if len(lengths) > 1:
        raise PlanError(f"the arrays of data differ in their number of examples: {sorted(lengths)}")
    if isinstance(data, dict) and "weights" in data:
        raise PlanError('data has "weights", which is what a batch calls the plan\'s: give them another name')
    return data, lengths.pop()
