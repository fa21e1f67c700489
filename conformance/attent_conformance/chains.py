"""The golden runs: chains of plans, and the digests of what each of their epochs must teach."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from attent.plan import schedules
from attent.plan.plan import Plan
from attent_conformance.runs import TaughtEpoch, taught
from attent_conformance.subject import numpy_learner
from attent_conformance.tasks import task

_SCHEDULES: dict[str, dict[str, Any]] = {
    "constant": {"ratio": 0.4},
    "linear": {"ratio": schedules.linear(0.7, 0.3)},
    "cosine": {"ratio": schedules.cosine(0.25, 0.75)},
    "step": {"ratio": schedules.step([0.6, 0.3], [0.5])},
    "incremental": {"ratio": 0.5, "interval": schedules.linear(1, 2)},
}
_QUICK = 2  # plans of a chain in a quick run


@dataclass(frozen=True)
class Chain:
    """Plans taught one after another to one learner of a task, which starts from the task's parameters."""

    task: str
    plans: Mapping[str, Plan]
    needs: tuple[str, ...] = ()

    def shortened(self, quick: bool) -> Mapping[str, Plan]:
        """Return the plans, of a quick run the first few."""
        return dict(list(self.plans.items())[:_QUICK]) if quick else self.plans


def _plan(number: int, select: str, schedule: str, source: str, batch_size: int, **settings: Any) -> Plan:
    warm_up = 1 if source.startswith("reuse") else 0
    fields: dict[str, Any] = {
        "epochs": 3 + warm_up,
        "warm_up": warm_up,
        "batch_size": batch_size,
        "select": "soft(temperature=0.4)" if select == "soft" else select,
        "source": source,
        "seed": number,
    }
    return Plan(**{**fields, **_SCHEDULES[schedule], **settings})


def _product(selections: tuple[str, ...], names: tuple[str, ...], batch_size: int, **settings: Any) -> dict[str, Plan]:
    cases = [(s, name, source) for name in names for s in selections for source in ("fresh", "reuse")]
    return {
        f"{select}/{schedule}/{source}": _plan(number, select, schedule, source, batch_size, **settings)
        for number, (select, schedule, source) in enumerate(cases)
    }


def _cycles(batch_size: int) -> dict[str, Plan]:
    """Return plans with full epochs between rounds, and with a new selection in each epoch of a round."""
    shape: dict[str, Any] = {"epochs": 8, "warm_up": 1, "cool_down": 1, "cycle": 3, "interval": 2}
    return {
        "hard/cosine/fresh/cycle": _plan(50, "hard", "cosine", "fresh", batch_size, **shape),
        "soft/cosine/fresh/cycle/reselect": _plan(51, "soft", "cosine", "fresh", batch_size, reselect=True, **shape),
    }


def _policies(batch_size: int) -> dict[str, Plan]:
    """Return plans that rank or choose by more than the latest loss."""
    shape: dict[str, Any] = {"epochs": 6, "warm_up": 2, "cool_down": 1}
    plans = {
        "hard/constant/reuse/bonus": (61, "hard", "constant", "reuse(bonus=0.5)", shape),
        "soft/constant/reuse/progress": (62, "soft", "constant", "reuse(measure='progress')", shape),
        "hard/constant/reuse/refresh": (63, "hard", "constant", "reuse(refresh=0.25)", shape),
        "soft/constant/pool": (64, "soft", "constant", "pool(share=0.6)", {}),
        "hard/linear/reuse/in-turn": (65, "in_turn(ties=hard)", "linear", "reuse", shape),
        "random/constant/reuse/in-turn": (66, "in_turn(ties=random)", "constant", "reuse", shape),
    }
    return {
        **{name: _plan(*words, batch_size, **settings) for name, (*words, settings) in plans.items()},
        "auto/brief": Plan.auto(epochs=3, batch_size=batch_size, seed=68),
        "auto/warm-up": Plan.auto(epochs=5, batch_size=batch_size, seed=69, warm_up=2),
        "hard/constant/reuse/per-cost": _plan(70, "per_cost(hard)", "constant", "reuse", batch_size),
        "auto/per-cost": Plan.auto(epochs=5, batch_size=batch_size, seed=71, per_cost=True),
    }


def _weighted() -> dict[str, Plan]:
    corrected = "soft(temperature=0.4, correction=4.0)"
    ranked = "soft(temperature=0.4, scaling=rank, correction=2.0)"
    brief: dict[str, Any] = {"interval": 3, "reselect": True, "epochs": 5, "cool_down": 1}
    return {
        "soft/constant/reuse/correction": _plan(0, corrected, "constant", "reuse", 16),
        "soft/cosine/fresh/correction/rank": _plan(1, ranked, "cosine", "fresh", 16),
        "soft/linear/reuse/correction/reselect": _plan(2, corrected, "linear", "reuse", 16, **brief),
        "infobatch/constant/reuse": _plan(3, "infobatch", "constant", "reuse", 16, ratio=0.7),
    }


EVERY = ("hard", "soft", "random", "band")
CHAINS: dict[str, Chain] = {
    "classes": Chain("classes", {**_product(EVERY, tuple(_SCHEDULES), 8), **_cycles(8)}),
    "next-token": Chain(
        "next-token", {**_product(("hard", "soft"), tuple(_SCHEDULES), 3), **_cycles(3)}, ("next-token",)
    ),
    "two-tasks": Chain("two-tasks", _product(("hard", "soft"), ("cosine",), 8), ("tasks",)),
    "padded": Chain("padded", _product(("hard", "soft"), ("incremental",), 8), ("next-token", "lengths")),
    "policies": Chain("classes", _policies(8)),
    "weighted": Chain("classes", _weighted(), ("weights",)),
}


@functools.cache
def reference_run(name: str, quick: bool = False) -> tuple[TaughtEpoch, ...]:
    """Return the chain's run on this machine's NumPy."""
    chain = CHAINS[name]
    return tuple(taught(numpy_learner(task(chain.task)), chain.shortened(quick)))


@functools.cache
def golden() -> dict[str, dict[str, list[list[str]]]]:
    """Return the committed digests: by chain and plan, for each epoch that of its selection and of its batches."""
    text = resources.files("attent_conformance.golden").joinpath("chains.json").read_text("utf-8")
    table: dict[str, dict[str, list[list[str]]]] = json.loads(text)
    return table


def digests_of(epochs: tuple[TaughtEpoch, ...]) -> dict[str, list[list[str]]]:
    """Return the digests of epochs by plan, as `golden` holds them."""
    table: dict[str, list[list[str]]] = {}
    for epoch in epochs:
        table.setdefault(epoch.plan, []).append(epoch.digests)
    return table
