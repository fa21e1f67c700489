"""P6: a state restores everything that decides what follows, and is the caller's own."""

from __future__ import annotations

import numpy as np

from attent.learner import Learner
from attent_conformance.comparing import copied, require_close, require_same_state
from attent_conformance.draws import given
from attent_conformance.needs import Margins
from attent_conformance.subject import Subject
from attent_conformance.tasks import task

_BATCHES = [np.array([5, 0, 17, 3]), np.array([40, 41, 2, 9, 77]), np.array([95, 5, 60])]
_EVERY = np.arange(96)


def check_a_state_restores_what_follows(subject: Subject) -> Margins:
    """P6: a fresh learner that takes up a state scores and trains on as the first one does."""
    learner, other = _two(subject)
    learner.train(given(_BATCHES * 2))
    state = copied(learner.state())
    other.load_state(copied(state))
    tolerance = 0.0 if subject.exact else subject.tolerance
    order = np.concatenate(_BATCHES * 2)
    errors = [
        require_close("P6", other.score(_EVERY), learner.score(_EVERY), _EVERY, tolerance, "score() after load_state()")
    ]
    where = "losses of train() after load_state(): parameters, moments, step count and schedule decide them"
    errors.append(
        require_close(
            "P6", other.train(given(_BATCHES * 2)), learner.train(given(_BATCHES * 2)), order, tolerance, where
        )
    )
    return {"error": max(errors)}


def check_a_state_round_trips(subject: Subject) -> None:
    """P6: ``load_state(state())`` leaves a state that is equal bit for bit."""
    learner, other = _two(subject)
    learner.train(given(_BATCHES))
    state = copied(learner.state())
    other.load_state(copied(state))
    require_same_state("P6", other.state(), state, "state() of a fresh learner after load_state()")


def _two(subject: Subject) -> tuple[Learner, Learner]:
    return subject.kept("two", lambda: (subject.learner(task("classes")), subject.learner(task("classes"))))
