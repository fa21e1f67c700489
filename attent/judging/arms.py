"""The arms of a judgement: policies from a few words to plans, full training at several lengths, and the controls."""

from __future__ import annotations

import dataclasses
import itertools
import re
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from attent import checks
from attent.checks import number, one_of, several
from attent.errors import PlanError
from attent.judging.controls import (
    BALANCED,
    CONTROLS,
    FILTER,
    NEW_ONLY,
    REPLAY,
    SEVERAL,
    TEMPERED,
    Known,
    asked_controls,
    controls_of,
    fixed_share,
)
from attent.plan.cost import on_all, same_training, short_plan
from attent.plan.plan import Plan
from attent.plan.presets import fields_of, preset_of, preset_plan

FULL, SHORT, CONTROL, POLICY = "full", "short", "control", "policy"  # kinds of arms
SHORTS = "shorts"
AGAINST = (FULL, SHORT, SHORTS, *CONTROLS)
"""What policies may be held against; ``shorts``: a short arm for every policy and not only for the last."""
TEACH_AGAINST = (FULL, SHORT, BALANCED, TEMPERED)
DEFAULT_AGAINST = (*TEACH_AGAINST, NEW_ONLY, REPLAY, FILTER)
DEFAULT_LENGTHS = (0.4, 0.55, 0.75, 1.0)
DEFAULT_ARMS = ("rs2", "official", "default", "auto")
_OWN_NAMES = (FULL, SHORT, *CONTROLS)  # no names for policies
NOTHING_KNOWN = Known()
_SAME_FOR_ALL = ("batch_size", "seed", "bucket")


class Policy(msgspec.Struct, frozen=True):
    """A way to teach: a preset of ``Plan`` and the fields to change in it, as text and TOML give them or typed."""

    preset: str
    fields: dict[str, Any] = {}


class Arm(msgspec.Struct, frozen=True):
    """What an arm is: ``full`` at a share of the epochs, ``short`` at a policy's cost, a ``policy`` or a ``control``.

    ``of``: the policy that a short arm or a control is held against.
    """

    name: str
    kind: str
    plan: dict[str, Any]
    length: float | None = None
    note: str | None = None
    of: str | None = None

    @property
    def folder(self) -> str:
        """Where its jobs are kept: a control's by its policy, as it is another one's once arms are added."""
        if self.of is None:
            return self.name
        return f"{self.name if self.kind == CONTROL else SHORT}-{self.of}"


class Question(NamedTuple):
    """What is asked of a referee, everything checked that can be without a learner. See `attent.judge`.

    ``suggested``: plan fields, by the recipe. ``defaults``: of its options. ``grid``: values to try by option; None: it
    is tuned. ``teach``: the policies are taught for their own sake: they go first, what every arm learnt is kept, and
    they are taught also where nothing can be concluded. ``metric_of``: of which distribution the main metric is, as the
    recipe says; None: it does not.
    """

    recipe: str
    policies: dict[str, Policy | Plan]
    epochs: int
    batch_size: int
    lengths: list[float]
    against: tuple[str, ...] = DEFAULT_AGAINST
    forward_share: float | None = None
    suggested: Mapping[str, Any] = {}
    options: Mapping[str, Any] = {}
    defaults: Mapping[str, Any] = {}
    grid: dict[str, list[Any]] | None = None
    grid_is_default: bool = False
    seeds: int = 1
    first_seed: int = 0
    budget_seconds: float | None = None
    backend: str | None = None
    versions: Mapping[str, str] = {}
    checkpoint_seconds: float = 30.0
    segment_steps: int | None = None
    teach: bool = False
    metric_of: str | None = None


