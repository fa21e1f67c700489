"""One compilation per width of batches, and none after a run's first two rounds."""

import jax
import numpy as np
import optax
import pytest

import attent


@pytest.fixture
def compiled():
    """How many programs XLA has compiled since, of whatever kind."""
    seen = []

    def listen(event, seconds, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            seen.append(seconds)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield lambda: len(seen)
    jax.monitoring.unregister_event_duration_listener(listen)


def test_last_batches_of_any_size_are_padded(task):
    learner = task.learner()
    for size in (24, 7, 1, 24, 23):
        learner.train([np.arange(size)])
    for size in (1, 24, 5):
        learner.score(np.arange(size))
    assert learner.compilations == {"score": 1, "train": 1}


def test_a_larger_batch_compiles_once_more(task):
    learner = task.learner()
    for size in (5, 9, 5, 3):
        learner.train([np.arange(size)])
    assert learner.compilations["train"] == 2


@pytest.mark.parametrize("kept", ["device", "host"])
def test_no_recompilation_after_two_rounds(task, compiled, kept):
    learner = task.learner(optimizer=optax.adamw(0.01), score_batch_size=10, keep_on_host=kept == "host")
    plan = attent.Plan(
        epochs=8, batch_size=5, ratio=attent.linear(0.3, 0.9), select="soft(correction=5.0)", source="fresh"
    )
    counts = []

    def listen(progress):
        if progress.record is not None:
            counts.append(compiled())

    attent.teach(learner, plan, listeners=[listen])
    assert counts[0] > 0
    assert counts[1:] == [counts[1]] * 7
    assert learner.compilations == {"score": 1, "train": 1}


def test_resuming_compiles_nothing_new(task, compiled):
    learner = task.learner(optimizer=optax.adamw(0.01))
    learner.train(task.batches)
    state = learner.state()
    learner.load_state(state)
    learner.train(task.batches)
    before = compiled()
    learner.load_state(state)
    learner.train(task.batches)
    learner.state()
    assert compiled() == before
