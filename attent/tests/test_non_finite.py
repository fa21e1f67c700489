"""Numbers that are not finite: a step that has one is counted, a state that has one is never kept (rules P8, R6)."""

import dataclasses

import numpy as np
import pytest

import attent
from attent import LearnerError, Plan, ScoreError, teach
from attent.cli.report_command import show_report
from attent.reference import Architecture, NumpyLearner, initial_parameters
from attent.run.files import read_arrays
from attent.tests.toy import Toy

SICK = 7
ARCHITECTURE = Architecture("classify", length=3, outputs=2, vocabulary=6, width=8, heads=2)
PLAN = Plan(epochs=4, batch_size=8, ratio=0.5, warm_up=1, cool_down=1, non_finite="drop")


def sick_learner(kind=NumpyLearner, sick=(SICK,), **settings):
    """A network over 40 sequences; those that are sick have a token whose embedding is NaN."""
    parameters = initial_parameters(ARCHITECTURE, seed=0)
    parameters["embed.weight"][5] = np.nan
    inputs = np.arange(120).reshape(40, 3) * 7 % 5
    inputs[list(sick), 1] = 5
    return kind(ARCHITECTURE, parameters, inputs, inputs[:, 0] % 2, **settings)


def healthy(state):
    """The arrays of a state that were finite at first."""
    return {name: array for name, array in state.items() if not name.endswith("embed.weight")}


@pytest.mark.parametrize("policy", ["drop", "last"])
def test_a_bad_example_costs_its_steps_and_nothing_else(tmp_path, policy):
    learner, plan = sick_learner(), dataclasses.replace(PLAN, non_finite=policy)
    trace = teach(learner, plan, run=tmp_path)
    assert trace.finished
    assert [record.steps_skipped for record in trace.records] == [1, 0, 0, 1]
    assert learner.steps == plan.total_steps(40) - 2
    assert all(np.isfinite(array).all() for array in healthy(learner.state()).values())
    assert all(np.isfinite(record.loss) for record in trace.records)
    assert SICK not in trace.ids(1)
    assert np.isfinite(learner.score(np.delete(np.arange(40), SICK))).all()


def test_a_report_tells_the_steps_skipped(tmp_path):
    told = []
    teach(sick_learner(), PLAN, run=tmp_path)
    show_report(tmp_path, tell=told.append)
    assert "2 of 16 steps were skipped: a loss or the gradient was not finite" in "\n".join(told)


def test_the_mean_loss_is_that_of_the_finite_losses():
    (record,) = teach(sick_learner(), dataclasses.replace(PLAN, epochs=1, cool_down=0)).records
    other = np.delete(np.arange(40), SICK)
    batches = attent.Course(Plan.full(epochs=1, batch_size=8), 40, segment_steps=9).next().batches
    losses, learner = np.full(40, np.nan), sick_learner()
    for ids in batches:
        losses[ids] = learner.train([ids])
    assert record.loss == pytest.approx(losses[other].mean(), rel=1e-12)


def test_under_error_the_run_stops_before_a_checkpoint_has_it(tmp_path):
    learner, plan = sick_learner(), dataclasses.replace(PLAN, non_finite="error")
    with pytest.raises(ScoreError, match=r"not finite in epoch 0: id 7 \(nan\)"):
        teach(learner, plan, run=tmp_path, checkpoint_seconds=0)
    kept = read_arrays(tmp_path / "checkpoint.safetensors")[0]
    assert all(np.isfinite(array).all() for name, array in healthy(kept).items() if name.startswith("learner/"))


class Overflowing(NumpyLearner):
    """Finite losses, and in one step a gradient that is not."""

    def train(self, batches, weights=None):
        losses = super().train(batches, weights)
        self._skipped += any(3 in ids for ids in batches)
        return losses


def test_a_gradient_that_is_not_finite_is_an_error_too(tmp_path):
    with pytest.raises(ScoreError, match=r"1 of 1 steps in epoch 0 had a gradient that is not finite") as error:
        teach(sick_learner(Overflowing, sick=()), Plan.full(epochs=1, batch_size=40))
    assert "non_finite='drop'" in str(error.value)
    trace = teach(sick_learner(Overflowing, sick=()), dataclasses.replace(PLAN, warm_up=1))
    assert trace.records[0].steps_skipped == 1


