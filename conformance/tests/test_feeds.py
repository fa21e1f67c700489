"""The core's feed keeps every rule; each broken one fails the rule that it breaks."""

import pytest
from feed_mutants import MUTANTS

import attent
from attent.reference import NumpyLearner
from attent_conformance import CHECKS, Subject
from attent_conformance.suite import examine, result_of

OF_FEEDS = [check for check in CHECKS if check.rule[0] == "F"]


def test_the_unbroken_feed_passes():
    results = examine(Subject("core", NumpyLearner), "F")
    assert [(result.status, result.reason) for result in results] == [("pass", "")] * 8
    assert {result.check.rule for result in results} == {f"F{number}" for number in range(1, 9)}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_feed_fails_the_rule_that_it_breaks(name):
    feed, rule = MUTANTS[name]
    subject = Subject("mutant", NumpyLearner, feed=feed)
    results = [result_of(check, subject) for check in OF_FEEDS]
    failed = [result for result in results if result.status == "fail"]
    assert failed[0].check.rule == rule, failed[0].reason
    assert failed[0].reason.startswith(f"{rule}: got ")
    assert all(issubclass(feed, attent.Feed) for feed, _ in MUTANTS.values())
