"""Policies by group against a plain oracle: whole counts, what fills them, shares that follow, weights. T11, T12."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attent
from attent import Balanced, ByGroup, Hard, InTurn, Noise, PerCost, Plan, Random, Soft, Tempered
from attent.choose.built_in import policy_of, shown
from attent.choose.gumbel import inclusion_probabilities
from attent.choose.noise import raw
from attent.choose.policies import Auto, InfoBatch
from attent.choose.shares import Seen, counts_of, members_of, weights_of
from attent.tests import oracle
from attent.tests.test_balanced import Grouped


@st.composite
def quotas(draw):
    """Draw weights and sizes of groups, and how many are taken."""
    groups = draw(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 12)), min_size=1, max_size=7))
    weights, sizes = ([each[at] for each in groups] for at in (0, 1))
    there = sum(size for weight, size in groups if weight)
    return weights, sizes, draw(st.integers(0, there))


@given(quotas())
@settings(max_examples=600, deadline=None)
def test_counts_are_those_of_the_oracle(problem):
    weights, sizes, k = problem
    found = counts_of(weights, sizes, k)
    assert found == (oracle.counts(weights, sizes, k) if k else [0] * len(sizes))
    assert sum(found) == k
    some = sum(map(bool, weights))
    for weight, size, many in zip(weights, sizes, found, strict=True):
        assert (1 if weight and k >= some else 0) <= many <= (size if weight else 0)


@pytest.mark.parametrize(
    ("weights", "sizes", "k", "counts"),
    [
        ([1, 1, 1], [9, 9, 9], 10, [4, 3, 3]),  # equal remainders: the lower group first
        ([1, 1, 1], [9, 2, 9], 9, [4, 2, 3]),  # what the small one cannot give goes to the others
        ([50, 30, 20], [90, 90, 90], 10, [5, 3, 2]),
        ([50, 30, 20], [90, 90, 90], 11, [6, 3, 2]),  # 5.5, 3.3 and 2.2
        ([50, 26, 24], [90, 90, 90], 11, [5, 3, 3]),  # 5.5, 2.86 and 2.64
        ([900, 99, 1], [900, 99, 1], 100, [89, 10, 1]),  # at least one of each
        ([1, 0, 3], [9, 9, 9], 8, [2, 0, 6]),
        ([1, 0, 3], [9, 9, 5], 12, [7, 0, 5]),
        ([5, 1, 1], [9, 9, 9], 2, [2, 0, 0]),  # more groups than k: none is sure of one
        ([1, 1], [3, 4], 7, [3, 4]),
    ],
)
def test_counts(weights, sizes, k, counts):
    assert counts_of(weights, sizes, k) == counts


def test_counts_beyond_what_there_is_are_refused():
    with pytest.raises(attent.PlanError) as caught:
        counts_of([1, 0], [3, 4], 4)
    assert str(caught.value) == (
        "k must be in [0, 3], the examples to choose from in groups that have a share, got 4: lower the ratio, or give "
        "further groups a share"
    )


@st.composite
def problems(draw):
    """Draw scores, groups, turns, which examples there are, and k."""
    n = draw(st.integers(2, 40))
    names = draw(st.lists(st.integers(0, 9), min_size=2, max_size=5, unique=True))
    groups = np.array(draw(st.lists(st.sampled_from(names), min_size=n, max_size=n)))
    turns = np.array(draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)))
    scores = np.array(draw(st.lists(st.integers(0, 8), min_size=n, max_size=n)), np.float64) / 4
    some = np.flatnonzero(draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    ids = some if len(some) and draw(st.booleans()) else None
    return scores, groups, turns, ids, draw(st.integers(1, n if ids is None else len(ids)))


INNER = {
    "hard": (Hard(), lambda scores, k, bits, turns: oracle.hard(scores, k)),
    "soft": (Soft(0.7, "none"), lambda scores, k, bits, turns: oracle.soft(scores, k, bits, 0.7)),
    "random": (Random(), lambda scores, k, bits, turns: oracle.hard((bits >> np.uint64(11)).astype(float), k)),
    "in turn": (
        InTurn(ties=Hard()),
        lambda scores, k, bits, turns: sorted(sorted(range(len(scores)), key=lambda i: (-turns[i], -scores[i], i))[:k]),
    ),
}
SHARE = {
    "even": lambda sizes: dict.fromkeys(sizes, 1),
    "size": lambda sizes: sizes,
    0.5: lambda sizes: {name: round(1e12 * (size / max(sizes.values())) ** 0.5) for name, size in sizes.items()},
}


@pytest.mark.parametrize("share", SHARE)
@pytest.mark.parametrize("name", INNER)
@given(problem=problems(), seed=st.integers(0, 2**64 - 1))
@settings(max_examples=60, deadline=None)
def test_each_group_gives_its_share_chosen_by_the_policy_within(name, share, problem, seed):
    scores, groups, turns, ids, k = problem
    here = np.arange(len(scores)) if ids is None else ids
    scores, groups, turns, bits = scores[here], groups[here], turns[here], raw(Noise(seed, 5), 0, len(scores))[here]
    policy, choose = INNER[name]
    names = sorted(set(groups.tolist()))
    sizes = {group: int((groups == group).sum()) for group in names}
    weights = SHARE[share](sizes)
    wanted = []
    counts = oracle.counts([weights[group] for group in names], [sizes[group] for group in names], k)
    for group, many in zip(names, counts, strict=True):
        at = np.flatnonzero(groups == group)
        if many:
            wanted += here[at[choose(scores[at], many, bits[at], turns[at])]].tolist()
    asked = {"turns": turns} if name == "in turn" else {}
    found = ByGroup(policy, share).choose(scores, k, Noise(seed, 5), ids, groups=groups, **asked)
    assert found.ids.tolist() == sorted(wanted)
    assert found.weights is None
    assert (found.how, found.why) == ("by group", {f"group {g}": c for g, c in zip(names, counts, strict=True)})


@given(problems(), st.integers(0, 2**64 - 1))
@settings(max_examples=200, deadline=None)
def test_balanced_and_tempered_are_cases_of_it(problem, seed):
    scores, groups, turns, ids, k = problem
    here = np.arange(len(scores)) if ids is None else ids
    given = (scores[here], k, Noise(seed, 0), ids)
    asked = {"groups": groups[here], "turns": turns[here]}
    for special, general in (
        (Balanced(), ByGroup()),
        (Tempered(0), ByGroup()),
        (Tempered(1), ByGroup(share="size")),
        (Tempered(0.3), ByGroup(InTurn(), 0.3)),
    ):
        assert special.choose(*given, **asked).ids.tolist() == general.choose(*given, **asked).ids.tolist()


GROUPS = np.repeat([0, 1, 2], [60, 30, 10])


def counts_by(policy, scores, k=20, **given):
    chosen = policy.choose(scores, k, Noise(3, 1), groups=GROUPS, **given).ids
    return np.bincount(GROUPS[chosen], minlength=3).tolist()


def test_loss_gives_by_size_times_mean_score_and_a_part_by_size():
    scores = np.repeat([1.0, 4.0, 2.0], [60, 30, 10])  # 60, 120 and 20 of 200
    assert counts_by(ByGroup(Hard(), "loss", floor=1e-9), scores) == [6, 12, 2]
    assert counts_by(ByGroup(Hard(), "loss", floor=0.5), scores) == [9, 9, 2]
    assert counts_by(ByGroup(Hard(), "loss", floor=1), scores) == counts_by(ByGroup(Hard(), "size"), scores)
    excess = scores - 1.0  # what lies at or below a reference has nothing to give: 0, 90 and 10
    assert counts_by(ByGroup(Hard(), "loss", floor=0.1), excess) == [1, 17, 2]
    assert counts_by(ByGroup(Hard(), "loss"), np.full(100, -1.0)) == [12, 6, 2]  # nothing to go by: sizes


def test_speed_gives_by_size_times_mean_fall():
    losses, before = np.full(100, 1.0), np.repeat([2.0, 1.5, 7.0], [60, 30, 10])
    before[[0, 1, 60, 90]] = np.nan  # seen once
    given = {"losses": losses, "before": before}  # 60, 15 and 60 of 135
    policy = ByGroup(Random(), "speed", floor=1e-9)
    assert not policy.ranks
    assert counts_by(policy, np.zeros(100), **given) == [9, 2, 9]
    assert counts_by(policy, np.zeros(100), losses=losses, before=np.full(100, np.nan)) == [12, 6, 2]
    assert counts_by(policy, np.zeros(100), losses=before, before=losses) == [12, 6, 2]  # what rises has no speed


@pytest.mark.parametrize(
    ("progress", "counts"), [(0.0, [12, 6, 2]), (0.25, [11, 6, 3]), (0.5, [10, 6, 4]), (1.0, [7, 7, 6])]
)
def test_shares_go_from_the_first_to_the_last(progress, counts):
    never = np.zeros(100, np.int64)
    for policy in (ByGroup(share="size", to="even"), Tempered(1, to=0)):
        assert counts_by(policy, np.zeros(100), progress=progress, turns=never) == counts


def test_a_course_tells_how_far_it_is():
    plan = Plan(epochs=6, batch_size=4, ratio=0.5, warm_up=1, select=Tempered(1, to=0))
    trace = attent.teach(Grouped(), plan)
    taken = [np.bincount(Grouped().given[trace.ids(epoch)]).tolist() for epoch in range(1, 6)]
    assert taken[0] == [2, 2, 1, 7]  # of 3, 3, 3 and 15: 1.5 each and 7.5
    assert taken[2] == [3, 2, 2, 5]  # 2.25 each and 5.25
    assert taken[4] == [3, 3, 3, 3]


@pytest.mark.parametrize("inner", [Random(), Soft(0.5), Soft(2, "rank")])
@pytest.mark.parametrize("cap", [np.inf, 0.9])
def test_weights_are_k_over_n_by_the_chance_within_the_group(inner, cap):
    scores, noise, k = np.sin(np.arange(100.0)), Noise(3, 1), 20
    found = ByGroup(inner, "even", correction=cap).choose(scores, k, noise, groups=GROUPS)
    for at, many in zip((GROUPS == 0, GROUPS == 1, GROUPS == 2), (7, 7, 6), strict=True):
        ids = np.flatnonzero(at)
        chance = np.full(len(ids), many / len(ids))
        if isinstance(inner, Soft):
            chance = inclusion_probabilities(
                scores[ids], many, noise, temperature=inner.temperature, scaling=inner.scaling, ids=ids
            )
        chosen = np.isin(ids, found.ids)
        assert chosen.sum() == many
        wanted = np.minimum(cap, k / 100 / chance[chosen])
        assert found.weights[np.isin(found.ids, ids)] == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("inner", [Random(), Soft(0.5)])
def test_weighted_the_chosen_stand_for_all(inner):
    scores = np.sin(np.arange(100.0)) ** 2 + GROUPS
    policy, means = ByGroup(inner, "even", correction=np.inf), []
    for draw in range(4000):
        found = policy.choose(scores, 20, Noise(9, draw), groups=GROUPS)
        means.append((found.weights * scores[found.ids]).sum() / 20)
    off = np.mean(means) - scores.mean()
    assert abs(off) < 4 * np.std(means) / np.sqrt(len(means))
    assert abs(np.mean([scores[g == GROUPS].mean() for g in range(3)]) - scores.mean()) > 0.3  # what is without them


def test_weights_within_groups_are_kept():
    scores = np.sin(np.arange(100.0))
    found = ByGroup(InfoBatch(), "size").choose(scores, 80, Noise(0, 0), groups=GROUPS)
    assert (found.weights > 1).any()
    for group, many in enumerate((48, 24, 8)):
        at = np.flatnonzero(group == GROUPS)
        alone = InfoBatch().choose(scores[at], many, Noise(0, 0), at)
        inside = np.isin(found.ids, at)
        assert (found.ids[inside].tolist(), found.weights[inside].tolist()) == (
            alone.ids.tolist(),
            alone.weights.tolist(),
        )


def test_who_is_of_which_group():
    groups = np.array([7, 2**40, 7, 0, 2**40])
    found = members_of(groups)
    assert (found.names.tolist(), found.sizes) == ([0, 7, 2**40], [1, 2, 2])
    assert [places.tolist() for places in found.places] == [[3], [0, 2], [1, 4]]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ByGroup(share="evn"), "share must be one of even, size, loss, speed, got 'evn'"),
        (
            lambda: ByGroup(share=1.5),
            "share must be 'even', 'size', 'loss', 'speed', a power in [0, 1], or one number per group, got 1.5",
        ),
        (lambda: ByGroup(share=None), "or one number per group, got None"),
        (lambda: ByGroup(share=[0, 0]), "share must give some group a share above 0, got (0, 0)"),
        (lambda: ByGroup(share=[]), "share must give some group a share above 0, got ()"),
        (lambda: ByGroup(share=[1, -1]), "share[1] must be at least 0 and finite, got -1"),
        (lambda: ByGroup(share=[1, float("nan")]), "share[1] must be at least 0 and finite, got nan"),
        (lambda: ByGroup(share={-1: 1}), "a group of share must be a whole number in [0, 100000], got -1"),
        (lambda: ByGroup(to="big"), "to must be one of even, size, loss, speed, got 'big'"),
        (lambda: ByGroup(floor=0), "floor must be in (0, 1], got 0"),
        (lambda: ByGroup(Auto()), "inner must be a policy that can choose within a group, got auto"),
        (lambda: ByGroup(Balanced()), "inner must be a policy that can choose within a group, got "),
        (lambda: ByGroup("balanced"), "no policy 'balanced'; known: hard, "),
        (lambda: ByGroup(Hard(), correction=2), "correction needs Random() or Soft() without a correction of its own"),
        (lambda: ByGroup(Soft(correction=2), correction=2), "correction needs Random() or Soft() without a correction"),
        (lambda: ByGroup(Soft(0), correction=2), "correction needs a choice that is random: a temperature above 0"),
        (lambda: ByGroup(Random(), correction=0), "correction must be above 0, or None, got 0"),
        (lambda: Tempered(2), "alpha must be in [0, 1], got 2"),
        (lambda: Tempered(to=-1), "to must be in [0, 1], got -1"),
        (lambda: PerCost(Random()), "inner must be a policy that goes by scores, got random"),
        (lambda: PerCost(PerCost()), "inner must be a policy that goes by scores, got per_cost"),
        (
            lambda: PerCost(ByGroup(Hard(), "speed")),
            "inner must be a policy that goes by scores, got attent.choose.grouped:ByGroup",
        ),
        (lambda: ByGroup(PerCost(Auto())), "inner must be a policy that can choose within a group, got per_cost"),
    ],
)
def test_what_cannot_be_is_told_where_it_is_written(make, words):
    with pytest.raises(attent.PlanError) as caught:
        make()
    assert words in str(caught.value)


def plan_of(select, **changes):
    return Plan(**{"epochs": 3, "batch_size": 4, "ratio": 0.5, "warm_up": 1, "select": select, **changes})


MANY = (
    "groups must be at most as many as a pass has examples, 3, got 4: each gives at least one. Raise the ratio, join "
    "groups, or choose by another policy"
)


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (plan_of(Balanced(), ratio=0.125), MANY),
        (plan_of(Tempered(), ratio=0.125), MANY),
        (plan_of(ByGroup(Hard(), "loss"), ratio=0.125), MANY),
        (
            plan_of(ByGroup(share=(1, 1, 1))),
            "share must have a number for each group, group 3 has none: give it one, 0 to leave it out",
        ),
        (
            plan_of(ByGroup(share=(1, 1, 1, 1, 0.5))),
            "share must be 0 for a group without examples, got 0.5 for group 4",
        ),
        (
            plan_of(ByGroup(share=(1, 1, 1, 0))),
            "share must be above 0 for groups of 12 examples in all, as many as a pass takes and a pool may leave "
            "out, got 9: lower the ratio, or give further groups a share",
        ),
        (
            plan_of(ByGroup(Hard(), share=(1, 1, 1, 0)), source="pool(share=0.75)", ratio=0.25),
            "share must be above 0 for groups of 12 examples in all, as many as a pass takes and a pool may leave "
            "out, got 9: lower the ratio, or give further groups a share",
        ),
        (
            plan_of(ByGroup(to=(1, 1, 1, 0))),
            "to must be above 0 for groups of 12 examples in all, as many as a pass takes and a pool may leave "
            "out, got 9: lower the ratio, or give further groups a share",
        ),
    ],
)
def test_groups_that_shares_do_not_fit_are_told_before_anything_runs(tmp_path, plan, words):
    learner = Grouped()
    with pytest.raises(attent.PlanError) as caught:
        attent.teach(learner, plan, run=tmp_path / "run")
    assert str(caught.value) == words
    assert (learner.trained, learner.scored, list(tmp_path.rglob("*.json*"))) == ([], 0, [])


@pytest.mark.filterwarnings("ignore::attent.CostWarning")
def test_what_a_pool_surely_leaves_is_enough():
    plan = plan_of(ByGroup(Hard(), (0, 1, 1, 1)), source="pool(share=0.9)", ratio=0.25, epochs=6)
    trace = attent.teach(Grouped(), plan)
    assert all(trace.ids(epoch).min() > 2 for epoch in range(1, 6))  # 0 to 2 are group 0


def test_a_group_of_share_0_is_never_taught():
    trace = attent.teach(Grouped(), plan_of(ByGroup(Hard(), (1, 0, 0, 3))))
    for epoch in (1, 2):
        assert np.bincount(Grouped().given[trace.ids(epoch)]).tolist() == [3, 0, 0, 9]


class Shifting(Grouped):
    """A toy whose groups are another's after a few steps, in the very array that it gave."""

    def train(self, batches, weights=None):
        losses = super().train(batches, weights)
        if len(self.trained) > 8:
            self.given[[0, 23]] = self.given[[23, 0]]
        return losses


