"""Policies: ways to teach, from a preset's name or a few words to a plan."""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from attent.choose.policy import asks_of_training
from attent.choose.sources import Replay
from attent.errors import PlanError
from attent.plan.plan import Plan

FULL, SHORT, POLICY = "full", "short", "policy"  # kinds of arms; the first two are no names for policies
KEPT = ("non_finite",)  # of a recipe's suggestions, by every preset that can; default takes all of them
_WHERE_ALL_ARE_TAUGHT = ("epochs", "warm_up", "cool_down")  # the fields that mean something there
_WANTED_BY_DEFAULT = ("rs2", "official", "default", "auto")


class Policy(msgspec.Struct, frozen=True):
    """A way to teach: a preset of ``Plan`` and the fields to change in it, JSON-ready."""

    preset: str
    fields: dict[str, Any] = {}


def presets() -> dict[str, Callable[..., Plan]]:
    """Return the presets of ``Plan`` by name: its class methods that take epochs and a batch size.

    Example:
        >>> from attent.judging.policies import presets
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
        >>> from attent.judging.policies import read_policies
        >>> read_policies(["official", "greedy:default,ratio=0.2,selection=hard"])["greedy"]
        Policy(preset='default', fields={'ratio': 0.2, 'selection': 'hard'})
    """
    policies: dict[str, Policy] = {}
    items = arms.items() if isinstance(arms, Mapping) else [named_arm(_text(given)) for given in arms]
    for name, given in items:
        if not re.fullmatch(r"\w[\w.-]*", name) or name in (FULL, SHORT) or name.startswith((f"{FULL}-", f"{SHORT}-")):
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
        >>> from attent.judging.policies import named_arm
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
        >>> from attent.judging.policies import Policy, policy_plan
        >>> plan, note = policy_plan("o", Policy("official"), epochs=12, batch_size=8, seed=0, suggested={})
        >>> note
        '3 cycles instead of 10, which would need 31 epochs'
    """
    try:
        fields = {key: _plan_value(key, value) for key, value in policy.fields.items()}
    except PlanError as error:
        raise PlanError(f"arm {name!r}: {error}") from error
    kept = suggested if policy.preset == "default" else {}
    values = {**kept, "epochs": epochs, "batch_size": batch_size, "seed": seed, **fields}
    note = None
    if policy.preset == "official" and "cycles" not in fields:
        cycles = min(10, max(1, (epochs - 1) // 3))
        values["cycles"] = cycles
        if cycles < 10:
            note = f"{cycles} cycle{'s' * (cycles > 1)} instead of 10, which would need 31 epochs"
    if policy.preset == "auto" and "epochs" not in fields:
        values["epochs"] = max(1, math.floor(0.6 * epochs + 0.5))
        note = f"given {values['epochs']} of {epochs} epochs, since it spends all that it is given"
    try:
        if policy.preset == FULL:
            plan = Plan.full(epochs=values.pop("epochs"), batch_size=batch_size, seed=seed)
            plan = dataclasses.replace(plan, **values)
        else:
            plan = presets()[policy.preset](**values)
        for key in KEPT:
            if key not in suggested or key in fields or getattr(plan, key) == suggested[key]:
                continue
            if asks_of_training(plan.select):  # it needs every score
                told = f"{key} {getattr(plan, key)} and not the recipe's {suggested[key]}, which it cannot have"
                note = told if note is None else f"{note}; {told}"
            else:
                plan = dataclasses.replace(plan, **{key: suggested[key]})
        _check_judgeable(plan, fields)
        return plan, note
    except PlanError as error:
        raise PlanError(f"arm {name!r}: {error}") from error
    except TypeError as error:
        raise PlanError(f"arm {name!r}: preset {policy.preset} does not take these fields: {error}") from error


def _text(given: object) -> str:
    if not isinstance(given, str):
        raise PlanError(f"an arm must be a preset's name or NAME:preset,field=value,..., got {given!r}")
    return given


def _check_judgeable(plan: Plan, fields: Mapping[str, Any]) -> None:
    if isinstance(plan.source, Replay):
        raise PlanError("source 'replay' needs the scores of an earlier run, and a judgement has none: use another")
    idle = [key for key in fields if key not in (*_WHERE_ALL_ARE_TAUGHT, *KEPT)]
    if idle and not plan.rounds():
        raise PlanError(f"{idle[0]} changes nothing in a plan that trains on all examples in every epoch")


def _policy(name: str, given: object) -> Policy:
    if isinstance(given, Policy):
        table = {"preset": given.preset, **given.fields}
    else:
        table = {"preset": given} if isinstance(given, str) else dict(given) if isinstance(given, Mapping) else {}
    wanted = str(table.pop("preset", "default"))
    preset = wanted.replace("-", "_")
    known = presets()
    if preset not in known:
        raise PlanError(
            f"arm {name!r}: no preset {wanted!r}; known: {', '.join(known)}; "
            f"a policy of your own reads NAME:preset,field=value"
        )
    own = {one.name for one in inspect.signature(known[preset]).parameters.values() if one.kind is one.KEYWORD_ONLY}
    allowed = ({field.name for field in dataclasses.fields(Plan)} | own) - {"batch_size", "seed"}
    for key in table:
        if key not in allowed:
            shared = key in ("batch_size", "seed")
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
    return None if key == "cycle" and value == "none" else value
