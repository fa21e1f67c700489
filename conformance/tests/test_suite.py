"""The list of checks and the three ways to run it."""

import re
from pathlib import Path

import pytest

import attent_conformance
from attent.reference import NumpyLearner
from attent_conformance import CHECKS, CheckFailed, Subject, examine, parametrize_with_checks, passed
from attent_conformance.suite import RESTS_ON, selected

SPECIFICATION = Path(__file__).parents[2] / "docs" / "spec.md"
NUMPY = Subject("numpy-as-a-function", NumpyLearner, quick=True)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_every_check_names_a_rule_of_the_specification(check):
    assert re.fullmatch(r"[A-Z]\d+", check.rule)
    assert check.says.endswith(".")
    assert f"- **{check.rule}**" in SPECIFICATION.read_text()


def test_names_are_distinct_and_every_check_comes_after_what_it_rests_on():
    assert len({check.name for check in CHECKS}) == len(CHECKS) >= 76
    names = [check.name for check in CHECKS]
    last = {check.rule: index for index, check in enumerate(CHECKS) if check.name not in RESTS_ON}
    for rule, bases in RESTS_ON.items():
        own = [i for i, check in enumerate(CHECKS) if check.name == rule]
        of_rule = [i for i, check in enumerate(CHECKS) if check.rule == rule and check.name not in RESTS_ON["P1"]]
        first = min(own or [i for i in of_rule if CHECKS[i].name not in RESTS_ON])
        for base in bases:
            assert (names.index(base) if base in names else last[base]) < first
    assert {name for name in RESTS_ON if name not in last} <= set(names)


def test_checks_are_chosen_by_letter_rule_or_name():
    assert {check.rule for check in selected("L,R2")} == {"L1", "L2", "R2"}
    assert [check.rule for check in selected("the_length_stays")] == ["P2"]
    with pytest.raises(ValueError, match="no check for rule 'X'; known: A1, A2"):
        selected("P,X")
    with pytest.raises(ValueError, match="at least one rule"):
        selected(" , ")


def test_what_is_not_declared_is_skipped_visibly():
    subject = Subject("plain", NumpyLearner, abilities=("float32",), quick=True)
    results = {result.check.name: result for result in examine(subject, "P4,L1,A,B1")}
    assert results["weights_scale_each_gradient"].reason == "plain does not declare the ability 'weights'"
    assert results["classifier_runs_in_lock_step"].status == "skip"
    assert results["the_plugin_loads_under_its_name"].reason == "given as a function, not as a plugin"
    assert set(results["float32_scores_agree"].margins) == {"classes", "many"}


def test_zero_checks_run_is_no_pass():
    subject = Subject("nothing", NumpyLearner, abilities=())
    assert not passed(examine(subject, "L,A1"))
    assert not passed([])


def test_any_exception_is_a_failure_that_names_it_and_how_to_repeat_it():
    def broken(*arguments, **settings):
        raise RuntimeError("no device found")

    (result,) = examine(Subject("broken", broken), "the_split_of_scoring_does_not_matter")
    assert result.status == "fail"
    assert "P5: got builtins.RuntimeError: no device found, expected no exception" in result.reason
    assert "test_suite.py:" in result.reason
    assert "examine(subject, rules='the_split_of_scoring_does_not_matter')" in result.reason


def test_a_fault_is_told_once():
    class Short(NumpyLearner):
        def score(self, ids):
            return super().score(ids)[:-1]

    results = examine(Subject("short", Short, quick=True), "P,L")
    failed = [result.check.name for result in results if result.status == "fail"]
    assert failed == ["numbers_are_float64_one_per_example"]
    blocked = {result.check.rule: result.reason for result in reversed(results) if result.status == "skip"}
    assert blocked["P1"] == "rests on numbers_are_float64_one_per_example, which failed"
    assert set(blocked) == {"P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8", "P9", "L1", "L2"}


@parametrize_with_checks(NUMPY, rules="P,R")
def test_as_parameters(check):
    check()


def test_parameters_fail_with_the_text_alone():
    class Nudged(NumpyLearner):
        def score(self, ids):
            self._steps += 1
            return super().score(ids)

    mark = parametrize_with_checks(Subject("nudged", Nudged), rules="score_changes_no_state")
    (parameter,) = mark.args[1]
    with pytest.raises(pytest.fail.Exception, match=r"P1: got state\(\)\['steps'\] changed"):
        parameter.values[0]()


class TestAsAClass(attent_conformance.Suite):
    backend = "numpy"
    settings = {"quick": True}


class TestOfAFunction(attent_conformance.Suite):
    reference = staticmethod(NumpyLearner)
    settings = {"quick": True, "abilities": ("float64",)}


def test_a_class_must_say_what_it_examines():
    class Neither(attent_conformance.Suite):
        pass

    with pytest.raises(TypeError, match="must set one of backend"):
        Neither().test_at_least_one_check_applies()


def test_a_failure_reads_well():
    failure = CheckFailed("P2", "float32", "float64", "score()")
    failure.reproduce = "attent-conformance mine --rules P2"
    assert str(failure).splitlines() == [
        "P2: got float32, expected float64",
        "  where: score()",
        "  reproduce: attent-conformance mine --rules P2",
    ]


def test_the_example_backend_is_as_short_as_the_guide_says():
    example = SPECIFICATION.parent / "examples" / "attent-autograd" / "attent_autograd"
    assert sum(len(path.read_text().splitlines()) for path in example.glob("*.py")) <= 120
