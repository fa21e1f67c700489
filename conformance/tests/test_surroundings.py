"""What lies around a learner: each change of it is seen, and nothing else is taken for one."""

import gc
import random
import warnings

import numpy as np
import pytest

from attent_conformance import surroundings

CHANGES = {
    "the generator of random": random.random,
    "the generator of numpy.random": np.random.random,
    "numpy.geterr()": lambda: np.seterr(over="raise"),
    "numpy.getbufsize()": lambda: np.setbufsize(16 * 8192),
    "numpy.get_printoptions()": lambda: np.set_printoptions(precision=3),
    "garbage collection": gc.disable,
    "warnings.filters": lambda: warnings.simplefilter("ignore"),
}


@pytest.fixture(autouse=True)
def settings_put_back():
    sizes, printing = np.getbufsize(), np.get_printoptions()
    with np.errstate(), warnings.catch_warnings(), surroundings.unusual(1):
        yield
    np.setbufsize(sizes)
    np.set_printoptions(**printing)
    gc.enable()


def around():
    return {**surroundings.generators(), **surroundings.arithmetic(), **surroundings.process()}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_seen_and_named(name):
    before = around()
    assert surroundings.difference(before, around()) is None
    CHANGES[name]()
    assert surroundings.difference(before, around()) == name


def test_what_was_seeded_is_put_back():
    python, numpys = random.getstate(), np.random.get_state()[1].tolist()
    with surroundings.unusual(5):
        random.seed(0)
        np.random.seed(0)
    assert random.getstate() == python
    assert np.random.get_state()[1].tolist() == numpys


def test_what_a_framework_loads_later_is_no_difference():
    assert surroundings.difference({"a": 1}, {"a": 1, "b": 2}) is None
