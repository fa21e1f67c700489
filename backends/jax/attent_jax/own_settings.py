"""Settings that an optax optimiser keeps in its state, as `optax.inject_hyperparams` does: told, or kept."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

_HELD = "/hyperparams/"


def differing(own: Mapping[str, Any], saved: Mapping[str, Any]) -> list[str]:
    """Return the names of held settings that a state has otherwise; those of a schedule follow the schedule.

    Example:
        >>> import numpy as np
        >>> from attent_jax.own_settings import differing
        >>> name = "optimizer/hyperparams/learning_rate"
        >>> differing({name: np.float32(0.1)}, {name: np.float32(0.2)})
        ['optimizer/hyperparams/learning_rate']
    """
    scheduled = {name.replace("/hyperparams_states/", _HELD) for name in own if "/hyperparams_states/" in name}
    return [
        name
        for name in own
        if _HELD in name
        and not any(each == name or each.startswith(f"{name}/") for each in scheduled)
        and not np.array_equal(np.asarray(own[name]), np.asarray(saved[name]))
    ]


def warn_of(names: list[str], own: Mapping[str, Any], saved: Mapping[str, Any]) -> None:
    """Warn that a state's settings are taken up in place of a learner's."""
    told = "; ".join(
        f"{name.rpartition('/')[2]} was {float(np.asarray(saved[name])):g}, is {float(np.asarray(own[name])):g}"
        for name in names
    )
    warnings.warn(
        f"the run goes on with the settings of its state, not with those that this learner was built with: {told}. To "
        "go on with the learner's own, build it with own_settings=True",
        UserWarning,
        stacklevel=3,
    )
