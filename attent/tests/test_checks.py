"""The one module of checks: what passes, what is said of what does not, and the fields that errors carry."""

import math
import pickle

import numpy as np
import pytest

from attent import checks
from attent.errors import LearnerError, PlanError

INF = math.inf


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3)])
def test_a_whole_number_of_numpy_is_pythons(value):
    found = checks.whole("k", value, 1)
    assert found == 3
    assert type(found) is int


@pytest.mark.parametrize("value", [0.5, np.float32(0.5), np.float64(0.5)])
def test_a_number_of_numpy_is_pythons(value):
    found = checks.number("ratio", value, 0, 1)
    assert found == 0.5
    assert type(found) is float


def test_a_whole_number_prints_as_it_was_written():
    assert str(checks.number("temperature", 0, 0, INF)) == "0"


@pytest.mark.parametrize(
    ("check", "told"),
    [
        (lambda: checks.whole("k", 0, 1), "k must be a whole number of at least 1, got 0"),
        (lambda: checks.whole("k", True, 0), "k must be a whole number of at least 0, got True"),
        (lambda: checks.whole("k", 2.0, 1), "k must be a whole number of at least 1, got 2.0"),
        (lambda: checks.whole("k", "3", 1), "k must be a whole number of at least 1, got '3'"),
        (lambda: checks.whole("k", 7, 1, 6), "k must be a whole number in [1, 6], got 7"),
        (lambda: checks.whole("k", 2**63, 1), "k must be below 2**63, got 9223372036854775808"),
        (lambda: checks.whole("k", 10**5000, 1), "k must be below 2**63, got a number of 16610 bits"),
        (lambda: checks.number("r", 0, 0, 1, open_below=True), "r must be in (0, 1], got 0"),
        (lambda: checks.number("r", math.nan, 0, 1), "r must be in [0, 1], got nan"),
        (lambda: checks.number("r", True, 0, 1), "r must be in [0, 1], got True"),
        (lambda: checks.number("r", -1, 0, INF), "r must be at least 0, got -1"),
        (lambda: checks.number("r", INF, 0, checks.FINITE), "r must be at least 0 and finite, got inf"),
        (lambda: checks.number("r", 10**5000, 0, 1), "r must be in [0, 1], got a number of 16610 bits"),
        (lambda: checks.number("r", 10**400, 0, math.inf), "r must be at least 0, got a number of 1329 bits"),
        (lambda: checks.number("r", None, 0, 1, rule="a share"), "r must be a share, got None"),
        (lambda: checks.one_of("how", "x", ("a", "b")), "how must be one of a, b, got 'x'"),
        (lambda: checks.one_of("how", 1, (None, True)), "how must be one of None, True, got 1"),
        (lambda: checks.flag("tuned", 1), "tuned must be true or false, got 1"),
        (lambda: checks.text("name", ""), "name must be a text, got ''"),
        (lambda: checks.several("seeds", "12", "[1, 2]"), "seeds must be a list such as [1, 2], got '12'"),
        (lambda: checks.several("seeds", [10**5000] and 3, "[1, 2]"), "seeds must be a list such as [1, 2], got 3"),
    ],
)
def test_what_is_refused(check, told):
    with pytest.raises(PlanError) as caught:
        check()
    assert str(caught.value) == told
    assert f"{caught.value.field} {caught.value.rule}" == told


def test_the_class_of_the_error_is_the_callers():
    with pytest.raises(LearnerError) as caught:
        checks.whole("depth", 0, 1, error=LearnerError)
    assert caught.value.field == "depth"


def test_numpys_booleans_are_flags():
    assert checks.flag("tuned", np.True_) is True


@pytest.mark.parametrize("value", ["y" * 10_000, [10**5000]])
def test_nothing_long_is_shown(value):
    with pytest.raises(PlanError) as caught:
        checks.whole("k", value, 1)
    assert len(str(caught.value)) < 300


def test_an_error_keeps_its_fields_through_a_pickle():
    error = pickle.loads(pickle.dumps(PlanError("must be at most 3", field=("warm_up", "cool_down"))))
    assert str(error) == "warm_up + cool_down must be at most 3"
    assert (error.field, error.rule) == (("warm_up", "cool_down"), "must be at most 3")
