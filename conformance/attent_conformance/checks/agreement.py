"""A: scores and losses of the reference tasks are those of the NumPy reference."""

from __future__ import annotations

import functools
from dataclasses import replace
from functools import partial

import numpy as np

from attent.learner import Learner, Numbers
from attent_conformance.comparing import require_close
from attent_conformance.needs import Margins, needs
from attent_conformance.subject import Subject, numpy_learner
from attent_conformance.tasks import TASKS, Task, task

TOLERANCES = {"float64": 1e-10, "float32": 1e-5}
_BATCH = 8


@needs("float64")
def check_float64_scores_agree(subject: Subject) -> Margins:
    """A1: float64 scores of every task are the reference's within 1e-10 relative."""
    return _agreement(subject, "A1", "float64", "scores")


@needs("float32")
def check_float32_scores_agree(subject: Subject) -> Margins:
    """A2: float32 scores of every task are the reference's within 1e-5 relative."""
    return _agreement(subject, "A2", "float32", "scores")


@needs("float64")
def check_float64_training_agrees(subject: Subject) -> Margins:
    """A3: after AdamW steps under a learning-rate schedule, losses and scores in float64 still agree within 1e-10."""
    return _agreement(subject, "A3", "float64", "trained")


@needs("float32")
def check_float32_training_agrees(subject: Subject) -> Margins:
    """A3: after AdamW steps under a learning-rate schedule, losses and scores in float32 still agree within 1e-5."""
    return _agreement(subject, "A3", "float32", "trained")


@needs("float64", "lengths")
def check_padding_counts_for_nothing(subject: Subject) -> Margins:
    """A4: what lies behind a sequence's end changes no score and no step."""
    margins = {}
    for name in ("padded", "padded-classes"):
        plain = task(name)
        if subject.lacking(plain.needs):
            continue
        expected = subject.kept((name, "float64"), partial(_measured, subject, plain, "float64"))
        other = _repadded(plain)
        found = _measured(subject, other, "float64")
        every = np.arange(len(plain))
        for what, ids in (("scores", every), ("trained", every)):
            margins[f"{name}: {what}"] = require_close(
                "A4", found[what], expected[what], ids, 1e-10, f"{what} of task {name!r} with other padding"
            )
    return margins


def _agreement(subject: Subject, rule: str, dtype: str, what: str) -> Margins:
    margins = {}
    every = [task(name) for name in TASKS]
    for case in (case for case in every if subject.lacking(case.needs) is None):
        found = subject.kept((case.name, dtype), partial(_measured, subject, case, dtype))
        expected = _expected(case.name)
        ids = np.arange(len(case))
        tolerance = TOLERANCES[dtype]
        place = f"task {case.name!r}, {dtype}"
        if what == "trained":
            order = np.concatenate(_batches(case))
            require_close(rule, found["losses"], expected["losses"], order, tolerance, f"losses of train(), {place}")
            place += f", after {len(_batches(case))} steps"
        margins[case.name] = require_close(rule, found[what], expected[what], ids, tolerance, f"score() of {place}")
    return margins


def _measured(subject: Subject, case: Task, dtype: str) -> dict[str, Numbers]:
    return _numbers(subject.learner(case, dtype=dtype), case)


@functools.cache
def _expected(name: str) -> dict[str, Numbers]:
    return _numbers(numpy_learner(task(name)), task(name))


def _batches(case: Task) -> list[np.ndarray]:
    """Return batches in an order that is no example's own, the last one smaller than the others."""
    order = (np.arange(len(case) - 3) * 7) % len(case)
    return [order[at : at + _BATCH] for at in range(0, len(order), _BATCH)]


def _numbers(learner: Learner, case: Task) -> dict[str, Numbers]:
    """Return the scores of all examples, the losses of one pass over nearly all, and the scores after it."""
    ids = np.arange(len(case))
    scores = learner.score(ids)
    batches = _batches(case)
    half = len(batches) // 2  # in two calls, since a prefetched batch may outlive one
    losses = np.concatenate([learner.train(batches[:half]), learner.train(batches[half:])])
    return {"scores": scores, "losses": losses, "trained": learner.score(ids)}


def _repadded(case: Task) -> Task:
    """Return the task with other tokens behind each sequence's end."""
    assert case.lengths is not None
    padding = np.arange(case.architecture.length) >= case.lengths[:, None]
    tokens = case.architecture.vocabulary or 1
    inputs = np.where(padding, (case.inputs + 3) % tokens, case.inputs)
    if case.targets.ndim == 1:
        return replace(case, inputs=inputs)
    return replace(case, inputs=inputs, targets=np.where(padding, (case.targets + 5) % tokens, case.targets))
