"""A few of each kind of fault; ``nox -s faults`` gives many, and all kinds."""

from __future__ import annotations

import random

import pytest

from attent.tests.faults import disk, flips, inputs, mutations, targets


def test_drawn_inputs_are_taken_or_refused_by_errors_of_attents():
    done = inputs.run(400, 7, tell=lambda line: None)
    assert sum(sum(each.values()) for each in done.values()) >= 390
    for target in ("plans", "arms", "configs", "headers", "traces"):
        assert min(done[target].values()) > 0, target


def test_flipped_bits_are_told_of_or_change_nothing():
    told = flips.run(60, 7, tell=lambda line: None)
    assert sum(told.values()) > 40


def test_a_disk_that_fails_costs_nothing_that_was_written():
    assert disk.run(12, 7, tell=lambda line: None) > 5


def test_the_same_seed_draws_the_same():
    drawn = [
        [mutations.mutated_value(targets.PLAN_FIELDS, random.Random(number)) for number in range(300)] for _ in range(2)
    ]
    assert mutations.as_json(drawn[0]) == mutations.as_json(drawn[1])
    assert targets.PLAN_FIELDS["epochs"] == 6


@pytest.mark.parametrize("target", ["plans", "traces"])
def test_what_no_user_should_see_is_a_finding(monkeypatch, target, tmp_path):
    """The search itself finds: an input that raises anything else ends it, and says how to draw it again."""

    def broken(rng, corpus):
        raise KeyError("epochs")

    monkeypatch.setitem(inputs.TARGETS, target, (broken, 5))
    with pytest.raises(KeyError) as error:
        inputs.run(100, 3, tell=lambda line: None)
    assert error.value.__notes__ == [f"input: {target!r} 3 0"]


def test_damage_that_is_silent_is_a_finding(monkeypatch):
    """Were checksums not looked at, flipped bits would be found to teach something else."""
    monkeypatch.setattr("attent.run.files._check_sum", lambda told, found, where: None)
    with pytest.raises(inputs.Finding, match=r"flip \d+ of .* is silent \(.*\): (other|another) "):
        flips.run(400, 7, tell=lambda line: None)
