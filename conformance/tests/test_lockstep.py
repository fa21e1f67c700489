"""Lock-step: what differs is named, what proves nothing is called ambiguous."""

import dataclasses

import numpy as np
import pytest

import attent
from attent.plan.plan import Plan
from attent.reference import NumpyLearner
from attent_conformance import Ambiguous, CheckFailed, Subject, examine
from attent_conformance.chains import CHAINS, digests_of, golden, reference_run
from attent_conformance.checks import lockstep
from attent_conformance.runs import TaughtEpoch, gap, keys
from attent_conformance.tasks import TASKS, task

PLAN = Plan(epochs=1, batch_size=2, ratio=0.5, select="hard", source="fresh")
SCORES = np.array([1.0, 4.0, 3.0, 2.0])


def epoch(ids, scores):
    return TaughtEpoch("hard", 0, 0, 2, np.array(ids), np.array(scores), "same")


def test_equal_ids_with_a_wide_gap_pass():
    error, distance = lockstep._compared(PLAN, epoch([1, 2], SCORES + 1e-12), epoch([1, 2], SCORES), "here")
    assert error == pytest.approx(1e-12, rel=1e-3)
    assert distance == 1.0


def test_equal_ids_with_a_gap_below_ten_errors_are_ambiguous():
    close = np.array([1.0, 4.0, 3.0, 3.0 - 1e-9])
    with pytest.raises(Ambiguous, match="ambiguous: equal ids would prove nothing here"):
        lockstep._compared(PLAN, epoch([1, 2], close + 2e-10), epoch([1, 2], close), "here")


def test_other_ids_within_rounding_are_ambiguous_not_wrong():
    close = np.array([1.0, 4.0, 3.0, 3.0 - 1e-12])
    other = np.array([1.0, 4.0, 3.0 - 1e-12, 3.0])
    with pytest.raises(Ambiguous):
        lockstep._compared(PLAN, epoch([1, 3], other), epoch([1, 2], close), "here")


def test_other_ids_are_told_with_both_scores():
    other = np.array([1.0, 4.0, 3.0, 3.5])
    with pytest.raises(CheckFailed) as failure:
        lockstep._compared(PLAN, epoch([1, 3], other), epoch([1, 2], SCORES), "chain 'x', epoch 7")
    assert not isinstance(failure.value, Ambiguous)
    assert "got ids [3] (of 1)" in str(failure.value)
    assert "expected ids [2] in their place, as the gap at the cut is 1.00e+00" in str(failure.value)
    assert "first in chain 'x', epoch 7; scores: id 3: 3.5 against 2.0; id 2: 3.0 against 3.0" in str(failure.value)


def test_a_trace_of_numpy_that_is_not_the_golden_one_is_told_as_that(monkeypatch):
    changed = tuple(dataclasses.replace(one, batches="0") for one in reference_run("two-tasks", True))
    monkeypatch.setattr(lockstep, "reference_run", lambda name, quick: changed)
    (result,) = examine(Subject("numpy", NumpyLearner, quick=True), "two_tasks_run_in_lock_step")
    assert "L3: got another trace from this machine's NumPy" in result.reason


@pytest.mark.parametrize("name", CHAINS)
def test_the_golden_runs_are_numpys_and_not_ambiguous(name):
    epochs = reference_run(name)
    assert digests_of(epochs) == golden()[name]
    for one in epochs:
        plan = CHAINS[name].plans[one.plan]
        ordering = None if one.scores is None else keys(plan, one.scores, one.draw)
        assert ordering is None or gap(plan, ordering, one.k) > 1e-7


