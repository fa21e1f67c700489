"""L: whole runs choose the same examples in every round."""

from __future__ import annotations

import functools

import numpy as np

from attent.choose.noise import Noise
from attent.choose.policies import Hard, Soft
from attent.choose.policy import choose
from attent.learner import Numbers
from attent.plan.plan import Plan
from attent.reference import Parameters
from attent_conformance.chains import CHAINS, golden, reference_run
from attent_conformance.failures import Ambiguous, CheckFailed
from attent_conformance.needs import Margins, needs
from attent_conformance.pairs import reborn
from attent_conformance.runs import TaughtEpoch, gap, keys, nearest, taught
from attent_conformance.subject import Subject, numpy_learner
from attent_conformance.tasks import task

MARGIN = 10.0  # how many times the score error must fit into the gap at a cut
ROUNDING = 1e-8  # relative: a larger error in a float64 run is no rounding
_ROUNDS = 3
BAND = 2e-5  # of the largest score: how far float32 scores may be from the reference's
# The check that takes a subject through each golden run.
RUNS = {
    "classes": "classifier_runs_in_lock_step",
    "next-token": "language_model_runs_in_lock_step",
    "two-tasks": "two_tasks_run_in_lock_step",
    "padded": "padded_sequences_run_in_lock_step",
    "policies": "policies_run_in_lock_step",
    "weighted": "weighted_examples_run_in_lock_step",
}


@needs("float64")
def check_classifier_runs_in_lock_step(subject: Subject) -> Margins:
    """L1: a vision transformer taught by every selection, schedule and source chooses the golden ids throughout."""
    return _in_lock_step(subject, "classes")


@needs("float64", "next-token")
def check_language_model_runs_in_lock_step(subject: Subject) -> Margins:
    """L1: a language model taught hard and soft, with fresh and reused scores, chooses the golden ids throughout."""
    return _in_lock_step(subject, "next-token")


@needs("float64", "tasks")
def check_two_tasks_run_in_lock_step(subject: Subject) -> Margins:
    """L1: a model of two weighted tasks chooses the golden ids throughout."""
    return _in_lock_step(subject, "two-tasks")


@needs("float64", "next-token", "lengths")
def check_padded_sequences_run_in_lock_step(subject: Subject) -> Margins:
    """L1: a model of sequences of unequal length chooses the golden ids throughout."""
    return _in_lock_step(subject, "padded")


@needs("float64")
def check_policies_run_in_lock_step(subject: Subject) -> Margins:
    """L1: a classifier taught by `Plan.auto`, coverage, bonus, progress, refresh and pool chooses the golden ids."""
    return _in_lock_step(subject, "policies")


@needs("float64", "weights")
def check_weighted_examples_run_in_lock_step(subject: Subject) -> Margins:
    """L1: a run with correction weights chooses the golden ids throughout."""
    return _in_lock_step(subject, "weighted")


@needs("float32")
def check_float32_classifier_stays_in_its_band(subject: Subject) -> Margins:
    """L2: in float32, re-synchronised each round, a classifier's choice differs only inside the stated band."""
    return _in_band(subject, "classes")


@needs("float32", "next-token")
def check_float32_language_model_stays_in_its_band(subject: Subject) -> Margins:
    """L2: in float32, re-synchronised each round, a language model's choice differs only inside the stated band."""
    return _in_band(subject, "next-token")


