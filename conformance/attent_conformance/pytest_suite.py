"""The checks in an author's own tests: a class to subclass, or parameters for a test function."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from attent.learner import Learner
from attent_conformance.failures import CheckFailed, Skipped
from attent_conformance.needs import Check
from attent_conformance.subject import Subject
from attent_conformance.suite import CHECKS, perform, selected


class Suite:
    """Every check as a test of its own. Subclass it, and name a backend or give a function.

    Attributes:
        backend: name of an installed backend.
        reference: or a function with the signature of ``attent.reference.NumpyLearner``, as a staticmethod.
        settings: of the `Subject`, such as ``{"device": "cuda"}``.

    Example:
        >>> class TestMine(Suite):
        ...     backend = "numpy"
    """

    backend: ClassVar[str | None] = None
    reference: ClassVar[Callable[..., Learner] | None] = None
    settings: ClassVar[dict[str, Any]] = {}

    @pytest.mark.parametrize("check", CHECKS, ids=[f"{check.rule}-{check.name}" for check in CHECKS])
    def test_conforms(self, check: Check) -> None:
        """Run one check."""
        _run(check, _subject(type(self)))

    def test_at_least_one_check_applies(self) -> None:
        """Fail where every check would be skipped: nothing would be proved."""
        subject = _subject(type(self))
        assert any(subject.lacking(check.needs) is None for check in CHECKS), "no check applies: nothing is proved"


_SUBJECTS: dict[type[Suite], Subject] = {}


def _subject(suite: type[Suite]) -> Subject:
    if suite not in _SUBJECTS:
        _SUBJECTS[suite] = _made(suite)
    return _SUBJECTS[suite]


def _made(suite: type[Suite]) -> Subject:
    if (suite.backend is None) == (suite.reference is None):
        raise TypeError(f"{suite.__qualname__} must set one of backend (a name) and reference (a function)")
    if suite.backend is not None:
        return Subject.named(suite.backend, **suite.settings)
    assert suite.reference is not None  # one of the two is set
    return Subject(suite.__qualname__, suite.reference, **suite.settings)


def parametrize_with_checks(subject: Subject, rules: str | None = None) -> pytest.MarkDecorator:
    """Return a mark that gives a test its argument ``check``: call it to run one check.

    Example:
        >>> from attent_conformance import Subject, parametrize_with_checks
        >>> @parametrize_with_checks(Subject.named("numpy"), rules="P")
        ... def test_conformance(check):
        ...     check()
    """
    checks = selected(rules)
    parameters = [
        pytest.param(functools.partial(_run, check, subject), id=f"{check.rule}-{check.name}") for check in checks
    ]
    return pytest.mark.parametrize("check", parameters)


def _run(check: Check, subject: Subject) -> None:
    try:
        perform(check, subject)
    except Skipped as skipped:  # the backend says that it lacks what the check needs; the reason is shown
        pytest.skip(str(skipped))
    except CheckFailed as failure:
        pytest.fail(str(failure), pytrace=False)
