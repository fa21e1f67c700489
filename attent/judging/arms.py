"""The arms of a judgement: from names and a few words to the plan of each."""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from attent import choosing
from attent.equal_cost import on_all, same_training, short_plan
from attent.errors import PlanError
from attent.plan import Plan

FULL, SHORT = "full", "short"
DEFAULT_LENGTHS = (0.4, 0.55, 0.75, 1.0)
_WANTED_BY_DEFAULT = ("rs2", "official", "default", "auto")
_KEPT = ("non_finite",)  # of a recipe's suggestions, by every preset; default takes all of them


class Policy(msgspec.Struct, frozen=True):
    """A way to teach: a preset of ``Plan`` and the fields to change in it, JSON-ready."""

    preset: str
    fields: dict[str, Any] = {}


class Arm(msgspec.Struct, frozen=True):
    """What an arm is: ``full`` at a share of the epochs, ``short`` as its equal-cost control, or a ``policy``."""

    name: str
    kind: str
    plan: dict[str, Any]
    length: float | None = None
    note: str | None = None


def presets() -> dict[str, Callable[..., Plan]]:
    """Return the presets of ``Plan`` by name: its class methods that take epochs and a batch size.

    Example:
        >>> from attent.judging.arms import presets
        >>> {"default", "official", "official_simple", "paper"} <= presets().keys()
        True
    """
    found = {name: getattr(Plan, name) for name in sorted(vars(Plan)) if not name.startswith("_")}
    return {
        name: method
        for name, method in found.items()
        if inspect.ismethod(method) and {"epochs", "batch_size"} <= inspect.signature(method).parameters.keys()
    }


def default_arms() -> tuple[str, ...]:
    """Return the policies that are judged where none is named."""
    return tuple(name for name in _WANTED_BY_DEFAULT if name in presets())


def read_policies(arms: Iterable[str] | Mapping[str, Any]) -> dict[str, Policy]:
    """Return policies by arm name, from preset names, ``NAME:preset,field=value,...``, or tables by name.

    Raises PlanError naming the arm and what is wrong with it.

    Example:
        >>> from attent.judging.arms import read_policies
        >>> read_policies(["official", "greedy:default,ratio=0.2,selection=hard"])["greedy"]
        Policy(preset='default', fields={'ratio': 0.2, 'selection': 'hard'})
    """
    policies: dict[str, Policy] = {}
    items = arms.items() if isinstance(arms, Mapping) else [named_arm(text) for text in arms]
    for name, given in items:
        if not re.fullmatch(r"\w[\w.-]*", name) or name in (FULL, SHORT) or name.startswith(f"{FULL}-"):
            raise PlanError(
                f"an arm's name must be letters, digits, '_', '-' and '.', and not full or short, got {name!r}"
            )
        if name in policies:
            raise PlanError(f"arm {name!r} is named twice: give one of them another name")
        policies[name] = _policy(name, given)
    if not policies:
        raise PlanError("no arm to judge: name at least one policy, such as default")
    return policies


def named_arm(text: str) -> tuple[str, dict[str, Any]]:
    """Return name and table of an arm written as a preset's name or as ``NAME:preset,field=value,...``.

    Example:
        >>> from attent.judging.arms import named_arm
        >>> named_arm("mine:default,ratio=linear(0.6, 0.3),warm_up=2")
        ('mine', {'preset': 'default', 'ratio': 'linear(0.6, 0.3)', 'warm_up': 2})
    """
    name, colon, words = text.partition(":")
    name = name.strip()
    if not colon:
        return name, {"preset": name}
    preset, *settings = re.split(r",(?![^(]*\))", words)  # not the commas of cosine(0.2, 0.8)
    table: dict[str, Any] = {"preset": preset.strip()}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key.strip():
            raise PlanError(f"arm {name!r}: fields read field=value, separated by commas, got {setting!r}")
        table[key.strip()] = _from_text(value.strip())
    return name, table