def test_the_golden_runs_hold_every_selection_schedule_and_source():
    policies = {repr(plan.select) for plan in CHAINS["classes"].plans.values()}
    assert policies == {"Hard()", "Soft(temperature=0.4)", "Random()", "Band()"}
    assert {type(plan.source) for plan in CHAINS["classes"].plans.values()} == {attent.Fresh, attent.Reuse}
    names = {tuple(name.split("/")) for name in CHAINS["classes"].plans}
    schedules = ("constant", "linear", "cosine", "step", "incremental")
    assert {
        (s, w, f) for s in ("hard", "soft", "random", "band") for w in schedules for f in ("fresh", "reuse")
    } <= names
    for name in ("classes", "next-token"):
        epochs = reference_run(name)
        assert sum(one.ids is not None for one in epochs) >= 50
        assert sum(-(-one.k // CHAINS[name].plans[one.plan].batch_size) for one in epochs) >= 1000


def test_the_gap_of_a_band_is_the_smaller_of_its_two_cuts():
    plan = dataclasses.replace(PLAN, select="band(cap=0.75)")
    assert gap(plan, np.array([8.0, 1.0, 5.0, 4.5]), 2) == 3.0
    assert gap(plan, np.array([8.0, 1.0, 7.5, 4.5]), 2) == 0.5


@pytest.mark.parametrize("name", TASKS)
def test_no_two_examples_of_a_task_are_the_same(name):
    one = task(name)
    if name not in ("padded-classes", "padded-tasks"):  # never ranked
        rows = [one.inputs.reshape(len(one), -1), one.targets.reshape(len(one), -1)]
        assert len(np.unique(np.concatenate(rows, axis=1), axis=0)) == len(one)


CLASSES = task("classes")
EVERY = np.arange(len(CLASSES))


def in_band(monkeypatch, theirs, ours):
    """Run the L2 check of the classifier on crafted scores, those of all rounds equal."""

    class Scored:
        def score(self, ids):
            return theirs[ids]

    monkeypatch.setattr(lockstep, "_synchronised", lambda name: ((CLASSES.parameters, ours),))
    subject = Subject("crafted", lambda *data, **settings: Scored(), quick=True)
    (result,) = examine(subject, "float32_classifier_stays_in_its_band")
    return result


def falling(near):
    """Scores from 2 down to 1, the first one left out (id 38) ``near`` below the last one taken (id 37)."""
    scores = 2.0 - EVERY / len(EVERY)
    scores[38] = scores[37] - near
    return scores


def swapped(scores, by):
    """The same scores, those of ids 37 and 38 moved towards each other by ``by`` each."""
    moved = scores.copy()
    moved[37] -= by
    moved[38] += by
    return moved


def test_ids_that_change_sides_inside_the_band_pass_and_are_counted(monkeypatch):
    ours = falling(near=2e-5)
    theirs = swapped(ours, 1.5e-5)  # 3e-5 towards each other: the other one is taken now
    assert attent.hard(ours, 38).tolist() == list(range(38))
    assert attent.hard(theirs, 38).tolist() == [*range(37), 38]
    result = in_band(monkeypatch, theirs, ours)
    assert (result.status, result.reason) == ("pass", "")
    assert result.margins["band"] == pytest.approx(4e-5)  # 2e-5 of the largest score, 2
    assert result.margins["error"] == pytest.approx(1.5e-5)
    assert (result.margins["examples in the band"], result.margins["differing"]) == (1, 1)


def test_scores_outside_the_band_fail_though_the_same_ids_are_chosen(monkeypatch):
    ours = falling(near=1e-2)
    theirs = ours.copy()
    theirs[5] += 4.1e-5
    assert attent.hard(theirs, 38).tolist() == list(range(38))
    result = in_band(monkeypatch, theirs, ours)
    assert result.status == "fail"
    assert "L2: got scores 4.10e-05 from the reference's, expected at most the band, 4.00e-05" in result.reason
    assert "task 'classes', round 0 (Hard()), float32 re-synchronised; scores: id 5: " in result.reason


def test_another_choice_beyond_two_bands_of_the_cut_fails(monkeypatch):
    """Scores within the band cannot cause it: a core that chooses otherwise does."""
    ours = falling(near=1e-2)
    theirs = ours + 1e-6
    true = lockstep.choose

    def off(plan, scores, k, draw):
        choice = true(plan, scores, k, draw)
        return choice if scores is ours else choice._replace(ids=np.append(choice.ids[:-1], 60))

    monkeypatch.setattr(lockstep, "choose", off)
    result = in_band(monkeypatch, theirs, ours)
    assert "L2: got another choice for ids [60], expected one only for ids within two bands, 8.00e-05" in result.reason
    assert f"id 60: {float(theirs[60])!r} against {float(ours[60])!r}" in result.reason


def test_keys_of_a_soft_choice_stay_in_the_band_over_the_standard_deviation(monkeypatch):
    ours = falling(near=1e-2)
    monkeypatch.setattr(lockstep, "_synchronised", lambda name: ((CLASSES.parameters, ours),) * 2)
    calls = []

    class Scored:
        def score(self, ids):
            calls.append(0)
            moved = ours.copy()
            moved[5] += 3.9e-5 if len(calls) < 3 else 4.5e-5  # a soft round's keys are compared, not its scores
            return moved[ids]

    def examined():
        (result,) = examine(
            Subject("crafted", lambda *data, **settings: Scored(), quick=True), "float32_classifier_stays_in_its_band"
        )
        return result

    passing = examined()
    assert passing.margins["band"] == pytest.approx(4e-5 / ours.std())
    assert "round 0 (Hard())" in examined().reason
