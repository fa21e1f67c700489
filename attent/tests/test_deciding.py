"""Decisions from losses that are below 0, exactly 0, or too large to be summed."""

import sys

import numpy as np
import pytest

import attent
from attent import Course, Plan
from attent.choose.auto import Stand, begun, decide, told
from attent.choose.sights import signs
from attent.tests.toy import Toy, drive

NONE = np.full(1000, np.nan)
BELOW = {"sign": "below 0"}
# Of 1000 examples the last 100 are hard: at first sight they hold most of the loss.
HARD = np.r_[np.full(900, 0.1), np.full(100, 3.0)]
ONE_BELOW = np.r_[-1e-9, HARD[1:]]
LARGEST = sys.float_info.max


def test_the_losses_of_a_density_have_no_shares():
    losses = np.random.default_rng(0).normal(0.3, 1, 1000)
    assert losses.sum() > 0
    assert decide(NONE, losses) == (Stand(), BELOW)
    assert decide(NONE, losses - 5) == (Stand(), BELOW)
    assert told(BELOW) == "losses below 0, of which no share can be told: all in turn"


@pytest.mark.parametrize("stand", [None, Stand(), Stand(first=1.0), Stand("hard", 1, 1.0), Stand("soft", 2, 50.0)])
@pytest.mark.parametrize(("before", "latest"), [(HARD, ONE_BELOW), (ONE_BELOW, HARD * 0.5)])
def test_one_loss_below_0_and_all_are_in_turn(stand, before, latest):
    first = None if stand is None else stand.first
    assert decide(before, latest, np.arange(900, 1000), stand) == (Stand(first=first), BELOW)
    assert signs(before, latest) is None


def test_a_loss_of_exactly_0_is_no_loss_below_0():
    zeros = np.r_[np.full(450, -0.0), np.zeros(450), np.full(100, 3.0)]
    assert decide(NONE, zeros) == (Stand("hard", 1, 0.3, known=True), {"sign": "known", "share": 1.0})
    assert signs(np.r_[zeros[:899], 1.0, zeros[900:]], zeros * 0.5) == (1.0, 0.5, 0.0, 1000)
    assert decide(zeros, zeros * 0.05, None, Stand(first=0.3)).why == {"sign": "learnt", "share": pytest.approx(0.05)}


@pytest.mark.parametrize("size", [1e308, LARGEST])
def test_losses_too_large_to_be_summed_are_decided_as_smaller_ones(size):
    alike = decide(NONE, np.full(1000, size))
    assert alike.stand == Stand(first=size)
    assert alike.why == {"sign": "alike at first", "share": pytest.approx(0.5)}
    huge, hardest = HARD / 3 * size, np.arange(700, 1000)
    stand, why = decide(NONE, huge)
    said = "at first sight the harder half holds 87 % of the loss: try the hardest"
    assert told(why) == told(decide(NONE, HARD).why) == said
    assert (stand.how, stand.tries, stand.first) == ("hard", 1, pytest.approx(0.13 * size, rel=1e-12))
    seen = np.where(np.arange(1000) < 700, np.nan, huge)
    for fall in (0.5, 0.6, 0.9, 0.05):
        small = decide(seen * 2.0**-64, huge * fall * 2.0**-64, hardest, stand._replace(first=stand.first * 2.0**-64))
        large = decide(seen, huge * fall, hardest, stand)
        assert large.why == small.why
        assert large.stand == small.stand._replace(first=stand.first)
    assert signs(huge, huge * 0.5) == signs(huge * 2.0**-64, huge * 0.5 * 2.0**-64)


@pytest.mark.parametrize("size", [3.0, 1e308, LARGEST])
def test_two_parts_of_a_pass_fall_together_where_their_losses_are_too_large_to_be_summed(size):
    losses = HARD / 3 * size
    first, rest = np.arange(800, 930), np.r_[700:800, 930:1000]
    tried = begun(decide(NONE, losses)).stand
    once, halved = NONE.copy(), losses.copy()
    once[first], halved[first] = losses[first], losses[first] * 0.5
    part = decide(once, halved, first, tried)
    assert part.why == {"sign": "begun", "fall": pytest.approx(0.5)}
    assert np.isfinite(part.stand.part).all()
    once[rest], halved[rest] = losses[rest], losses[rest] * 0.75
    whole = decide(once, halved, rest, part.stand)
    fall = (0.5 * (100 + 30 * 30) + 0.75 * (100 + 70 * 30)) / 3200  # in tenths of the losses
    assert whole.why == {"sign": "not new", "fall": pytest.approx(fall)}


def test_one_loss_too_large_among_others_is_most_of_all():
    losses = np.r_[np.ones(999), LARGEST]
    assert decide(NONE, losses).why == {"sign": "known", "share": 1.0}


def test_an_adaptive_course_over_a_density_teaches_all_in_turn():
    class Density(Toy):
        def train(self, batches, weights=None):
            return super().train(batches, weights) - 1.0

    course = Course(Plan.auto(epochs=4, batch_size=10), 100)
    records = drive(course, Density(100))
    assert [record.selection.why for record in records if record.selection] == [BELOW] * 7
    assert course.memory == Stand()._asdict()
    plain = attent.teach(Density(100), Plan.full(epochs=4, batch_size=10))
    assert sum(record.steps for record in records) == sum(record.steps for record in plain.records)
