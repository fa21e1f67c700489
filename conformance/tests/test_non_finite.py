"""Backends that change something at a step that is not finite fail P8, and no other rule; NumPy's passes."""

import pytest
from non_finite_mutants import MUTANTS

from attent.reference import NumpyLearner
from attent_conformance import CHECKS, Subject
from attent_conformance.suite import result_of

OF_P8 = [check for check in CHECKS if check.rule == "P8"]
OTHERS = [check for check in CHECKS if check.rule[0] in "PA" and check.rule != "P8"]


def failing(reference, checks):
    results = [result_of(check, Subject("mutant", reference)) for check in checks]
    return {result.check.rule: result.reason for result in results if result.status == "fail"}


def test_the_unbroken_learner_passes():
    assert len(OF_P8) == 5
    assert failing(NumpyLearner, OF_P8) == {}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_backend_fails_p8(name):
    found = failing(MUTANTS[name], OF_P8)
    assert set(found) == {"P8"}
    assert found["P8"].startswith("P8: got ")


@pytest.mark.parametrize("name", ["MomentsDecay", "SkipsTheRestOfTheCall"])
def test_and_no_other_rule(name):
    assert failing(MUTANTS[name], OTHERS) == {}
