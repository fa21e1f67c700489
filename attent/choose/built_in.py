"""The built-in policies by name, and how any policy is read and shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attent.choose import policy
from attent.choose.grouped import Balanced, ByGroup, Tempered
from attent.choose.policies import CHOOSING
from attent.choose.policy import Policy

BUILT_IN: dict[str, Callable[..., Policy]] = {
    **CHOOSING,
    "balanced": Balanced,
    "tempered": Tempered,
    "by_group": ByGroup,
}


def policy_of(given: object, further: Callable[[], Mapping[str, Callable[..., Any]]] = dict) -> Policy:
    """Return the policy that is given as one, as its text, or as a table with its ``name``.

    ``further``: gives policies by name beyond the built-in ones, asked only where those do not do. Raises PlanError.

    Example:
        >>> from attent.choose.built_in import policy_of
        >>> policy_of("soft(temperature=0.3)"), policy_of("by_group(hard, share=(0.7, 0.3))")
        (Soft(temperature=0.3), ByGroup(inner=Hard(), share=(0.7, 0.3)))
    """
    return policy.policy_of(given, BUILT_IN, further)


def shown(held: object, further: Callable[[], Mapping[str, Callable[..., Any]]] = dict) -> str:
    """Return the text from which `policy_of` makes a policy again, as far as it has one.

    Example:
        >>> from attent.choose.built_in import shown
        >>> from attent.choose.policies import Soft
        >>> shown(Soft(temperature=0.3))
        'soft(temperature=0.3)'
    """
    return policy.shown(held, BUILT_IN, further)
