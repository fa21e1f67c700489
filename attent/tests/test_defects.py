"""The published code's defects, one by one: attent does not have them.

Defects that need a tokenizer, an image pipeline or several workers are tested where those are: the
PyTorch backend's tests.
"""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

import attent
from attent import Noise, Plan, teach
from attent.choose.rules import count
from attent.tests.toy import Toy


def test_the_temperature_changes_what_is_chosen():
    scores = np.random.default_rng(0).normal(size=200)
    chosen = {t: attent.soft(scores, 50, Noise(0, 0), temperature=t) for t in (0.1, 1.0, 10.0)}
    means = [scores[ids].mean() for ids in chosen.values()]
    assert means[0] > means[1] > means[2]


def test_small_losses_are_told_apart_once_scaled():
    # Losses of a nearly trained model: all within 0.02. Raw, soft is as good as random.
    losses = np.random.default_rng(1).uniform(0, 0.02, 1000)
    best = losses[attent.hard(losses, 200)].mean()

    def reached(scaling):
        drawn = [losses[attent.soft(losses, 200, Noise(0, d), scaling=scaling)].mean() for d in range(20)]
        return (np.mean(drawn) - losses.mean()) / (best - losses.mean())

    assert reached("none") < 0.05
    assert reached("std") > 0.5
    assert reached("rank") > 0.5
    assert Plan.official(epochs=11, batch_size=1, select="soft").select.scaling != "none"
    assert Plan.paper(epochs=11, batch_size=1).select.scaling != "none"


def test_no_example_is_lost_to_rounding():
    assert count(0.29, 100) == 29 != int(100 * 0.29)
    for k in range(1, 101):
        assert count(k / 100, 100) == k
        assert count(count(k / 100, 100) / 100, 100) == k


@pytest.mark.parametrize("shape", [attent.linear, attent.cosine])
def test_a_falling_ratio_falls(shape):
    ratios = [r.ratio for r in Plan(epochs=5, batch_size=1, ratio=shape(0.8, 0.2)).rounds()]
    assert ratios == sorted(ratios, reverse=True)
    assert (ratios[0], ratios[2], ratios[-1]) == (0.8, 0.5, 0.2)
    ratios = [r.ratio for r in Plan.official(epochs=31, batch_size=1, ratio=shape(0.8, 0.2)).rounds()]
    assert len(set(ratios)) == 10


def test_a_loss_that_is_not_a_number_is_not_the_hardest():
    scores = np.array([0.1, np.nan, 0.5, 0.3])
    with pytest.raises(attent.ScoreError, match=r"id 1 \(nan\)"):
        attent.hard(scores, 2)
    with pytest.raises(attent.ScoreError, match=r"id 1 \(nan\)"):
        attent.soft(scores, 2, Noise(0, 0))


def test_the_timeline_never_overruns_nor_falls_short_of_its_budget():
    for epochs in range(11, 60):
        for selection in ("hard", "soft"):
            plan = Plan.official(epochs=epochs, batch_size=1, interval=attent.linear(5, 10), select=selection)
            rows = plan.timeline(10)
            assert [row.epoch for row in rows] == list(range(epochs))


def test_the_learning_rate_runs_once_and_to_its_end():
    plan, n = Plan.official(epochs=23, batch_size=3, cycles=4, select="soft"), 20
    total = plan.total_steps(n)
    rates = []

    class Scheduled(Toy):
        def train(self, batches, weights=None):
            for _ in batches:
                rates.append((1 + math.cos(math.pi * (len(rates) + 1) / total)) / 2)
            return super().train(batches, weights)

    teach(Scheduled(n), plan)
    assert len(rates) == total
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == 0.0


def test_a_resumed_run_does_not_begin_again(tmp_path):
    plan = Plan.official(epochs=9, batch_size=4, cycles=2)
    stops = iter([False] * 5 + [True])
    first = Toy()
    teach(first, plan, run=tmp_path, stop=lambda: next(stops))
    done = len(first.trained)
    second = Toy()
    teach(second, plan, run=tmp_path, resume=True)
    whole = Toy()
    teach(whole, plan)
    assert first.trained + second.trained == whole.trained
    assert 0 < done < len(whole.trained)


def test_the_seed_alone_decides_whatever_else_drew_numbers():
    expected = teach(Toy(), Plan(epochs=3, batch_size=4, select="soft", warm_up=1))
    state = np.random.get_state()[1].copy()
    np.random.seed(99)
    again = teach(Toy(), Plan(epochs=3, batch_size=4, select="soft", warm_up=1))
    assert attent.first_difference(expected, again) is None
    np.random.seed(99)
    before = np.random.get_state()[1].copy()
    teach(Toy(), Plan(epochs=3, batch_size=4, select="soft", warm_up=1))
    assert np.array_equal(np.random.get_state()[1], before)
    assert len(state) == len(before)


def test_scores_come_from_training_examples_alone():
    class HeldOut(Toy):
        def evaluate(self):
            self.score(np.arange(3))
            return {"loss": 99.0}

    learner, plain = HeldOut(), Toy()
    plan = Plan(epochs=4, batch_size=4, warm_up=1)
    listeners = [lambda p: learner.evaluate()]
    assert attent.first_difference(teach(learner, plan, listeners=listeners), teach(plain, plan)) is None


def test_a_saving_that_is_a_loss_is_predicted():
    # Scoring before every epoch at a third of a step pays below ratio 2/3 alone.
    def saving(ratio):
        return Plan(epochs=10, batch_size=1, ratio=ratio, source="fresh").cost(300, forward_share=1 / 3).saving

    assert saving(0.66) > 0 > saving(0.68)


SELECTING = """
import sys
import numpy as np, attent
from attent.choose.noise import raw
scores = np.random.default_rng(0).normal(size=1000)
worker, draw = int(sys.argv[1]), 5
shard = raw(attent.Noise(3, draw), worker * 250, worker * 250 + 250)
chosen = attent.soft(scores, 100, attent.Noise(3, draw))
print(attent.run.records.digest_of(chosen), shard.tolist() == raw(attent.Noise(3, draw), 0, 1000)[worker * 250:][:250].tolist())
"""


def test_every_worker_selects_the_same_and_draws_its_own_shard_of_one_stream():
    script = "import attent.run.records\n" + SELECTING
    told = [
        subprocess.run([sys.executable, "-c", script, str(worker)], capture_output=True, text=True, check=True).stdout
        for worker in range(4)
    ]
    assert len(set(told)) == 1
    assert told[0].split()[1] == "True"
