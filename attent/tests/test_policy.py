"""The border to policies: what one is given, and what it may answer. Rule S5."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any, ClassVar

import numpy as np
import pytest

import attent
from attent import Auto, Choice, Course, Done, Hard, InTurn, Noise, Plan, Pool, Score, Soft
from attent.choose import policy
from attent.choose.noise import DRAWS, ORDER, POOL, raw
from attent.tests.toy import Toy


class Answers:
    """Gives one answer, whatever it is asked."""

    def __init__(self, answer):
        self.answer = [answer]  # a policy may not hold arrays

    def __repr__(self):
        return "Answers()"

    def choose(self, scores, k, noise, ids):
        return self.answer[0]


TWO = np.array([1, 3])
IDS = "policy Answers() must return int64 ids of shape (2,), got "
ORDERED = "policy Answers() must return distinct ids in ascending order within [0, 8)"
WEIGHTS = "policy Answers() must return finite float64 weights of at least 0, of shape (2,), or None"
RANKED = "policy Answers() must return ranked numbers as float64 of shape (8,), or None"
WHY = "policy Answers() must return why as a JSON-ready mapping, or None: "
MEMORY = WHY.replace("why", "memory")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ([1, 3], f"{IDS}list"),
        (None, f"{IDS}NoneType"),
        ((1, 3), f"{IDS}tuple"),
        (np.array([1, 3], np.int32), f"{IDS}int32 (2,)"),
        (np.array([1.0, 3.0]), f"{IDS}float64 (2,)"),
        (np.array([True, False]), f"{IDS}bool (2,)"),
        (np.array([1, 3, 5]), f"{IDS}int64 (3,)"),
        (np.array([1]), f"{IDS}int64 (1,)"),
        (np.array([], np.int64), f"{IDS}int64 (0,)"),
        (np.array([[1, 3]]), f"{IDS}int64 (1, 2)"),
        (np.array([3, 1]), ORDERED),
        (np.array([3, 3]), ORDERED),
        (np.array([1, 8]), ORDERED),
        (np.array([-1, 3]), ORDERED),
        (Choice([1, 3]), f"{IDS}list"),
        (Choice(np.array([3, 1])), ORDERED),
        (Choice(TWO, [1.0, 1.0]), WEIGHTS),
        (Choice(TWO, np.ones(2, np.float32)), WEIGHTS),
        (Choice(TWO, np.ones(2, np.int64)), WEIGHTS),
        (Choice(TWO, np.ones(3)), WEIGHTS),
        (Choice(TWO, np.ones((2, 1))), WEIGHTS),
        (Choice(TWO, np.array([1.0, -0.5])), WEIGHTS),
        (Choice(TWO, np.array([1.0, np.nan])), WEIGHTS),
        (Choice(TWO, np.array([1.0, np.inf])), WEIGHTS),
        (Choice(TWO, ranked=np.ones(2)), RANKED),
        (Choice(TWO, ranked=np.ones(8, np.float32)), RANKED),
        (Choice(TWO, ranked=[1.0] * 8), RANKED),
        (Choice(TWO, how=3), "policy Answers() must return how as a text, or None, got 3"),
        (Choice(TWO, why=[3]), WHY),
        (Choice(TWO, why={"loss": np.int64(3)}), f"{WHY}Object of type int64 is not JSON serializable"),
        (Choice(TWO, why={"loss": np.nan}), f"{WHY}Out of range float values are not JSON compliant"),
        (Choice(TWO, memory="turn"), MEMORY),
        (Choice(TWO, memory={"noise": np.zeros(2)}), f"{MEMORY}Object of type ndarray is not JSON serializable"),
        (Choice(TWO, memory={"loss": np.inf}), MEMORY),
    ],
    ids=lambda given: repr(given)[:60],
)
def test_an_answer_that_is_none_is_named_and_changes_nothing(answer, words):
    course = Course(Plan(epochs=2, batch_size=8, ratio=0.25, warm_up=1, select=Answers(answer)), 8)
    course.record(np.arange(8.0)[np.concatenate(course.next().batches)])
    before = {name: array.tobytes() for name, array in course.state().items()}
    for _ in range(2):
        with pytest.raises(attent.PlanError) as error:
            course.next()
        assert str(error.value).startswith(words)
    assert {name: array.tobytes() for name, array in course.state().items()} == before


@pytest.mark.parametrize("answer", [TWO, Choice(TWO), Choice(TWO, np.array([0.0, 2.5])), Choice(TWO, why={}, how="")])
def test_an_answer_that_is_one_is_taught(answer):
    trace = attent.teach(Toy(8), Plan(epochs=2, batch_size=8, ratio=0.25, warm_up=1, select=Answers(answer)))
    assert trace.ids(1).tolist() == [1, 3]


@pytest.mark.parametrize("place", [0, 1])
def test_ids_that_were_not_given_are_refused(place):
    scores = np.where(np.arange(8) == TWO[place], np.nan, 1.0)
    with pytest.raises(attent.PlanError, match=r"^policy Answers\(\) returned ids that it was not given$"):
        policy.choose(Answers(TWO), scores, 2, Noise(0, 0), non_finite="drop")
    others = np.setdiff1d(np.arange(8), TWO[place])
    with pytest.raises(attent.PlanError, match=r"^policy Answers\(\) returned ids that it was not given$"):
        policy.choose(Answers(TWO), np.ones(8), 2, Noise(0, 0), among=others)
    assert policy.choose(Answers(TWO), np.ones(8), 2, Noise(0, 0), among=np.array([0, 1, 3, 5])).ids.tolist() == [1, 3]


def test_who_chooses_among_ties_must_answer_well():
    with pytest.raises(attent.PlanError, match=r"policy Answers\(\) returned ids that it was not given"):
        InTurn(ties=Answers(TWO)).choose(np.zeros(5), 2, Noise(0, 0), turns=np.array([9, 1, 1, 9, 9]))
    chosen = InTurn(ties=Answers(TWO)).choose(np.zeros(6), 3, Noise(0, 0), turns=np.array([9, 1, 0, 1, 1, 0]))
    assert chosen.ids.tolist() == [0, 1, 3]


class Lucky:
    def choose(self, scores, k, noise, ids, *, luck, ages):
        return ids

    def __repr__(self):
        return "Lucky()"


class Old:
    def choose(self, scores, k, noise, ids, plan):
        return ids

    def __repr__(self):
        return "Old()"


class Short:
    def choose(self, scores, k):
        return np.arange(k)

    def __repr__(self):
        return "Short()"


@pytest.mark.parametrize(
    ("select", "rule"),
    [
        (
            Lucky(),
            "cannot be taken: policy Lucky() asks for 'luck', which is not offered; offered: "
            "losses, before, ages, turns, whole, order, taught, groups, costs, watched, memory, last, progress, ask",
        ),
        (
            Old(),
            "cannot be taken: policy Old() must take choose(scores, k, noise, ids, *, ...): "
            "missing a required argument: 'plan'",
        ),
        (
            Short(),
            "cannot be taken: policy Short() must take choose(scores, k, noise, ids, *, ...): "
            "too many positional arguments",
        ),
        (print, "must be a policy such as Soft(temperature=0.3), or its text, got <built-in function print>"),
    ],
    ids=["asks", "needs", "short", "function"],
)
def test_a_policy_that_cannot_be_asked_is_refused_where_the_plan_is_written(select, rule):
    with pytest.raises(attent.PlanError) as error:
        Plan(epochs=2, batch_size=4, warm_up=1, select=select)
    assert (error.value.field, error.value.rule) == ("select", rule)


SEEN: list[dict[str, Any]] = []


@dataclasses.dataclass(frozen=True)
class Everything:
    """Asks for all there is, keeps it for the test, and teaches the k highest."""

    in_passes: bool = False

    def choose(self, scores, k, noise, ids=None, *, losses, before, ages, turns, order, taught, groups, memory, last):
        keep({name: held for name, held in locals().items() if name != "self"})
        count = 0 if memory is None else memory["count"] + 1
        return Choice(attent.hard(scores, k, ids=ids), memory={"count": count})


def keep(given):
    SEEN.append({name: held.tolist() if isinstance(held, np.ndarray) else held for name, held in given.items()})


def asked(plan, n, losses, groups=None):
    """Drive a course; return what its policy was given at each choice."""
    SEEN.clear()
    course = Course(plan, n, groups=np.arange(n) % 2 if groups is None else groups)
    while not isinstance(lesson := course.next(), Done):
        ids = lesson.ids if isinstance(lesson, Score) else np.concatenate(lesson.batches)
        course.record(losses[course.epoch][ids])
    return list(SEEN)


def test_a_policy_is_given_what_it_asks_for():
    #                  epoch 0: all,        1: [2, 3],           2: all (full),       3: [0, 1],  4: [0, 1] again
    losses = np.array([[1.0, 2, 3, 4], [0, 0, 2.5, 3.5], [9.0, 8, 2, 3], [7.0, 6, 0, 0], [5.0, 4, 0, 0]])
    plan = Plan(epochs=5, batch_size=2, ratio=0.5, warm_up=1, cycle=2, select=Everything(), seed=7)
    first, second = asked(plan, 4, losses)
    assert first == {
        "scores": [1, 2, 3, 4], "k": 2, "noise": Noise(7, 0), "ids": None,
        "losses": [1, 2, 3, 4], "ages": [1, 1, 1, 1], "turns": [1, 1, 1, 1], "order": Noise(7, ORDER + 1),
        "taught": None, "groups": [0, 1, 0, 1], "memory": None, "last": False, "before": first["before"],
    }  # fmt: skip
    assert np.isnan(first["before"]).all()
    assert second == {
        "scores": [9, 8, 2, 3], "k": 2, "noise": Noise(7, 1), "ids": None,
        "losses": [9, 8, 2, 3], "before": [1, 2, 2.5, 3.5], "ages": [1, 1, 1, 1], "turns": [1, 1, 1, 1],
        "order": Noise(7, ORDER + 3), "taught": None, "groups": [0, 1, 0, 1], "memory": {"count": 0}, "last": False,
    }  # fmt: skip


def test_what_was_skipped_has_aged():
    losses = np.array([[1.0, 2, 3, 4], [0, 0, 0.5, 0.6], [0.2, 0.3, 0, 0], [0.1, 0.1, 0.1, 0.1]])
    plan = Plan(epochs=4, batch_size=2, ratio=0.5, warm_up=1, select=Everything())
    one, two, three = asked(plan, 4, losses)
    assert [each["ages"] for each in (one, two, three)] == [[1, 1, 1, 1], [2, 2, 1, 1], [1, 1, 2, 2]]
    assert [each["turns"] for each in (one, two, three)] == [[1, 1, 1, 1], [2, 2, 1, 1], [1, 1, 2, 2]]
    assert [each["taught"] for each in (one, two, three)] == [None, [2, 3], [0, 1]]
    assert two["losses"] == [1, 2, 0.5, 0.6]
    assert np.array_equal(two["before"], [np.nan, np.nan, 3, 4], equal_nan=True)
    assert [each["last"] for each in (one, two, three)] == [False, False, True]
    assert [each["memory"] for each in (one, two, three)] == [None, {"count": 0}, {"count": 1}]


def test_passes_that_are_parts_of_an_epoch_share_its_turn_and_order():
    # All 6 in epoch 0, then passes of 2: three to an epoch. The losses teach [4, 5], [2, 3], [0, 1], [0, 1].
    losses = np.array([[1.0, 2, 3, 4, 5, 6], [0] * 4 + [0.1, 0.1], [0, 0, 0.1, 0.1, 0, 0], [0.3] * 6, [0.2] * 6])
    plan = Plan(epochs=5, batch_size=2, ratio=1 / 3, warm_up=1, select=Everything(in_passes=True), cool_down=1)
    assert [row.shuffle for row in plan.timeline(6)] == [0, 1, 1, 1, 2]
    one, two, three = asked(plan, 6, losses)
    assert [each["turns"] for each in (one, two, three)] == [[1] * 6, [1, 1, 1, 1, 0, 0], [1, 1, 0, 0, 0, 0]]
    assert [each["ages"] for each in (one, two, three)] == [[1] * 6, [2, 2, 2, 2, 1, 1], [3, 3, 1, 1, 2, 2]]
    assert {each["order"] for each in (one, two, three)} == {Noise(0, ORDER + 1)}


@dataclasses.dataclass(frozen=True)
class Some:
    """Asks for what any source can tell."""

    def choose(self, scores, k, noise, ids=None, *, ages, groups, taught):
        keep({"scores": scores, "k": k, "ids": ids, "ages": ages, "groups": groups, "taught": taught})
        return attent.hard(scores, k, ids=ids)


GROUPS = np.array([5, 6, 7, 8, 9, 5, 6, 7])


@pytest.mark.parametrize("non_finite", ["drop", "last"])
def test_of_what_cannot_be_ranked_it_is_given_nothing(non_finite):
    losses = np.array([[1.0, np.nan, 3, 4, np.inf, 6, 7, 8]] * 2)
    plan = Plan(epochs=2, batch_size=4, ratio=0.5, warm_up=1, select=Some(), non_finite=non_finite)
    (given,) = asked(plan, 8, losses, GROUPS)
    assert given == {
        "scores": [1, 3, 4, 6, 7, 8], "k": 4, "ids": [0, 2, 3, 5, 6, 7], "ages": [1] * 6, "groups": [5, 7, 8, 5, 6, 7],
        "taught": None,
    }  # fmt: skip
    many = dataclasses.replace(plan, ratio=0.9)  # 7, of which 6 can be ranked
    (given,) = asked(many, 8, losses, GROUPS)
    assert given["k"] == 6


def test_among_a_pool_it_is_given_the_pools():
    losses = np.array([np.arange(8.0)] * 3)
    plan = Plan(epochs=3, batch_size=4, ratio=0.25, warm_up=1, select=Some(), source=Pool(share=0.5))
    for draw, given in enumerate(asked(plan, 8, losses, GROUPS)):
        pool = attent.random(np.zeros(8), 4, Noise(0, POOL + draw)).tolist()
        assert given["ids"] == pool
        assert given["scores"] == [float(i) for i in pool]
        assert given["groups"] == GROUPS[pool].tolist()
        # Only scoring is seen under a pool, and its four were scored in this very epoch.
        assert given["ages"] == [0] * 4
    assert given["taught"] == attent.hard(losses[0][pool_of(0)], 2, ids=pool_of(0)).tolist()


def pool_of(draw):
    return attent.random(np.zeros(8), 4, Noise(0, POOL + draw))


@dataclasses.dataclass(frozen=True)
class Alternate:
    """The hardest and a random part, by turns; its memory has what JSON knows otherwise: a tuple, a key that is none."""

    def choose(self, scores, k, noise, ids=None, *, memory):
        turn = 0 if memory is None else memory["turn"]
        assert memory is None or (memory["past"], memory["3"]) == ([turn], 1)
        chosen = attent.random(scores, k, noise, ids=ids) if turn else attent.hard(scores, k, ids=ids)
        kept = {"turn": 1 - turn, "past": (1 - turn,), 3: 1}
        return Choice(chosen, how="random" if turn else "hardest", why={"turn": turn}, memory=kept)


def test_memory_is_what_the_last_choice_left():
    plan = Plan(epochs=5, batch_size=4, ratio=0.3, warm_up=1, select=Alternate(), source="fresh", seed=3)
    learner = Toy(20)
    trace = attent.teach(learner, plan)
    assert [record.selection.how for record in trace.records[1:]] == ["hardest", "random"] * 2
    assert [record.selection.why for record in trace.records[1:]] == [{"turn": 0}, {"turn": 1}] * 2
    for epoch, draw in ((2, 1), (4, 3)):
        assert trace.ids(epoch).tolist() == attent.random(np.zeros(20), 6, Noise(3, draw)).tolist()
    for epoch, draw in ((1, 0), (3, 2)):
        assert trace.ids(epoch).tolist() == attent.hard(trace.selections[draw].scores, 6).tolist()


@dataclasses.dataclass(frozen=True)
class Doubled:
    """Ranks something else than the scores."""

    def choose(self, scores, k, noise, ids=None):
        return Choice(attent.hard(-scores, k, ids=ids), ranked=-2 * scores)


def test_what_was_ranked_is_what_the_trace_keeps():
    plan = Plan(epochs=2, batch_size=4, ratio=0.5, warm_up=1, select=Doubled())
    trace = attent.teach(Toy(8), plan)
    losses = Toy(8).train(list(np.arange(8)[:, None]))
    kept = trace.selections[0].scores
    assert trace.ids(1).tolist() == attent.hard(kept, 4).tolist()
    assert (trace.records[1].selection.score_max, kept.max() <= 0) == (kept.max(), True)
    assert len(losses) == len(kept)
    given = policy.choose(Doubled(), np.array([1.0, np.nan, 3.0, 2.0]), 2, Noise(0, 0), non_finite="drop")
    assert given.ids.tolist() == [0, 3]
    assert np.array_equal(given.ranked, [-2, np.nan, -6, -4], equal_nan=True)


class Meddler:
    """Writes into what it is given."""

    def __init__(self, what):
        self.what = what

    def choose(self, scores, k, noise, ids=None, *, losses, before, ages, turns, groups, taught):
        held = {name: array for name, array in locals().items() if name not in ("self", "k", "noise")}
        held[self.what][:] = 1
        return np.arange(k)


@pytest.mark.parametrize("what", ["scores", "losses", "before", "ages", "turns", "groups", "taught"])
def test_what_it_is_given_cannot_be_written_to(what):
    groups = np.arange(8) % 2
    course = Course(Plan(epochs=3, batch_size=4, ratio=0.5, warm_up=1, select=Meddler(what)), 8, groups=groups)
    course.record(np.arange(8.0)[np.concatenate(course.next().batches)])
    course.ids = np.array([0, 1])  # as if these had been taught last
    before = [array.copy() for array in (course.scores, course.before, course.ids, groups)]
    with pytest.raises(ValueError, match="read-only"):
        course.next()
    held = zip(before, (course.scores, course.before, course.ids, groups), strict=True)
    assert all(np.array_equal(one, other, equal_nan=True) for one, other in held)


class Blind:
    """Looks at no score."""

    ranks: ClassVar[bool] = False

    def choose(self, scores, k, noise, ids=None):
        return np.arange(k)


def test_for_who_looks_at_no_score_none_is_made_or_checked():
    learner = Toy(8)
    trace = attent.teach(learner, Plan(epochs=2, batch_size=4, ratio=0.25, select=Blind(), source="fresh"))
    assert ([trace.ids(epoch).tolist() for epoch in (0, 1)], learner.scored) == ([[0, 1], [0, 1]], 0)
    assert policy.choose(Blind(), np.full(4, np.nan), 2, Noise(0, 0)).ids.tolist() == [0, 1]


def test_draws_of_a_seed_overlap_nowhere_and_are_within_64_bits():
    uses = sorted(DRAWS.values(), key=lambda draws: draws.start)
    assert [draws.step for draws in uses] == [1] * len(uses)
    assert all(one.stop <= other.start for one, other in itertools.pairwise(uses))
    assert (uses[0].start, uses[-1].stop <= 2**64) == (0, True)
    assert all(len(draws) >= 2**32 for draws in uses)  # a run has at most a million epochs
    for draws in uses:
        assert len(raw(Noise(2**64 - 1, draws.stop - 1), 0, 3)) == 3
    with pytest.raises(attent.PlanError, match=r"draw must be in \[0, 2\*\*64\)"):
        raw(Noise(0, 2**64), 0, 1)


SUBNORMAL = [5e-324, 1e-310, np.nextafter(2.0**-1022, 0.0)]


@pytest.mark.parametrize("temperature", [0, 0.0, -0.0, *SUBNORMAL])
def test_temperatures_below_the_smallest_normal_number_count_as_0(temperature):
    equal, mixed = np.full(10, 0.7), np.array([5e-324, 0.0, 1e-310, 2e-310, -1.0, 0.0, 1.0, 1.0, 1e-310, 0.5])
    for draw in range(20):
        noise = Noise(4, draw)
        for k in (1, 3, 9):
            assert attent.soft(equal, k, noise, temperature=temperature).tolist() == list(range(k))
            assert Soft(temperature).choose(equal, k, noise).ids.tolist() == list(range(k))
            for scaling in ("none", "std", "rank"):
                found = Soft(temperature, scaling).choose(mixed, k, noise).ids
                assert found.tolist() == Hard().choose(mixed, k, noise).ids.tolist()
    with pytest.raises(attent.PlanError, match="^inclusion probabilities need a temperature above 0, got "):
        attent.inclusion_probabilities(equal, 3, Noise(4, 0), temperature=temperature)
    with pytest.raises(attent.PlanError, match="^correction needs a choice that is random: a temperature above 0$"):
        Soft(temperature, correction=2.0)


def test_at_the_smallest_normal_number_equal_scores_are_drawn():
    chosen = {tuple(Soft(2.0**-1022).choose(np.full(10, 0.7), 3, Noise(4, draw)).ids.tolist()) for draw in range(20)}
    assert len(chosen) > 10
    assert np.isfinite(attent.inclusion_probabilities(np.full(10, 0.7), 3, Noise(4, 0), temperature=2.0**-1022)).all()
    assert Soft(2.0**-1022, correction=2.0).correction == 2.0


def test_what_only_training_tells_is_named():
    assert policy.asks_of_training(Auto()) == ["losses", "before", "turns"]
    assert policy.asks_of_training(InTurn()) == ["turns"]
    assert policy.asks_of_training(Alternate()) == []
    assert policy.asks_of_training(Asks()) == ["turns"]


class Asks:
    """Takes those trained longest ago, and asks for what says so."""

    def choose(self, scores, k, noise, ids, *, ask, turns, ages):
        assert ask("turns").tolist() == turns.tolist()
        assert ask("ages").tolist() == ages.tolist()
        assert not ask("ages").flags.writeable
        return np.sort(np.argsort(-ask("turns"), kind="stable")[:k])

    def __repr__(self):
        return "Asks()"


def test_what_is_asked_for_is_what_is_offered():
    trace = attent.teach(Toy(6), Plan(epochs=4, batch_size=2, ratio=1 / 3, warm_up=1, select=Asks()))
    assert [trace.ids(epoch).tolist() for epoch in (1, 2, 3)] == [[0, 1], [2, 3], [4, 5]]


def test_what_is_asked_for_is_that_of_the_examples_known():
    class Known(Asks):
        def choose(self, scores, k, noise, ids, *, ask):
            assert ask("ages").tolist() == [0, 2]
            return ids[:k]

    offers = {"ask": {"ages": np.arange(3)}.get}
    scores = np.array([1.0, np.nan, 3.0])
    assert policy.choose(Known(), scores, 1, Noise(0, 0), non_finite="drop", offers=offers).ids.tolist() == [0]


def test_only_what_is_made_when_asked_can_be_asked_for():
    class Greedy(Asks):
        def choose(self, scores, k, noise, ids, *, ask):
            return ask("before")

    with pytest.raises(
        attent.PlanError, match=r"^ask\(\) makes ages, turns, groups, opening, quarters, got 'before': name others"
    ):
        policy.choose(Greedy(), np.zeros(3), 1, Noise(0, 0), offers={"ask": {}.get})


class Holds:
    """Holds an array, which does not print whole."""

    def __init__(self):
        self.table = np.arange(3)

    def choose(self, scores, k, noise, ids=None):
        return attent.hard(scores, k, ids=ids)


def test_an_array_as_a_parameter_is_refused():
    with pytest.raises(
        attent.PlanError, match=r"select must hold .*: table of Holds is a NumPy array, make it a tuple"
    ):
        Plan(epochs=2, batch_size=2, select=Holds())


@dataclasses.dataclass(frozen=True)
class Fails:
    """Divides by nothing."""

    def choose(self, scores, k, noise, ids=None):
        return 1 // 0


def test_what_a_policy_raises_is_told_under_its_name():
    with pytest.raises(attent.PlanError, match=r"policy Fails\(\) raised ZeroDivisionError: integer division"):
        policy.choose(Fails(), np.zeros(4), 2, Noise(0, 0))


def test_a_table_reads_the_words_that_toml_lacks():
    table = {"name": "soft", "temperature": "inf", "correction": "none", "scaling": "none"}
    assert Plan(epochs=2, batch_size=2, select=table).select == Soft(temperature=float("inf"), scaling="none")
