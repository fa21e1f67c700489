"""A: scores and losses of the reference tasks are those of the NumPy reference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from attent.learner import Evaluates
from attent_conformance.comparing import require_close
from attent_conformance.failures import CheckFailed
from attent_conformance.needs import Margins, needs
from attent_conformance.pairs import ROUNDING, beside, measured, measured_numpy, pairs, passes
from attent_conformance.subject import Subject
from attent_conformance.tasks import Task


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


@needs("lengths")
def check_padding_counts_for_nothing(subject: Subject) -> Margins:
    """A4: what lies behind a sequence's end changes no score and no step."""
    margins = {}
    for one in (one for one in pairs(subject) if one.case.lengths is not None):
        other = _repadded(one.case)
        found = measured(subject.learner(other, dtype=one.dtype), other)
        tolerance = ROUNDING[one.dtype]
        for what in ("scores", "trained"):
            where = f"{what} of {one.where} with other padding"
            margins[f"{one.where}: {what}"] = require_close(
                "A4", found[what], one.measured[what], one.case.ids, tolerance, where
            )
    return margins


@needs("float64", "held-out")
def check_float64_evaluations_agree(subject: Subject) -> Margins:
    """A1: ``evaluate`` gives in float64 the reference's metrics, by the same names in the same order."""
    return _evaluations(subject, "A1", "float64")


@needs("float32", "held-out")
def check_float32_evaluations_agree(subject: Subject) -> Margins:
    """A2: ``evaluate`` gives in float32 the reference's metrics, by the same names in the same order."""
    return _evaluations(subject, "A2", "float32")


def _evaluations(subject: Subject, rule: str, dtype: str) -> Margins:
    margins = {}
    for one in (one for one in pairs(subject) if one.dtype == dtype):
        assert isinstance(one.learner, Evaluates)  # the subject's does, or the check is skipped
        expected, found = beside(one).evaluate(), one.learner.evaluate()
        where = f"evaluate() of {one.where}, after {len(passes(one.case))} steps"
        if not isinstance(found, dict) or list(found) != list(expected):
            raise CheckFailed(rule, f"{found!r:.200}", f"a dict of {', '.join(expected)}, the main one first", where)
        for name, value in expected.items():
            # A hit more or less is what rounding may do; an accuracy is a mean over fewer than 400 of them.
            slack = 1 / 37 if name == "accuracy" and dtype == "float32" else ROUNDING[dtype] * abs(value)
            if type(found[name]) is not float or not abs(found[name] - value) <= slack:
                raise CheckFailed(rule, f"{name} {found[name]!r}", f"{value!r}, as a Python float", where)
        margins[one.case.name] = abs(found["loss"] - expected["loss"])
    return margins


def _agreement(subject: Subject, rule: str, dtype: str, what: str) -> Margins:
    margins = {}
    for one in (one for one in pairs(subject) if one.dtype == dtype):
        found, expected, case = one.measured, measured_numpy(one.case.name)[1], one.case
        place, tolerance = one.where, ROUNDING[dtype]
        if what == "trained":
            order = np.concatenate(passes(case))
            require_close(rule, found["losses"], expected["losses"], order, tolerance, f"losses of train(), {place}")
            place += f", after {len(passes(case))} steps"
        margins[case.name] = require_close(
            rule, found[what], expected[what], case.ids, tolerance, f"score() of {place}"
        )
    return margins


def _repadded(case: Task) -> Task:
    """Return the task with other tokens behind each sequence's end."""
    assert case.lengths is not None
    padding = np.arange(case.architecture.length) >= case.lengths[:, None]
    tokens = case.architecture.vocabulary or 1
    inputs = np.where(padding, (case.inputs + 3) % tokens, case.inputs)
    if case.architecture.kind == "classify":
        return replace(case, inputs=inputs)
    return replace(case, inputs=inputs, targets=np.where(padding, (case.targets + 5) % tokens, case.targets))
