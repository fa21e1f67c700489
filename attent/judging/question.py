"""What is asked of a referee."""

from __future__ import annotations

from typing import Any, NamedTuple

from attent.judging.policies import Policy


class Question(NamedTuple):
    """What is asked of a referee, everything checked that can be without a learner."""

    recipe: str
    backend: str | None
    options: dict[str, Any]
    suggested: dict[str, Any]
    defaults: dict[str, Any]
    policies: dict[str, Policy]
    epochs: int
    batch_size: int
    lengths: list[float]
    short: bool | None
    grid: dict[str, list[Any]] | None
    grid_is_default: bool
    seeds: int
    first_seed: int
    budget_seconds: float | None
    forward_share: float | None
    versions: dict[str, str]
    checkpoint_seconds: float
    segment_steps: int