def plans_of(
    question: Question, *, n: int, batch_size: int, seed: int, known: Known = NOTHING_KNOWN
) -> dict[str, tuple[Plan, Arm]]:
    """Return plan and description of every arm by name: longest full training, policies, short, controls, lengths.

    ``known``: of the learner. Raises PlanError for an arm that cannot be built.

    Example:
        >>> from attent.judging.arms import Question, plans_of, read_policies
        >>> question = Question("mine", read_policies(["default"]), 6, 10, [0.5, 1])
        >>> made = plans_of(question, n=100, batch_size=10, seed=0)
        >>> {name: plan.cost(100).examples_trained for name, (plan, arm) in made.items()}
        {'full': 600, 'default': 360, 'short': 360, 'full-0.5': 300}
    """
    policies, against, suggested = question.policies, question.against, question.suggested
    forward_share = 1 / 3 if question.forward_share is None else question.forward_share
    settings: dict[str, Any] = {"epochs": question.epochs, "batch_size": batch_size, "seed": seed}
    suggested = {**suggested, "bucket": _bucket_of(policies, suggested)}
    base = preset_plan(FULL, settings, suggested).plan
    made: dict[str, tuple[Plan, Arm]] = {}

    def add(name: str, kind: str, plan: Plan, **further: Any) -> None:
        told = {key: value for key, value in plan.to_dict().items() if key != "seed"}
        made[name] = (plan, Arm(name, kind, told, **further))

    def add_full(length: float) -> None:
        add(full_name(length), FULL, on_all(base, n, length * question.epochs * n), length=length)

    lengths = sorted(question.lengths, reverse=True) if FULL in against else []
    for length in lengths[:1]:
        add_full(length)
    for name, policy in policies.items():
        plan, note = policy_plan(name, policy, suggested=suggested, **settings)
        add(name, POLICY, plan, note=note)
    *before, last = policies
    several_short = SHORTS in against
    for name in (last, *(before if several_short else ())) if several_short or SHORT in against else ():
        plan = short_plan(made[name][0], n, forward_share)
        if all(plan != earlier for earlier, arm in made.values() if arm.kind == SHORT):
            own = SHORT if name == last else f"{SHORT}-{name}"
            scored = made[name][0].cost(n).examples_scored
            share = f", a scored one counted as {forward_share:.2g} of a trained one" if scored else ""
            add(own, SHORT, plan, note=f"all examples at the cost of {name}{share}", of=name)
    for control in asked_controls(against):
        for name, plan, how in controls_of(control, made[last][0], n, known):
            add(name, CONTROL, plan, note=f"at the cost of {last}, its examples drawn {how}", of=last)
    for length in lengths[1:]:
        add_full(length)
    return made


def _bucket_of(policies: Mapping[str, Policy | Plan], suggested: Mapping[str, Any]) -> int | None:
    """Return what all arms have as ``bucket``: what a plan among them says, or else the recipe. Raises PlanError."""
    said = {plan.bucket: name for name, plan in policies.items() if isinstance(plan, Plan) and plan.bucket is not None}
    if len(said) > 1:
        told = ", ".join(f"{value} in {name!r}" for value, name in said.items())
        raise PlanError(f"bucket is the same for all arms, got {told}")
    return next(iter(said), suggested.get("bucket"))


def alike(made: Mapping[str, tuple[Plan, Arm]], n: int) -> dict[str, str]:
    """Return for each arm that trains like another that one's name; it is not run twice.

    A policy or a control that trains like full training gives way to it, which the curve needs. Policies count as
    alike only where their plans are equal: what they decide while they run is not in a timeline.

    Example:
        >>> from attent.judging.arms import Question, alike, plans_of, read_policies
        >>> question = Question("mine", read_policies(["mine:full"]), 2, 5, [0.5, 1], ("full",))
        >>> alike(plans_of(question, n=20, batch_size=5, seed=0), 20)
        {'mine': 'full'}
    """
    twins: dict[str, str] = {}
    rank = {FULL: 0, SHORT: 1}
    order = sorted(made, key=lambda name: rank.get(made[name][1].kind, 2))
    for place, name in enumerate(order):
        plan, arm = made[name]
        for other in order[:place]:
            earlier, its = made[other]
            on_all_both = POLICY not in (arm.kind, its.kind)
            if other not in twins and (plan == earlier or (on_all_both and same_training(plan, earlier, n))):
                twins[name] = other
                break
    return twins


def read_policies(arms: Iterable[str] | Mapping[str, Any]) -> dict[str, Policy | Plan]:
    """Return policies by arm name, from preset names, ``NAME:preset,field=value,...``, or tables or plans by name.

    Raises PlanError naming the arm and what is wrong with it.

    Example:
        >>> from attent.judging.arms import read_policies
        >>> read_policies(["official", "greedy:default,ratio=0.2,select=hard"])["greedy"]
        Policy(preset='default', fields={'ratio': 0.2, 'select': 'hard'})
    """
    policies: dict[str, Policy | Plan] = {}
    items = arms.items() if isinstance(arms, Mapping) else [named_arm(_text(given)) for given in arms]
    for name, given in items:
        own = name in _OWN_NAMES or name.startswith(tuple(f"{one}-" for one in (FULL, SHORT, *SEVERAL)))
        if own or not re.fullmatch(r"\w[\w.-]*", name):
            raise PlanError(
                f"an arm's name must be letters, digits, '_', '-' and '.', and not {', '.join(_OWN_NAMES)}, "
                f"got {name!r}"
            )
        if name in policies:
            raise PlanError(f"arm {name!r} is named twice: give one of them another name")
        policies[name] = given if isinstance(given, Plan) else _policy(name, given)
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
    preset, *settings = _split(words)
    table: dict[str, Any] = {"preset": preset.strip()}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key.strip():
            raise PlanError(f"arm {name!r}: fields read field=value, separated by commas, got {setting!r}")
        table[key.strip()] = _from_text(value.strip())
    return name, table