def _in_lock_step(subject: Subject, name: str) -> Margins:
    chain, reference = CHAINS[name], reference_run(name, subject.quick)
    smallest, largest, narrowest = np.inf, 0.0, np.inf
    digests = subject.digests[name] = []
    counts: dict[str, int] = {}
    for theirs, ours in zip(
        taught(reborn(subject, chain.task, "float64"), chain.shortened(subject.quick)),
        reference,
        strict=True,
    ):
        at = counts[ours.plan] = counts.get(ours.plan, -1) + 1
        where = f"chain {name!r}, plan {ours.plan!r}, epoch {ours.epoch}"
        if ours.digests != golden()[name][ours.plan][at]:
            raise CheckFailed(
                "L3", "another trace from this machine's NumPy", "the golden digests", f"{where}; nothing is proved"
            )
        digests.append(theirs.digests)
        error, distance = _compared(chain.plans[ours.plan], theirs, ours, where)
        smallest, largest = min(smallest, distance), max(largest, error)
        if error > 0:
            narrowest = min(narrowest, distance / error)
    steps = float(sum(-(-e.k // chain.plans[e.plan].batch_size) for e in reference))
    rounds = float(sum(e.ids is not None for e in reference))
    ratio = {"gap / error": narrowest} if np.isfinite(narrowest) else {}
    return {"rounds": rounds, "steps": steps, "error": largest, "gap": smallest, **ratio}


def _compared(plan: Plan, theirs: TaughtEpoch, ours: TaughtEpoch, where: str) -> tuple[float, float]:
    """Return the error of the numbers ordered by, and the gap at the cut. Raises CheckFailed or Ambiguous."""
    error, distance = 0.0, np.inf
    ordering = None if ours.scores is None else keys(plan, ours.scores, ours.draw)
    if ordering is not None and theirs.scores is not None:
        other = keys(plan, theirs.scores, theirs.draw)
        assert other is not None  # the plan is the same
        error, distance = float(np.abs(other - ordering).max()), gap(plan, ordering, ours.k)
    if theirs.digests == ours.digests:
        if not distance > MARGIN * error:
            raise _ambiguous(error, distance, where)
        return error, distance
    if ours.ids is None or theirs.ids is None or ours.scores is None or theirs.scores is None or ordering is None:
        raise CheckFailed("L1", f"digests {theirs.digests}", f"{ours.digests}", where)
    honest = error <= ROUNDING * max(1.0, float(np.abs(ordering).max()))
    if honest and not distance > MARGIN * error:
        raise _ambiguous(error, distance, where)
    extra, missing = np.setdiff1d(theirs.ids, ours.ids), np.setdiff1d(ours.ids, theirs.ids)
    shown = np.concatenate([extra[:3], missing[:3]]) if len(extra) + len(missing) else nearest(ordering, ours.k)
    told = "; ".join(f"id {i}: {float(theirs.scores[i])!r} against {float(ours.scores[i])!r}" for i in shown)
    raise CheckFailed(
        "L1",
        f"ids {extra[:5].tolist()} (of {len(extra)}), and scores up to {error:.2e} away",
        f"ids {missing[:5].tolist()} in their place, as the gap at the cut is {distance:.2e}",
        f"first in {where}; scores: {told} (got against expected)",
    )


def _ambiguous(error: float, distance: float, where: str) -> Ambiguous:
    return Ambiguous(
        "L3",
        f"a gap of {distance:.2e} at the cut for scores {error:.2e} apart",
        f"a gap of more than {MARGIN:g} times the error",
        f"{where}; ambiguous: equal ids would prove nothing here",
    )


@functools.cache
def _synchronised(name: str) -> tuple[tuple[Parameters, Numbers], ...]:
    """Return the parameters and scores of NumPy's learner before each round of training."""
    learner, ids = numpy_learner(task(name)), np.arange(len(task(name)))
    rounds = []
    for _ in range(_ROUNDS):
        state = learner.state()
        parameters = {key[11:]: array for key, array in state.items() if key.startswith("parameters.")}
        rounds.append((parameters, learner.score(ids)))
        learner.train([ids[at : at + 8] for at in range(0, len(ids), 8)] * 3)
    return tuple(rounds)


def _in_band(subject: Subject, name: str) -> Margins:
    case = task(name)
    ids = np.arange(len(case))
    inside, differing, widest, worst = 0, 0, 0.0, 0.0
    rounds = _synchronised(name)
    for round_, (parameters, ours) in enumerate(rounds[:2] if subject.quick else rounds):
        select = (Hard(), Soft(temperature=0.4))[round_ % 2]
        plan = Plan(epochs=1, batch_size=8, ratio=0.4, select=select, source="fresh", seed=round_)
        theirs = subject.learner(case, dtype="float32", parameters=parameters).score(ids)
        k = plan.timeline(len(case))[0].k
        found, expected = (choose(select, scores, k, Noise(round_, 0)).ids for scores in (theirs, ours))
        ordering, other = keys(plan, ours, 0), keys(plan, theirs, 0)
        assert ordering is not None  # no plan is random
        assert other is not None
        # A score moves a key by as much, or, scaled by the standard deviation, by that over it.
        band = BAND * float(np.abs(ours).max()) * (1.0 if isinstance(select, Hard) else 1.0 / float(ours.std()))
        error = float(np.abs(other - ordering).max())
        where = f"task {name!r}, round {round_} ({select!r}), float32 re-synchronised"
        if error > band:
            worst_ids = np.argsort(-np.abs(other - ordering), kind="stable")[:3]
            told = "; ".join(f"id {i}: {float(theirs[i])!r} against {float(ours[i])!r}" for i in worst_ids.tolist())
            raise CheckFailed(
                "L2",
                f"scores {error:.2e} from the reference's",
                f"at most the band, {band:.2e}",
                f"{where}; scores: {told} (got against expected)",
            )
        cut = float(np.sort(ordering)[::-1][k - 1])
        distance = np.abs(ordering - cut)
        outside = [i for i in np.setxor1d(found, expected).tolist() if distance[i] > 2 * band]
        if outside:
            told = "; ".join(f"id {i}: {float(theirs[i])!r} against {float(ours[i])!r}" for i in outside[:3])
            raise CheckFailed(
                "L2",
                f"another choice for ids {outside[:5]}",
                f"one only for ids within two bands, {2 * band:.2e}, of the cut",
                f"{where}; scores: {told} (got against expected)",
            )
        inside += int((distance <= 2 * band).sum()) - 1
        differing += len(np.setdiff1d(found, expected))
        widest, worst = max(widest, band), max(worst, error)
    return {"band": widest, "error": worst, "examples in the band": float(inside), "differing": float(differing)}
