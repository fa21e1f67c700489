"""How long a run goes on before it can be stopped, and that nothing taught depends on it."""

import os
import signal
import threading

import numpy as np
import pytest

import attent
from attent import Plan, teach
from attent.run.files import read_arrays
from attent.tests.toy import Toy


@pytest.fixture(autouse=True)
def _ctrl_c_is_heard():
    """A shell's background jobs begin with SIGINT ignored, which is the shell's business and not the tests'."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


PLAN = Plan(epochs=3, batch_size=2, ratio=0.5, source="fresh", warm_up=1)


class Clock:
    """Counts seconds that a learner spends."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now

    def monotonic(self):
        return self.now


class Slow(Toy):
    """Takes so many seconds for a step, and for the forward pass of four examples."""

    score_batch_size = 4

    def __init__(self, clock, step=0.0, forward=0.0, **settings):
        super().__init__(40, **settings)
        self.clock, self.step, self.forward, self.calls = clock, step, forward, []

    def train(self, batches, weights=None):
        self.calls.append(len(batches))
        self.clock.now += self.step * len(batches)
        return super().train(batches, weights)

    def score(self, ids):
        self.calls.append(-len(ids))
        self.clock.now += self.forward * -(-len(ids) // 4)
        return super().score(ids)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("attent.run.teaching.time", clock)
    return clock


@pytest.mark.parametrize(
    ("step", "calls"),
    [
        (0.0, [1, 8, 11]),  # at most eight times as many as before
        (0.25, [1, 4, 4, 4, 4, 3]),
        (40.0, [1] * 20),
    ],
)
def test_a_lesson_takes_about_a_second(clock, step, calls):
    learner = Slow(clock, step)
    teach(learner, Plan.full(epochs=1, batch_size=2))
    assert learner.calls == calls


def test_a_scoring_pass_is_cut_at_whole_forwards(clock):
    learner = Slow(clock, step=0.0, forward=0.5)
    whole = teach(Toy(40), PLAN)
    assert attent.first_difference(teach(learner, PLAN), whole) is None
    assert [-count for count in learner.calls if count < 0] == [4, 8, 8, 8, 8, 4, *[8] * 5]


@pytest.mark.parametrize("source", ["fresh", "pool(share=0.8)", "reuse(refresh=0.6)"])
def test_a_run_stopped_within_a_scoring_pass_goes_on_where_it_was(clock, tmp_path, source):
    plan = Plan(epochs=4, batch_size=2, ratio=0.5, source=source, warm_up=1)
    whole = teach(Slow(clock, forward=2.0), plan, segment_steps=64)
    for stop_after in range(1, 22, 3):
        asked = []
        run = tmp_path / str(stop_after)
        first = Slow(clock, forward=2.0)
        teach(first, plan, run=run, segment_steps=64, stop=lambda: asked.append(0) or len(asked) == stop_after)  # noqa: B023
        second = Slow(clock, forward=2.0)
        trace = teach(second, plan, run=run, resume=True, segment_steps=64)
        assert attent.first_difference(trace, whole) is None
        assert first.scored + second.scored == sum(record.examples_scored for record in whole.records)
        assert len(asked) == stop_after


def test_checkpoints_are_made_within_a_slow_scoring_pass(clock, tmp_path):
    kept = []

    def listen(progress):
        kept.append(read_arrays(tmp_path / "checkpoint.safetensors")[0]["course/seen"].copy())

    teach(Slow(clock, forward=40.0), PLAN, run=tmp_path, listeners=[listen], segment_steps=64)
    scored = [int((seen == 1).sum()) for seen in kept]
    assert scored[2:6] == [4, 8, 12, 16]  # a listener is called before the checkpoint of its lesson


def test_lessons_of_a_second_or_of_given_steps_teach_the_same(clock):
    plan = Plan.auto(epochs=3, batch_size=3)
    traces = [
        teach(Slow(clock, step=0.3), plan),
        teach(Slow(clock, step=5.0), plan),
        teach(Slow(clock, step=5.0), plan, segment_steps=7),
    ]
    assert attent.first_difference(traces[0], traces[1]) is None
    assert attent.first_difference(traces[0], traces[2]) is None
    losses = [[record.loss for record in trace.records] for trace in traces]
    assert losses[0] == losses[1] == losses[2]  # to the last bit, however the steps were cut into lessons


def test_ctrl_c_is_obeyed_after_the_step_with_a_checkpoint(tmp_path):
    before = signal.getsignal(signal.SIGINT)

    class Interrupted(Toy):
        def train(self, batches, weights=None):
            losses = super().train(batches, weights)
            if len(self.trained) == 4:
                os.kill(os.getpid(), signal.SIGINT)
            return losses

    learner, plan = Interrupted(40), Plan.default(epochs=4, batch_size=4)
    with pytest.raises(KeyboardInterrupt, match="stopped in epoch 0, with a checkpoint in"):
        teach(learner, plan, run=tmp_path, segment_steps=2)
    assert len(learner.trained) == 4
    assert np.array_equal(read_arrays(tmp_path / "checkpoint.safetensors")[0]["learner/guess"], learner.guess)
    assert signal.getsignal(signal.SIGINT) is before
    rest = Toy(40)
    trace = teach(rest, plan, run=tmp_path, resume=True)
    assert learner.trained + rest.trained == _all_batches(plan)
    assert trace.finished


def _all_batches(plan):
    learner = Toy(40)
    teach(learner, plan)
    return learner.trained


def test_a_second_ctrl_c_ends_the_step(tmp_path):
    class Stuck(Toy):
        def train(self, batches, weights=None):
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)
            raise AssertionError("the second was not heard")

    with pytest.raises(KeyboardInterrupt):
        teach(Stuck(40), Plan.full(epochs=1, batch_size=4), run=tmp_path)


def test_in_memory_and_in_other_threads_ctrl_c_is_left_alone(tmp_path):
    seen = []
    listen = [lambda progress: seen.append(signal.getsignal(signal.SIGINT))]
    teach(Toy(), Plan.full(epochs=1, batch_size=20), listeners=listen)
    thread = threading.Thread(
        target=lambda: teach(Toy(), Plan.full(epochs=1, batch_size=20), run=tmp_path, listeners=listen)
    )
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler] * 2
