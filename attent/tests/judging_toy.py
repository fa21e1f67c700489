"""Recipes whose cost-quality curve and savings can be worked out by hand, some that go wrong, and how they are judged."""

from __future__ import annotations

import contextlib
import itertools

import numpy as np

import attent
from attent.judging import budget

N = 50


class Steady:
    """Example i is worth 2 (the last two fifths) or 1; skill is the logarithm of all worth trained.

    So skill is linear in the logarithm of full epochs, and a plan's saving is exact. Each seed shifts all skills
    alike. ``breadth_loss`` counts the examples worth 1 alone: teaching only the others makes it worse.
    """

    def __init__(self, plan, rate=1.0, shift=10.0):
        self.worth = np.where(np.arange(N) < N * 3 // 5, 1.0, 2.0)
        self.seed, self.rate, self.shift = plan.seed, rate, shift
        self.total, self.plain = np.zeros(1), np.zeros(1)
        self.batches = []

    def __len__(self):
        return N

    def score(self, ids):
        return self.worth[ids]

    def train(self, batches, weights=None):
        for ids in batches:
            self.batches.append(ids.tolist())
            self.total += self.worth[ids].sum() / N
            self.plain += (self.worth[ids] == 1).sum() / N
        return self.worth[np.concatenate(batches)]

    def state(self):
        return {"total": self.total.copy(), "plain": self.plain.copy()}

    def load_state(self, state):
        self.total, self.plain = state["total"].copy(), state["plain"].copy()

    def evaluate(self):
        with np.errstate(divide="ignore"):
            skill, breadth = np.log2(self.total[0]), np.log2(self.plain[0])
        shift = self.shift * self.seed
        return {"skill": float(skill + shift - abs(np.log2(self.rate))), "breadth_loss": float(shift - breadth)}


@attent.recipe(epochs=6, batch_size=10)
def steady(plan, *, rate: float = 1.0, shift: float = 10.0):
    """The one to work out by hand."""
    return Steady(plan, rate, shift)


@attent.recipe(epochs=6, batch_size=10)
def grouped(plan):
    """Examples worth 2 are a class of their own."""
    learner = Steady(plan)
    learner.groups = lambda: (learner.worth == 2).astype(np.int64)
    return learner


@attent.recipe(epochs=6, batch_size=10)
def level(plan):
    """All scores equal."""
    learner = Steady(plan)
    learner.worth[:] = 1.0
    return learner


@attent.recipe(epochs=6, batch_size=10)
def overfitting(plan):
    """Skill is best, 1, after 3 full epochs; more training, or less, is worse by the logarithm of how far."""
    learner = Steady(plan)
    learner.evaluate = lambda: {"skill": round(1 - abs(float(np.log2(max(learner.total[0], 0.1) / 4.2))), 12)}
    return learner


@attent.recipe(epochs=6, batch_size=10)
def diverging(plan, *, seed: int = 1, epochs: int = 6):
    """The loss of full training of this length is NaN in its third epoch, with this seed."""
    learner = Steady(plan)
    train = learner.train

    def broken(batches, weights=None):
        losses = train(batches, weights)
        if plan.seed == seed and plan.warm_up == plan.epochs == epochs and learner.total[0] > 3.5:
            losses[:] = np.nan
        return losses

    learner.train = broken
    return learner


@attent.recipe(epochs=6, batch_size=10)
def one_class(plan):
    """Held-out accuracy is 1 whatever happens."""
    learner = Steady(plan)
    learner.evaluate = lambda: {"accuracy": 1.0}
    return learner


@attent.recipe(epochs=6, batch_size=10)
def not_a_number(plan):
    """Its main metric is NaN."""
    learner = Steady(plan)
    learner.evaluate = lambda: {"auc": float("nan"), "loss": 1.0}
    return learner


@attent.recipe(epochs=6, batch_size=10)
def silent(plan):
    """No held-out data."""
    learner = Steady(plan)
    learner.evaluate = dict
    return learner


_BUILT = itertools.count()


@attent.recipe(epochs=6, batch_size=10)
def careless(plan):
    """Initial weights that come from nowhere."""
    learner = Steady(plan)
    learner.worth = learner.worth + next(_BUILT) / 100
    return learner


def slow(clock, per_example=1.0):
    """Return ``steady`` whose training takes this many seconds an example by a clock that tests own."""

    @attent.recipe(epochs=6, batch_size=10)
    def recipe(plan):
        learner = Steady(plan)
        train = learner.train

        def timed(batches, weights=None):
            clock.now += per_example * sum(map(len, batches))
            return train(batches, weights)

        learner.train = timed
        return learner

    return recipe


class Clock:
    """Time as tests want it."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def without_seconds(value):
    """Return JSON without what a clock measured, and without the checksum, which counts that too."""
    if isinstance(value, dict):
        kept = {key: one for key, one in value.items() if "seconds" not in key and key != "sha256"}
        return {key: without_seconds(one) for key, one in kept.items()}
    return [without_seconds(one) for one in value] if isinstance(value, list) else value


@contextlib.contextmanager
def stopping_after(lessons):
    """Give a stop that says True at its so-manieth question."""
    asked = itertools.count(1)
    yield lambda: next(asked) >= lessons


@attent.recipe(epochs=6, batch_size=10)
def uneven(plan):
    """Skill is of both groups evenly, and 30 of 50 examples are of group 0: ``plain``, which few policies teach."""
    learner = Steady(plan)
    learner.groups = lambda: (learner.worth == 2).astype(np.int64)
    learner.new_groups = (1,)

    def by_group():
        total, plain = learner.total[0], learner.plain[0]
        return {0: float(np.log2(1 + plain)), 1: float(np.log2(1 + (total - plain) / 2))}

    learner.evaluate = lambda: {
        "skill": sum(by_group().values()) / 2,
        **{f"skill:{group}": value for group, value in by_group().items()},
    }
    return learner


@attent.recipe(epochs=6, batch_size=10)
def dear(plan):
    """Examples worth 2 cost 3 tokens each, the others 1."""
    learner = Steady(plan)
    learner.costs = lambda: np.where(learner.worth == 2, 3.0, 1.0)
    return learner


@attent.recipe(epochs=6, batch_size=10)
def drawn_groups(plan):
    """As ``uneven``, but every further seed has two new examples less; from the ten thousandth on it begins again."""
    learner = uneven(plan)
    new = np.flatnonzero(learner.worth == 2)[2 * (plan.seed % 10_000) :]
    learner.groups = lambda: np.isin(np.arange(len(learner)), new).astype(np.int64)
    return learner


@attent.recipe(epochs=6, batch_size=10)
def targeted(plan, *, shift: int = 0):
    """Odd examples are nearer to a target than even ones; with a shift the other way about, from seed to seed."""
    learner = Steady(plan)
    learner.relevance = np.where((np.arange(N) + shift * plan.seed) % 2, 3, -1)
    return learner


@attent.recipe(epochs=6, batch_size=10)
def refreshed(plan, *, weight: float = 0.5):
    """As ``uneven``, with 10 of 50 examples new; skill is best where they are this share of what is trained."""
    learner = Steady(plan)
    learner.worth = np.where(np.arange(N) < 40, 1.0, 2.0)
    learner.groups = lambda: (learner.worth == 2).astype(np.int64)
    learner.new_groups = (1,)

    def evaluate():
        plain = float(learner.plain[0])
        new = (float(learner.total[0]) - plain) / 2
        return {"skill": (1 - weight) * float(np.log2(0.01 + plain)) + weight * float(np.log2(0.01 + new))}

    learner.evaluate = evaluate
    return learner


HARD = ["hard:default,select=hard"]
SAVED = 1 - 3.6 / (6 / 1.4)  # 2 epochs of worth 1.4 each and 4 of .4 * 2, at the cost of 3.6
SEED_SECONDS = 300 + 180 + 100 + 150  # full, hard, and the two shorter


def judged(recipe=steady, **asked):
    asked = {
        "arms": HARD,
        "lengths": [1 / 3, 0.5, 1],
        "tuned": True,
        "seeds": 2,
        "forward_share": 0.25,
        "against": ["full"],
        **asked,
    }
    return attent.judge(recipe, **asked)


def timed(monkeypatch, **asked):
    clock = Clock()
    monkeypatch.setattr(budget, "monotonic", clock)
    found = judged(slow(clock), segment_steps=1, **asked)
    return found, clock.now
