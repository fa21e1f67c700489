"""Each broken backend fails the rules it breaks and no other; the unbroken one passes all."""

import pytest
from mutants import MUTANTS

from attent.reference import NumpyLearner
from attent_conformance import CHECKS, Subject
from attent_conformance.suite import result_of

# Checks of the core, of feeds and of the plugin do not look at the learner.
OF_LEARNERS = [check for check in CHECKS if check.rule[0] not in "SBF"]


def failing(reference):
    subject = Subject("mutant", reference, quick=True)
    results = [result_of(check, subject) for check in OF_LEARNERS]
    return {result.check.rule: result.reason for result in results if result.status == "fail"}


def test_the_unbroken_learner_passes():
    assert failing(NumpyLearner) == {}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_backend_fails_the_rules_it_breaks_and_no_other(name):
    reference, expected = MUTANTS[name]
    found = failing(reference)
    assert set(found) == expected, "\n".join(found.values())


def test_there_are_enough_of_them():
    assert len(MUTANTS) >= 25
