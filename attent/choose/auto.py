"""Whether teaching helps now, from losses that training has seen anyway: what `Plan.auto` goes by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from attent.choose.scaling import sum_among, tree_sum
from attent.choose.sights import FEWEST, SMALLER, any_below_0, falls_of, hardest_of, held_by_few, signs, too_large
from attent.learner import Ids, Numbers

How = Literal["hard", "soft"]
Why = dict[str, str | int | float]
# The thresholds were chosen on seeds of the panel that are not judged (docs/results.md shows both).
# Where the harder half holds less of all loss than this at first sight, examples are too alike for a choice to matter.
TRY = 0.65
# Above this the rest is alike or known: the hardest are tried, else a soft choice is.
KNOWN = 0.85
# What a model that knows most does not know must be few, so much of the loss in the hardest 17 %: else to teach it is
# paid for by what was known, which no loss of training shows.
FEW = 0.9
# What is tried must fall to this share of its loss: wrong labels are hard too, but are learnt slower.
LEARNABLE = 0.75
# Later on, the harder half must hold this share for another try.
CONCENTRATION = 0.7
# Below this share of its loss the top is learnt so fast that nothing but the hardest is worth a step.
FAST = 0.55
# To a model that knows the rest, what does not fall to this share at once is not new but hard: teaching it would be
# paid for by what was known, which no loss of training shows.
NEW = 0.6
# What the first epoch ended with was seen just before: where that falls below the first share at second sight, and what
# the epoch began with hardly further (the square of the one is below the last share times the other), one look is
# enough to learn by heart, and others teach little. A model that knew most is quick at the few that are new to it: the
# second share.
BY_HEART, BY_HEART_KNEW, ALONE = 0.52, 0.36, 0.72
# Later on it need fall to this share only: what is left to be learnt is slower.
FALLING = 0.85
# At this share of its mean at first sight the loss is learnt; choosing further would only raise confidence in the rest.
LEARNT = 0.1
# Passes that a try takes. In the first of a soft choice wrong labels can pass for learnt.
_TRIES: dict[How, int] = {"hard": 1, "soft": 2}


class Stand(NamedTuple):
    """What one decision leaves to the next.

    ``how`` to choose what is taught, None: all in turn. ``tries``: passes in which that has yet to prove itself.
    ``first``: the mean loss at first sight, above 0; None before it, and while there is no such mean. ``known``: the
    try goes by first sight alone, of a model that knows the rest. ``over``: it was seen that teaching does not help,
    so there is no other try. ``best``: the lowest mean so far of what is watched, None where nothing is. ``knew``: the
    model knew most examples as it was given. ``looked``: whether the first try is learnt by heart was told, or is not
    to be asked any more. ``begun``: of what is tried the first part of a pass that is cut in two was taught. ``part``:
    the sums of that part's latest losses and of those before, over a power of two above n, until the rest of the pass
    is taught; else None.
    """

    how: How | None = None
    tries: int = 0
    first: float | None = None
    known: bool = False
    over: bool = False
    best: float | None = None
    knew: bool = False
    looked: bool = False
    begun: bool = False
    part: Sequence[float] | None = None


class Decision(NamedTuple):
    """Where it stands now, and why: a ``sign`` out of `SIGNS` and the shares that gave it."""

    stand: Stand
    why: Why


def decide(
    before: Numbers,
    latest: Numbers,
    taught: Ids | None = None,
    stand: Stand | None = None,
    opening: Ids | None = None,
    quarters: Ids | None = None,
) -> Decision:
    """Return how to choose next, given two losses per example, the ids last trained and where that decision stood.

    opening: the ids that the first epoch began with, whose losses are nearly those of the model as it was given; they
    count at first sight only. quarters: those of its first and its last quarter, int64, shape (2, m); they count in
    a first try only, once enough of both were taught.

    A choice is tried where the harder half holds most of the loss; wrong labels and unpredictable text are hard too,
    so what is tried must fall. It goes on while it falls, and ends where everything is learnt. Where a model knows the
    rest, what is hard to it must be few and fall fast at once: else it is not new, and all are in turn to the end; and
    so they are where one look is enough for the model to learn an example by heart. Where a loss is below 0 no share
    can be told: all in turn.

    Example:
        >>> import numpy as np
        >>> from attent.choose.auto import decide, told
        >>> loss, nothing = np.r_[np.full(900, 0.1), np.full(100, 3.0)], np.full(1000, np.nan)
        >>> tried = decide(nothing, loss)
        >>> tried.stand.how, told(tried.why)
        ('hard', 'at first sight the harder half holds 87 % of the loss: try the hardest')
        >>> hardest = np.arange(700, 1000)
        >>> seen = np.where(np.arange(1000) < 700, np.nan, loss)
        >>> told(decide(seen, loss * 0.5, hardest, tried.stand).why)
        'what is taught is learnt (x 0.50): go on'
        >>> told(decide(seen, loss * 0.3, hardest, tried.stand, quarters=np.arange(700, 1000).reshape(2, 150)).why)
        'what was seen just before falls at once (x 0.30), so it is learnt by heart: all in turn to the end'
        >>> told(decide(seen, loss * 0.7, hardest, tried.stand).why)
        'what is hard to a model that knows the rest is not learnt at once (x 0.70), so not new: all in turn to the end'
    """
    stand = Stand() if stand is None else stand
    if any_below_0(before, latest):
        return _in_turn(stand, {"sign": "below 0"})
    if too_large(before, latest):
        found = decide(before * SMALLER, latest * SMALLER, taught, _times(stand, SMALLER), opening, quarters)
        return found._replace(stand=_times(found.stand, 1 / SMALLER))
    if stand.first is None:
        return _at_first_sight(latest, stand, opening)
    seen = np.isfinite(latest)
    share = sum_among(latest, seen) / int(np.count_nonzero(seen)) / stand.first
    if share <= LEARNT:
        return _in_turn(stand, {"sign": "learnt", "share": share})
    if stand.over:
        return _in_turn(stand, {"sign": "over"})
    if stand.how is not None and taught is not None:
        return _go_on(before, latest, taught, stand, quarters)
    return _enter(before, latest, stand)


def told(why: Why) -> str:
    """Return a reason in words; another policy's, which has no such sign, name by name.

    Example:
        >>> from attent.choose.auto import told
        >>> told({"sign": "go on", "fall": 0.6}), told({"groups": 3, "new": 1})
        ('what is taught is learnt (x 0.60): go on', 'groups: 3, new: 1')
    """
    if str(why.get("sign")) not in SIGNS:
        return ", ".join(f"{name}: {held}" for name, held in why.items())
    shown = {key: _shown(key, number) if isinstance(number, float) else str(number) for key, number in why.items()}
    if why["sign"] == "learnt":  # a share of the first mean, not of the loss
        shown["share"] = f"{why['share']:.2f}"
    return SIGNS[str(why["sign"])].format(**shown)


_HALF = "the harder half holds {share} of the loss"
_ENTER = f"{_HALF} and its top is learnt (x {{hardest}}, the rest x {{others}})"
SIGNS = {
    "below 0": "losses below 0, of which no share can be told: all in turn",
    "no losses": "no losses yet: all in turn",
    "too few": "too few losses above 0: all in turn",
    "alike at first": f"at first sight {_HALF}: too alike, all in turn",
    "known": f"at first sight {_HALF}: try the hardest",
    "spread": "as it was given the model knew most, and the hardest 17 % held {share} of the loss: too many are hard "
    "to be new, all in turn to the end",
    "uneven": f"at first sight {_HALF}: try a choice that prefers the harder",
    "learnt": "the mean loss is {share} of what it was at first sight: learnt, all in turn",
    "too few twice": "too few losses above 0 seen twice: all in turn",
    "alike": f"{_HALF}: too alike, all in turn",
    "slow": "the hardest tenth is not learnt (x {hardest}, the rest x {others}): all in turn",
    "fast": f"{_ENTER}: try the hardest",
    "learnable": f"{_ENTER}: try a choice that prefers the harder",
    "not new": "what is hard to a model that knows the rest is not learnt at once (x {fall}), so not new: "
    "all in turn to the end",
    "by heart": "what was seen just before falls at once (x {fall}), so it is learnt by heart: all in turn to the end",
    "stuck": "group {group} stays hard while the others are learnt: all in turn to the end",
    "over": "as told before: all in turn to the end",
    "failed": "what was tried is not learnt fast (x {fall}): back to all in turn",
    "spent": "what is taught is hardly learnt any more (x {fall}): back to all in turn",
    "begun": "what is tried is not seen to be learnt by heart (x {fall}): teach the rest of it",
    "harder": "what was tried is learnt fast (x {fall}, its top x {hardest}): try the hardest",
    "go on": "what is taught is learnt (x {fall}): go on",
    "forgotten": "what is watched has come to {watched} from {best}, which is more than may be lost: all in turn",
    "end": "the end: all in turn",
}


def begun(decision: Decision) -> Decision:
    """Return the decision of the first part of a pass that is cut in two.

    Example:
        >>> from attent.choose.auto import Decision, Stand, begun
        >>> begun(Decision(Stand("hard", 1, 1.0), {})).stand.begun, begun(Decision(Stand(), {})).stand.begun
        (True, False)
    """
    return decision._replace(stand=decision.stand._replace(begun=decision.stand.how is not None))


def at_the_end(decision: Decision) -> Decision:
    """Return the decision of a run's last pass: all in turn."""
    return _in_turn(decision.stand, {"sign": "end"})