@pytest.mark.parametrize("policy", ["error", "drop"])
def test_a_step_that_a_loss_scaler_leaves_out_is_counted_and_stops_no_run(policy):
    class Scaling(Overflowing):
        scales_losses = True

    plan = dataclasses.replace(PLAN, non_finite=policy)
    trace = teach(sick_learner(Scaling, sick=()), plan)
    assert trace.finished
    assert [record.steps_skipped for record in trace.records] == [int(3 in trace.ids(epoch)) for epoch in range(4)]
    assert trace.records[0].steps_skipped == 1
    with pytest.raises(ScoreError, match=r"not finite in epoch 0: id 7 \(nan\)"):
        teach(sick_learner(Scaling), dataclasses.replace(PLAN, non_finite="error"))
    workers = attent.Workers(sick_learner(Scaling, sick=()), 0, 1, lambda own: [own])
    assert attent.first_difference(teach(workers, plan), trace) is None


def test_a_feed_takes_what_a_loss_scaler_left_out_under_any_plan():
    feed = attent.Feed(Plan.full(epochs=1, batch_size=2), 4)
    feed.record(np.ones(2), feed.batches()[0], skipped=1, scaled=True)
    resumed = attent.Feed(Plan.full(epochs=1, batch_size=2), 4)
    resumed.load_state(feed.state())
    with pytest.raises(ScoreError, match="2 of 2 steps in epoch 0 had a gradient that is not finite"):
        resumed.record(np.ones(2), resumed.batches()[1], skipped=1)
    assert resumed.record(np.ones(2), resumed.batches()[1]).steps_skipped == 1


def test_an_epoch_without_a_finite_loss_is_an_error():
    with pytest.raises(ScoreError, match="no loss of epoch 0 is finite, so that none of its steps taught anything"):
        teach(sick_learner(sick=range(40)), PLAN)


class Spoilt(NumpyLearner):
    """Breaks P8: the step that has a NaN is taken."""

    def train(self, batches, weights=None):
        losses = super().train(batches, weights)
        if not np.isfinite(losses).all():
            self._parameters = {name: np.full_like(array, np.nan) for name, array in self._parameters.items()}
        return losses


@pytest.mark.parametrize("folder", [True, False])
def test_a_learner_that_takes_the_step_is_stopped_and_the_last_good_checkpoint_stays(tmp_path, folder):
    run = tmp_path / "run" if folder else None
    with pytest.raises((LearnerError, ScoreError)):
        teach(sick_learner(Spoilt), PLAN, run=run)
    if folder:
        kept = read_arrays(run / "checkpoint.safetensors")[0]
        assert all(np.isfinite(array).all() for name, array in healthy(kept).items() if name.startswith("learner/"))
        assert not attent.Trace.read(run).finished


@pytest.mark.parametrize("folder", [True, False])
def test_a_run_whose_last_step_spoils_the_learner_has_not_finished(tmp_path, folder):
    class SpoiltAtTheEnd(NumpyLearner):
        def train(self, batches, weights=None):
            losses = super().train(batches, weights)
            if self.steps == PLAN.total_steps(40):
                self._moments["square"]["head.bias"][0] = np.inf
            return losses

    run = tmp_path / "run" if folder else None
    with pytest.raises(LearnerError) as error:
        teach(sick_learner(SpoiltAtTheEnd, sick=()), PLAN, run=run)
    assert "1 of 2 numbers of 'square.head.bias' are NaN or infinite" in str(error.value)
    if folder:
        assert len(attent.Trace.read(run).records) == 3
        whole = teach(sick_learner(sick=()), PLAN)
        again = teach(sick_learner(sick=()), PLAN, run=run, resume=True)
        assert attent.first_difference(whole, again) is None


