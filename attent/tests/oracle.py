"""The selections, spelled out slowly from the rules: what the fast ones are tested against."""

from __future__ import annotations

from decimal import Decimal, getcontext
from fractions import Fraction

import numpy as np

getcontext().prec = 60
LN2 = Decimal(2).ln()


def ranked(keys, ids):
    """Return the ids, highest key first, ties to the lower id, by comparing Python numbers."""
    return [i for _, i in sorted(zip(keys, ids, strict=True), key=lambda pair: (-pair[0], pair[1]))]


def hard(scores, k, ids=None):
    ids = range(len(scores)) if ids is None else ids
    return sorted(ranked([float(s) + 0.0 for s in scores], ids)[:k])


def band(scores, k, passed):
    order = ranked([float(s) + 0.0 for s in scores], range(len(scores)))
    return sorted(order[passed : passed + k])


def decimal_gumbel(bits):
    """Return the Gumbel noise of one 64-bit number to 50 digits."""
    u = Decimal(int(bits) >> 11) / Decimal(2**53)
    return -(-u.ln()).ln()


def soft(scores, k, bits, temperature):
    """Return Gumbel-top-k in 50-digit arithmetic."""
    keys = [Decimal(float(s)) / Decimal(temperature) + decimal_gumbel(b) for s, b in zip(scores, bits, strict=True)]
    return sorted(ranked(keys, range(len(scores)))[:k])


def inclusion_by_enumeration(weights, k):
    """Return each item's probability to be among k drawn without replacement with these odds, summed over orders."""
    n = len(weights)
    found = np.zeros(n)

    def draw(chosen, probability):
        if len(chosen) == k:
            found[list(chosen)] += probability
            return
        left = sum(w for i, w in enumerate(weights) if i not in chosen)
        for i in range(n):
            if i not in chosen:
                draw((*chosen, i), probability * weights[i] / left)

    draw((), 1.0)
    return found


def balanced(groups, turns, k, bits, ids):
    """Return k ids, dealt one at a time to one group after another, lowest first, for as long as it has examples left.

    Within a group those trained longest ago come first, then those of highest noise, then the lower ids.
    """
    order = sorted(range(len(ids)), key=lambda place: (-int(turns[place]), -(int(bits[place]) >> 11), int(ids[place])))
    left = {group: [place for place in order if groups[place] == group] for group in sorted(set(groups.tolist()))}
    taken = []
    while len(taken) < k:
        for places in left.values():
            if places and len(taken) < k:
                taken.append(int(ids[places.pop(0)]))
    return sorted(taken)


def counts(weights, sizes, k):
    """Return how many of each group: quotas level * weight within [1, size] (0 if k is short), found by halving.

    Then the largest remainders, lower groups first, in exact fractions.
    """
    some = [group for group, weight in enumerate(weights) if weight]
    least = 1 if len(some) <= k else 0

    def quotas(level):
        return {g: min(max(level * weights[g], Fraction(least)), Fraction(sizes[g])) for g in some}

    low, high = Fraction(0), Fraction(max(sizes[g] for g in some))
    levels = sorted({Fraction(end, weights[g]) for g in some for end in (least, sizes[g])} | {low, high})
    low = max(level for level in levels if sum(quotas(level).values()) <= k)
    high = min([level for level in levels if sum(quotas(level).values()) >= k], default=low)
    ends = sum(quotas(low).values()), sum(quotas(high).values())
    level = low if ends[0] == ends[1] else low + (high - low) * (k - ends[0]) / (ends[1] - ends[0])
    found = quotas(level)
    taken = {g: int(quota) for g, quota in found.items()}
    for g in sorted(some, key=lambda g: (taken[g] - found[g], g))[: k - sum(taken.values())]:
        taken[g] += 1
    return [taken.get(g, 0) for g in range(len(weights))]