def unless_stuck(decision: Decision, group: int | None) -> Decision:
    """Return the decision, or all in turn to the end where a group stays hard (`attent.choose.stuck`); None: none does.

    The hardest would be of that group, and to teach it would be to learn it by heart.

    Example:
        >>> from attent.choose.auto import Decision, Stand, told, unless_stuck
        >>> told(unless_stuck(Decision(Stand("hard", 1, 1.0), {}), 3).why)
        'group 3 stays hard while the others are learnt: all in turn to the end'
    """
    if group is None or decision.stand.over:
        return decision
    return _in_turn(decision.stand._replace(over=True), {"sign": "stuck", "group": group})


def keeping(decision: Decision, watched: Numbers, keep: float) -> Decision:
    """Return the decision, or all in turn where the mean of what is watched is more than ``keep`` above its lowest.

    watched: float64, shape (2, m), lower is better: before the run's first step, and now.

    Example:
        >>> import numpy as np
        >>> from attent.choose.auto import Decision, Stand, keeping, told
        >>> found = keeping(Decision(Stand("soft", best=0.25), {}), np.array([[0.0, 0.0, 1.0]] * 2), keep=0.05)
        >>> found.stand.how, told(found.why)
        (None, 'what is watched has come to 0.3333 from 0.25, which is more than may be lost: all in turn')
    """
    given, mean = (tree_sum(numbers) / len(numbers) for numbers in watched)
    best = min(mean, given if decision.stand.best is None else decision.stand.best)
    decision = decision._replace(stand=decision.stand._replace(best=best))
    if decision.stand.how is None or mean - best <= keep:
        return decision
    return _in_turn(decision.stand, {"sign": "forgotten", "watched": mean, "best": best})