def policy_plan(
    name: str, policy: Policy, *, epochs: int, batch_size: int, seed: int, suggested: Mapping[str, Any]
) -> tuple[Plan, str | None]:
    """Return a policy's plan, and in words what had to be adapted. Raises PlanError naming the arm.

    Example:
        >>> from attent.judging.arms import Policy, policy_plan
        >>> plan, note = policy_plan("o", Policy("official"), epochs=12, batch_size=8, seed=0, suggested={})
        >>> note
        '3 cycles instead of 10, which would need 31 epochs'
    """
    fields = {key: _plan_value(key, value) for key, value in policy.fields.items()}
    kept = suggested if policy.preset == "default" else {key: suggested[key] for key in _KEPT if key in suggested}
    values = {**kept, "epochs": epochs, "batch_size": batch_size, "seed": seed, **fields}
    note = None
    if policy.preset == "official" and "cycles" not in fields:
        cycles = min(10, max(1, (epochs - 1) // 3))
        values["cycles"] = cycles
        if cycles < 10:
            note = f"{cycles} cycle{'s' * (cycles > 1)} instead of 10, which would need 31 epochs"
    try:
        if policy.preset == FULL:
            return dataclasses.replace(Plan.full(epochs=epochs, batch_size=batch_size, seed=seed), **fields), note
        return presets()[policy.preset](**values), note
    except PlanError as error:
        raise PlanError(f"arm {name!r}: {error}") from error
    except TypeError as error:
        raise PlanError(f"arm {name!r}: preset {policy.preset} does not take these fields: {error}") from error


def plans_of(
    policies: Mapping[str, Policy],
    *,
    n: int,
    epochs: int,
    batch_size: int,
    seed: int,
    lengths: Iterable[float],
    short: bool,
    forward_share: float,
    suggested: Mapping[str, Any],
) -> dict[str, tuple[Plan, Arm]]:
    """Return plan and description of every arm by name: the longest full training first, then policies, short, lengths.

    Raises PlanError for an arm that cannot be built.

    Example:
        >>> from attent.judging.arms import plans_of, read_policies
        >>> made = plans_of(read_policies(["default"]), n=100, epochs=6, batch_size=10, seed=0, lengths=[0.5, 1],
        ...     short=True, forward_share=1 / 3, suggested={})
        >>> {name: plan.cost(100).examples_trained for name, (plan, arm) in made.items()}
        {'full': 600, 'default': 360, 'short': 360, 'full-0.5': 300}
    """
    base = Plan.full(epochs=epochs, batch_size=batch_size, seed=seed)
    base = dataclasses.replace(base, **{key: suggested[key] for key in _KEPT if key in suggested})
    made: dict[str, tuple[Plan, Arm]] = {}

    def add(name: str, kind: str, plan: Plan, length: float | None = None, note: str | None = None) -> None:
        told = {key: value for key, value in plan.to_dict().items() if key != "seed"}
        made[name] = (plan, Arm(name, kind, told, length, note))

    first, *others = sorted(checked_lengths(lengths), reverse=True)
    add(full_name(first), FULL, on_all(base, n, first * epochs * n), first)
    for name, policy in policies.items():
        plan, note = policy_plan(name, policy, epochs=epochs, batch_size=batch_size, seed=seed, suggested=suggested)
        add(name, "policy", plan, note=note)
    if short:
        add(SHORT, SHORT, short_plan(plan, n, forward_share), note=f"all examples at the cost of {name}")
    for length in others:
        add(full_name(length), FULL, on_all(base, n, length * epochs * n), length)
    return made


def alike(made: Mapping[str, tuple[Plan, Arm]], n: int) -> dict[str, str]:
    """Return for each arm that trains like an earlier one that one's name; it is not run twice.

    Policies count as alike only where their plans are equal: what they decide while they run is not in a timeline.

    Example:
        >>> from attent.judging.arms import alike, plans_of, read_policies
        >>> made = plans_of(read_policies(["mine:full"]), n=20, epochs=2, batch_size=5, seed=0, lengths=[0.5, 1],
        ...     short=False, forward_share=1 / 3, suggested={})
        >>> alike(made, 20)
        {'mine': 'full'}
    """
    twins: dict[str, str] = {}
    for name, (plan, arm) in made.items():
        for other, (earlier, its) in made.items():
            if other == name:
                break
            if other in twins:
                continue
            if plan == earlier or ("policy" not in (arm.kind, its.kind) and same_training(plan, earlier, n)):
                twins[name] = other
                break
    return twins


def checked_lengths(lengths: Iterable[float]) -> list[float]:
    """Return the lengths, ascending. Raises PlanError for fewer than two, or one that is no share of the epochs."""
    found = sorted(set(lengths))
    for length in found:
        if not (math.isfinite(length) and 0 < length <= 10):
            raise PlanError(f"a length must be a share of the epochs in (0, 10], got {length!r}")
    if len(found) < 2:
        raise PlanError(
            f"lengths must be at least 2, got {len(found)}: a saving is read off the curve between them, "
            "such as 0.4,0.55,0.75,1"
        )
    return found


def full_name(length: float) -> str:
    """Return the name of full training at a length: ``full``, ``full-0.4``."""
    return FULL if length == 1 else f"{FULL}-{length:g}"


def _policy(name: str, given: object) -> Policy:
    if isinstance(given, Policy):
        table = {"preset": given.preset, **given.fields}
    else:
        table = {"preset": given} if isinstance(given, str) else dict(given) if isinstance(given, Mapping) else {}
    preset = str(table.pop("preset", "default")).replace("-", "_")
    known = presets()
    if preset not in known:
        raise PlanError(
            f"arm {name!r}: no preset {preset!r}; known: {', '.join(known)}; "
            f"a policy of your own reads NAME:preset,field=value"
        )
    own = {one.name for one in inspect.signature(known[preset]).parameters.values() if one.kind is one.KEYWORD_ONLY}
    allowed = ({field.name for field in dataclasses.fields(Plan)} | own) - {"epochs", "batch_size", "seed"}
    for key in table:
        if key not in allowed:
            shared = key in ("epochs", "batch_size", "seed")
            why = (
                "is the same for all arms" if shared else f"is no field of a plan; known: {', '.join(sorted(allowed))}"
            )
            raise PlanError(f"arm {name!r}: {key} {why}")
    return Policy(preset, table)


def _from_text(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _plan_value(key: str, value: Any) -> Any:
    if key in ("ratio", "interval") and isinstance(value, str):
        return choosing.parse_schedule(value)
    if isinstance(value, str) and value == "none" and key in ("cycle", "correction"):
        return None
    return math.inf if value == "inf" else value
