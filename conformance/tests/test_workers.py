"""Workers that are broken in one way fail the rule they break; threads that are right pass all five."""

import pytest
from workers_mutants import MUTANTS, Right

from attent.reference import NumpyLearner
from attent_conformance import Subject
from attent_conformance.suite import result_of, selected


def failing(workers):
    subject = Subject("mutant", NumpyLearner, workers=workers, quick=True)
    results = [result_of(check, subject) for check in selected("W")]
    return [(result.check.rule, result.reason) for result in results if result.status == "fail"]


def test_right_ones_pass_with_two_and_four():
    subject = Subject("threads", NumpyLearner, workers=Right)
    results = [result_of(check, subject) for check in selected("W")]
    assert [(result.check.rule, result.status) for result in results] == [
        (rule, "pass") for rule in ("W2", "W1", "W3", "W4", "W5")
    ], [result.reason for result in results]


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_one_fails_the_rule_it_breaks_first(name):
    workers, rule = MUTANTS[name]
    found = failing(workers)
    assert found, "nothing failed"
    assert found[0][0] == rule, found


def test_each_rule_is_broken_by_three():
    rules = [rule for _, rule in MUTANTS.values()]
    assert {rule: rules.count(rule) >= 3 for rule in sorted(set(rules))} == dict.fromkeys(
        ("W1", "W2", "W3", "W4", "W5"), True
    )


def test_a_backend_without_workers_is_skipped_visibly():
    subject = Subject("mine", NumpyLearner)
    results = [result_of(check, subject) for check in selected("W")]
    assert {result.status for result in results} == {"skip"}
    assert results[0].reason == "mine does not declare the ability 'workers'"