def test_what_was_not_finite_when_the_run_began_may_stay_so(tmp_path):
    class Masked(Toy):
        def state(self):
            return {**super().state(), "mask": np.array([0.0, -np.inf])}

    halves = iter([False] * 3 + [True])
    plan = Plan.default(epochs=4, batch_size=4)
    teach(Masked(), plan, run=tmp_path, stop=lambda: next(halves), segment_steps=2)
    assert teach(Masked(), plan, run=tmp_path, resume=True).finished


def test_masked_arrays_are_no_losses():
    masked = np.ma.masked_array([1.0, 2.0, 3.0, 4.0], [False, True, False, False])
    feed = attent.Feed(Plan.full(epochs=1, batch_size=2), 4)
    ids = np.concatenate(feed.batches())
    with pytest.raises(ScoreError, match="got a masked array, whose hidden entries would count"):
        feed.record(masked, ids)
    with pytest.raises(attent.CourseError, match="ids must be plain whole numbers, got a masked array"):
        feed.record(np.ones(4), np.ma.masked_array(ids, [True, False, False, False]))
    assert feed.record(np.ones(4), ids) is not None

    class Masking(NumpyLearner):
        def train(self, batches, weights=None):
            return np.ma.masked_array(super().train(batches, weights), True)

    with pytest.raises(LearnerError, match=r"learner.train\(\) must return plain numbers, got a masked array"):
        teach(sick_learner(Masking, sick=()), PLAN)


def test_a_feed_counts_what_its_trainer_left_out():
    plan = dataclasses.replace(Plan.full(epochs=1, batch_size=2), non_finite="drop")
    feed = attent.Feed(plan, 4)
    feed.record(np.array([1.0, np.nan]), feed.batches()[0], skipped=1)
    resumed = attent.Feed(plan, 4)
    resumed.load_state(feed.state())
    assert resumed.record(np.ones(2), resumed.batches()[1]).steps_skipped == 1


def test_a_feed_refuses_more_skipped_steps_than_there_are():
    feed = attent.Feed(dataclasses.replace(Plan.full(epochs=1, batch_size=2), non_finite="drop"), 4)
    with pytest.raises(attent.CourseError, match=r"skipped must be in \[0, 2\], the steps on these examples, got 3"):
        feed.record(np.ones(2), feed.batches()[0], skipped=3)
    for ids in feed.batches():
        record = feed.record(np.ones(2), ids, skipped=1)
    assert record.steps_skipped == 2
    scored = attent.Feed(Plan(epochs=1, batch_size=2, source="fresh", non_finite="drop"), 4)
    with pytest.raises(attent.CourseError, match=r"skipped must be in \[0, 0\]"):
        scored.record(np.ones(4), scored.to_score(), skipped=1)


def test_a_feed_of_a_plan_that_allows_none_stops_at_the_first_skipped_step():
    feed = attent.Feed(Plan.full(epochs=1, batch_size=2), 4)
    with pytest.raises(attent.ScoreError, match="1 of 2 steps in epoch 0 had a gradient that is not finite"):
        feed.record(np.ones(2), feed.batches()[0], skipped=1)
    assert [feed.record(np.ones(2), ids) for ids in feed.batches()][1].steps_skipped == 0  # nothing of it was kept


def test_a_learner_that_counts_more_skipped_steps_than_it_took_is_told_of():
    class Counting(Toy):
        skipped = 0

        def train(self, batches, weights=None):
            self.skipped += 100
            return super().train(batches, weights)

    with pytest.raises(attent.CourseError, match=r"skipped must be in \[0, 1\], the steps on these examples, got 100"):
        teach(Counting(), dataclasses.replace(PLAN, non_finite="drop"))


def test_in_memory_a_learner_need_not_be_able_to_keep_its_state(tmp_path):
    class Unkept(Toy):
        def state(self):
            raise LearnerError("cannot save 'x'")

    assert teach(Unkept(), Plan.full(epochs=2, batch_size=4)).finished
    with pytest.raises(LearnerError, match="cannot save 'x'"):
        teach(Unkept(), Plan.full(epochs=2, batch_size=4), run=tmp_path)
