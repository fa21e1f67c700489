"""A model on the replicas of ``tf.distribute.MirroredStrategy``: what one device trains, up to the order of sums."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def found():
    script = Path(__file__).with_name("replicas_taught.py")  # logical devices are made before all else
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("kind", ["steps", "clipped", "embedded"])
def test_a_step_is_that_of_the_whole_batch(found, kind):
    """Uneven shares, an empty one, weights of 0 and above 1, a regulariser; both replicas hold the same numbers."""
    losses, scores, state, apart, traces = found[kind]
    assert max(losses, scores, state) < 1e-13
    assert apart == 0
    assert traces == {"score": 1, "train": 1}


@pytest.mark.parametrize("plan", ["auto", "infobatch", "paper"])
def test_a_run_teaches_the_ids_of_one_device(found, plan):
    unlike, state, apart = found[plan]
    assert unlike is None
    assert state < 1e-12
    assert apart == 0


def test_a_state_goes_on_exactly_and_on_one_device(found):
    same_scores, from_one_device, same_state, apart = found["goes on"]
    assert same_scores
    assert same_state
    assert from_one_device < 1e-13
    assert apart == 0  # statistics of batch normalisation too


def test_a_step_that_is_not_finite_changes_nothing_on_any_replica(found):
    bad, skipped, state, apart, counted = found["not finite"]
    assert bad == [7, 8, 9]  # normalised over a replica's share
    assert skipped == 1
    assert (state, apart) == (0, 0)
    assert counted[0] == 1


def test_what_cannot_be_trained_is_refused_before_it_trains_on_one(found):
    wanted = [
        "the learner is built in the scope of a MirroredStrategy: build the model and its optimiser in",
        "the model's variables belong to a MirroredStrategy of 2 replicas: a learner trains those of a",
        "the model is built for the 2 replicas of a MirroredStrategy, and fit keeps no order of",
        "AdamW takes no steps on several replicas: give one of Keras' other optimisers, or start a process",
        "Adam is built outside of the model's strategy: build it in strategy.scope() too",
        "LossScaleOptimizer takes no steps on several replicas",
    ]
    assert len(found["refusals"]) == len(wanted)
    for told, start in zip(found["refusals"], wanted, strict=True):
        assert told.startswith(start)