def test_groups_that_change_while_a_run_goes_on_are_an_error(tmp_path):
    with pytest.raises(attent.LearnerError) as caught:
        attent.teach(Shifting(), plan_of(Balanced()), run=tmp_path / "run")
    assert str(caught.value) == (
        "groups() changed during the run: example 0 had 0 at first, then 3. Keep them fixed, or start a new run"
    )


def test_a_resumed_run_with_other_groups_is_refused(tmp_path):
    stops = iter([False] * 2 + [True] * 99)
    attent.teach(Grouped(), plan_of(Balanced()), run=tmp_path, stop=lambda: next(stops), segment_steps=1)
    other = Grouped(given=Grouped().given[::-1].copy())
    with pytest.raises(attent.CourseError, match="of a course with other reference losses, replay, groups or costs"):
        attent.teach(other, plan_of(Balanced()), run=tmp_path, resume=True)
    assert attent.teach(Grouped(), plan_of(Balanced()), run=tmp_path, resume=True).finished


def test_shares_of_a_toml_table_go_by_the_names_of_its_keys():
    table = {"name": "by_group", "inner": {"name": "soft", "temperature": 0.3}, "share": {"0": 3, "2": 1}}
    assert policy_of(table) == ByGroup(Soft(0.3), (3, 0.0, 1))
    assert policy_of(shown(ByGroup(Soft(0.3), (3, 0.0, 1)))) == ByGroup(Soft(0.3), (3, 0.0, 1))


def test_shares_that_follow_are_over_a_sum_as_rule_s6_says():
    # Added to 1 one by one the small ones are lost, and how Python's own sum adds differs from version to version.
    groups = np.r_[0, np.repeat(1, 10**5), np.arange(2, 30_002)]
    scores = np.r_[1.0, np.zeros(10**5), np.full(30_000, 1.1e-16)]
    found = weights_of("loss", members_of(groups), Seen(scores), 0.5)
    total, whole = len(groups), 1.0 + 30_000 * 1.1e-16
    assert found[:2] == [10**12, round(10**12 * (10**5 / total) / (1 / total + 1 / whole))]


def test_passes_that_cost_less_than_half_an_epoch_have_a_cost():
    plan = Plan(epochs=1, batch_size=4, ratio=0.2, select=Random(), warm_up=0)
    few = dataclasses.replace(plan, select=Balanced())
    assert (few.unit, few.full_epochs, few.cost(100)) == ("pass", 1, plan.cost(100))
    assert attent.teach(Grouped(), few).finished