def _in_turn(stand: Stand, why: Why) -> Decision:
    return Decision(stand._replace(how=None, tries=0, known=False, begun=False, part=None), why)


def _try(how: How, stand: Stand, why: Why) -> Decision:
    return Decision(stand._replace(how=how, tries=_TRIES[how]), why)


def _at_first_sight(latest: Numbers, stand: Stand, opening: Ids | None) -> Decision:
    seen = np.isfinite(latest)
    many = int(np.count_nonzero(seen))
    if not many:
        return Decision(stand, {"sign": "no losses"})
    whole = sum_among(latest, seen)
    first = whole / many
    if many < 2 * FEWEST or first == 0:
        return Decision(stand._replace(first=first or None), {"sign": "too few"})
    share = sum_among(latest, hardest_of(latest, seen, many - many // 2)) / whole
    stand = stand._replace(first=first)
    if share < TRY:
        return Decision(stand, {"sign": "alike at first", "share": share})
    few = None if opening is None else held_by_few(latest[opening])
    stand = stand._replace(knew=few is not None)
    if few is not None and few < FEW:
        return Decision(stand._replace(over=True), {"sign": "spread", "share": few})
    if share >= KNOWN:
        return _try("hard", stand._replace(known=True), {"sign": "known", "share": share})
    return _try("soft", stand, {"sign": "uneven", "share": share})


def _enter(before: Numbers, latest: Numbers, stand: Stand) -> Decision:
    """Return whether what training in turn has shown is worth a try."""
    stand = stand._replace(looked=True)  # the first epoch was not just before
    found = signs(before, latest)
    if found is None:
        return _in_turn(stand, {"sign": "too few twice"})
    if found.share < CONCENTRATION:
        return _in_turn(stand, {"sign": "alike", "share": found.share})
    numbers: Why = {"share": found.share, "hardest": found.hardest, "others": found.others}
    if found.hardest > LEARNABLE:
        return _in_turn(stand, {"sign": "slow", **numbers})
    if found.hardest <= FAST:
        return _try("hard", stand, {"sign": "fast", **numbers})
    return _try("soft", stand, {"sign": "learnable", **numbers})


def _go_on(before: Numbers, latest: Numbers, taught: Ids, stand: Stand, quarters: Ids | None) -> Decision:
    seen = np.zeros(len(latest), np.bool_)
    seen[taught] = True
    seen &= np.isfinite(before) & np.isfinite(latest)
    was, now = sum_among(before, seen), sum_among(latest, seen)
    one = 2.0 ** -len(latest).bit_length()  # of so many: what is kept is no more than a loss, and is exact
    falls = None
    if quarters is not None and not stand.looked:  # just after the first epoch, so a whole pass is what has two losses
        pairs = seen if stand.part is None else np.isfinite(before) & np.isfinite(latest)
        falls = falls_of(before, latest, pairs, quarters)
    if falls is not None:
        stand, (began, ended) = stand._replace(looked=True), falls
        if ended < (BY_HEART_KNEW if stand.knew else BY_HEART) and ended * ended < ALONE * began:
            return _in_turn(stand._replace(over=True), {"sign": "by heart", "fall": ended})
    if stand.part is not None:
        now, was, stand = now + stand.part[0] / one, was + stand.part[1] / one, stand._replace(part=None)
    fall = now / was if was > 0 else 1.0
    if stand.begun:  # how far it falls was measured over whole passes, in which what comes later falls further
        return Decision(stand._replace(begun=False, part=(now * one, was * one)), {"sign": "begun", "fall": fall})
    if stand.known and fall > NEW:
        return _in_turn(stand._replace(over=True), {"sign": "not new", "fall": fall})
    if fall > (LEARNABLE if stand.tries else FALLING):
        return _in_turn(stand, {"sign": "failed" if stand.tries else "spent", "fall": fall})
    if stand.how == "soft" and stand.tries == _TRIES["soft"]:
        found = signs(before, latest)
        if found is not None and found.hardest <= FAST:
            return _try("hard", stand, {"sign": "harder", "fall": fall, "hardest": found.hardest})
    return Decision(stand._replace(tries=max(stand.tries - 1, 0), known=False), {"sign": "go on", "fall": fall})


def _times(stand: Stand, factor: float) -> Stand:
    part = None if stand.part is None else tuple(part * factor for part in stand.part)
    return stand if stand.first is None else stand._replace(first=stand.first * factor, part=part)


def _shown(key: str, number: float) -> str:
    if key in ("watched", "best"):  # in a unit of the user's
        return f"{number:.4g}"
    return _percent(number) if key == "share" else f"{number:.2f}"


def _percent(share: float) -> str:
    # Down, so that a share just below a threshold is not told as the threshold.
    return f"{int(100 * share)} %"
