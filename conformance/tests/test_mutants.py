"""Each broken backend fails a rule that it breaks; the unbroken one passes all."""

import decimal
import gc
import logging
import os
import random
import signal
import sys
import warnings

import numpy as np
import pytest
from mutants import MUTANTS

from attent.reference import NumpyLearner
from attent_conformance import CHECKS, Subject
from attent_conformance.suite import result_of

# Checks of the core, of feeds and of the plugin do not look at the learner.
OF_LEARNERS = [check for check in CHECKS if check.rule[0] not in "SBF"]


@pytest.fixture(autouse=True)
def settings_put_back():
    """Put back what broken backends leave changed."""
    collecting, sizes, printing = gc.isenabled(), np.getbufsize(), np.get_printoptions()
    handlers, path = list(logging.root.handlers), list(sys.path)
    environment, python, numpys = dict(os.environ), random.getstate(), np.random.get_state()
    mask, ending = os.umask(0o022), signal.getsignal(signal.SIGTERM)
    os.umask(mask)
    with np.errstate(), warnings.catch_warnings(), decimal.localcontext():
        yield
    logging.root.handlers[:], sys.path[:] = handlers, path
    os.umask(mask)
    signal.signal(signal.SIGTERM, ending)
    np.setbufsize(sizes)
    np.set_printoptions(**printing)
    random.setstate(python)
    np.random.set_state(numpys)
    os.environ.clear()
    os.environ.update(environment)
    if collecting:
        gc.enable()


def failing(reference, rules=None):
    subject = Subject("mutant", reference, quick=True)
    results = [result_of(check, subject) for check in OF_LEARNERS if rules is None or check.rule in rules]
    return {result.check.rule: result.reason for result in results if result.status == "fail"}


def test_the_unbroken_learner_passes():
    assert failing(NumpyLearner) == {}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_backend_fails_a_rule_that_it_breaks(name):
    """Others that rest on it may fail besides: they are not asked."""
    reference, expected = MUTANTS[name]
    found = failing(reference, expected)
    assert found


def test_there_are_enough_of_them():
    assert len(MUTANTS) >= 260
    rules = {rule for _, expected in MUTANTS.values() for rule in expected}
    for rule in rules & {"P1", "P2", "P3", "P4", "P6", "P7", "A3"}:
        assert sum(rule in expected for _, expected in MUTANTS.values()) >= 3