def policy_plan(
    name: str, policy: Policy | Plan, *, epochs: int, batch_size: int, seed: int, suggested: Mapping[str, Any]
) -> tuple[Plan, str | None]:
    """Return a policy's plan, and in words what had to be adapted. Raises PlanError naming the arm.

    Example:
        >>> from attent.judging.arms import Policy, policy_plan
        >>> plan, note = policy_plan("o", Policy("official"), epochs=12, batch_size=8, seed=0, suggested={})
        >>> note
        '3 cycles instead of 10, which would need 31 epochs'
    """
    if isinstance(policy, Plan):
        return dataclasses.replace(policy, batch_size=batch_size, seed=seed, bucket=suggested.get("bucket")), None
    values = {"epochs": epochs, "batch_size": batch_size, "seed": seed, **policy.fields}
    notes = []
    if policy.preset == "official" and "cycles" not in values:
        cycles = values["cycles"] = min(10, max(1, (epochs - 1) // 3))
        if cycles < 10:
            notes.append(f"{cycles} cycle{'s' * (cycles > 1)} instead of 10, which would need 31 epochs")
    if policy.preset == "auto" and "epochs" not in policy.fields:
        values["epochs"] = max(1, int(0.6 * epochs + 0.5))
        notes.append(f"given {values['epochs']} of {epochs} epochs, since it spends all that it is given")
    try:
        made = preset_plan(policy.preset, values, suggested)
    except PlanError as error:
        raise PlanError(f"arm {name!r}: {error}") from error
    notes += [made.note] if made.note is not None else []
    return made.plan, "; ".join(notes) or None


def checked_lengths(lengths: Iterable[float]) -> list[float]:
    """Return the lengths, ascending. Raises PlanError for one that is no share of the epochs, and for none.

    Example:
        >>> from attent.judging.arms import checked_lengths
        >>> checked_lengths((1, 0.5))
        [0.5, 1]
    """
    rule = "a share of the epochs in (0, 10]"
    given = several("lengths", lengths, "[0.5, 1]")
    found = sorted({number("a length", length, 0, 10, open_below=True, rule=rule) for length in given})
    for one, other in itertools.pairwise(found):
        if full_name(one) == full_name(other):
            raise PlanError(f"lengths must differ in their first three digits, got {one!r} and {other!r}")
    if not found:
        raise PlanError("lengths must be at least one share of the epochs, such as 1, got none")
    return found


def checked_against(name: object) -> str:
    """Return what policies are held against by its name: one of `AGAINST`, or ``replay-SHARE``. Raises PlanError.

    Example:
        >>> from attent.judging.arms import checked_against
        >>> checked_against("short"), checked_against("replay-.50")
        ('short', 'replay-0.5')
    """
    share = fixed_share(name) if isinstance(name, str) else None
    return one_of("against", name, AGAINST) if share is None else f"{REPLAY}-{share:g}"


def full_name(length: float) -> str:
    """Return the name of full training at a length: ``full``, ``full-0.4``."""
    return FULL if length == 1 else f"{FULL}-{length:.3g}"


def _split(words: str) -> list[str]:
    """Return the parts of a text between commas, but not those within brackets, as of cosine(0.2, 0.8)."""
    parts, depth = [""], 0
    for letter in words:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth <= 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _text(given: object) -> str:
    if not isinstance(given, str):
        raise PlanError(f"an arm must be a preset's name or NAME:preset,field=value,..., got {checks.shown(given)}")
    return given


def _policy(name: str, given: object) -> Policy:
    if isinstance(given, Policy):
        given = {"preset": given.preset, **given.fields}
    table = {"preset": given} if isinstance(given, str) else dict(given) if isinstance(given, Mapping) else {}
    wanted = str(table.pop("preset", "default"))
    try:
        preset = preset_of(wanted)
    except PlanError as error:
        raise PlanError(
            f"arm {name!r}: preset {error.rule}; a policy of your own reads NAME:preset,field=value"
        ) from None
    known = fields_of(preset)
    for key in table:
        if key in _SAME_FOR_ALL:
            raise PlanError(f"arm {name!r}: {key} is the same for all arms")
        if key not in known:
            allowed = ", ".join(one for one in known if one not in _SAME_FOR_ALL)
            raise PlanError(f"arm {name!r}: {key} is no field of a plan; known: {allowed}")
    return Policy(preset, table)


def _from_text(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):  # no TOML
        return text
