"""A proxy: another learner, smaller or from earlier, scores in place of the one that is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt

from attent.errors import LearnerError
from attent.learner import Evaluates, Ids, Learner, Numbers, State


class Proxied:
    """A learner that trains ``learner`` and asks ``scorer`` for scores; everything else is ``learner``'s own.

    Use it with ``source="fresh"`` or ``"pool"``. Both must be over the same examples. The scorer is not trained, so
    it is not part of the state. Source: Coleman et al. 2020, Selection via Proxy, arXiv 1906.11829.

    Example:
        >>> import attent
        >>> from attent.run.proxy import Proxied
        >>> from attent.reference.recipes import vit_digits
        >>> plan = attent.Plan(epochs=2, batch_size=64, source="fresh", ratio=0.2)
        >>> learner = Proxied(vit_digits(plan), vit_digits(plan, depth=1, width=8))
        >>> attent.teach(learner, plan).finished
        True
    """

    def __init__(self, learner: Learner, scorer: Learner) -> None:
        if len(learner) != len(scorer):
            raise LearnerError(f"scorer must be over the learner's {len(learner)} examples, got {len(scorer)}")
        self.learner, self.scorer = learner, scorer

    def __getattr__(self, name: str) -> Any:
        """Return what else the learner can do."""
        if name in ("learner", "scorer"):  # not there yet: a copy is being made
            raise AttributeError(name)
        return getattr(self.learner, name)

    def __len__(self) -> int:
        """Return the number of training examples."""
        return len(self.learner)

    def score(self, ids: Ids) -> Numbers:
        """Return the scorer's deviation of each example."""
        return self.scorer.score(ids)

    def evaluate(self) -> dict[str, float]:
        """Return the learner's quality; none where it cannot judge itself."""
        return self.learner.evaluate() if isinstance(self.learner, Evaluates) else {}

    def train(self, batches: Sequence[Ids], weights: Sequence[Numbers] | None = None) -> Numbers:
        """Train the learner."""
        return self.learner.train(batches, weights)

    def state(self) -> State:
        """Return the learner's state."""
        return self.learner.state()

    def load_state(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Take up a state of the learner."""
        self.learner.load_state(state)
