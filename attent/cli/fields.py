"""What can be set by flag or file: one table of fields, and how a value of each is read."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from attent.checks import shown as said
from attent.errors import AttentError

Kind = Literal["whole", "number", "schedule", "policy", "word", "names", "numbers", "switch"]
Value = Any
"""As kept in a run folder: schedules as text, ``inf`` and ``none`` as words, names joined by commas."""


class OptionError(AttentError, ValueError):
    """A flag or a configuration key is unknown, of the wrong kind, or contradicts another."""


class Field(NamedTuple):
    """One thing that can be set: what it takes, in a few words what it is, and its flag's own spelling."""

    kind: Kind
    help: str
    optional: bool = False  # "none" is a value of it
    flag: str = ""
    metavar: str = ""


PLAN_FIELDS: dict[str, Field] = {
    "preset": Field(
        "word",
        "The plan to begin with: auto, default, balanced, rs2, infobatch, paper, official, official-simple or full "
        "(all in every epoch). A recipe's own suggestions count with default; the others take from them only epochs, "
        "batch size, non-finite and seed. Default: auto; default where the recipe or a flag says more than those.",
    ),
    "epochs": Field("whole", "All epochs, warm-up and cool-down included."),
    "batch_size": Field("whole", "Examples per optimiser step."),
    "ratio": Field("schedule", 'Share of the examples taught: 0.4, or a schedule such as "cosine(0.2, 0.8)".'),
    "interval": Field("schedule", 'Epochs for which a selection is kept: 2, or "linear(1, 5)".'),
    "select": Field("policy", "Which examples: hard, soft(temperature=0.3), random, auto, a plugin's or your own."),
    "source": Field("policy", "Where scores come from: reuse(bonus=0.1) (losses of training), fresh, pool(share=0.5)."),
    "warm_up": Field("whole", "Epochs on all examples at the start."),
    "cool_down": Field("whole", "Epochs on all examples at the end."),
    "cycle": Field("whole", "Epochs from one selection to the next, or none: the interval.", optional=True),
    "cycles": Field("whole", "Number of cycles; of the preset official."),
    "keep": Field(
        "number", "By how much what is watched may become worse, or none; of the preset auto.", optional=True
    ),
    "per_cost": Field("switch", "Choose by loss per cost, where the learner has costs; of the preset auto."),
    "reselect": Field("switch", "Select again before every epoch of an interval."),
    "non_finite": Field("word", "What a NaN score means: error, drop or last."),
    "seed": Field("whole", "Of every random choice."),
    "bucket": Field(
        "whole", "Batches sorted by cost at once, so that those of a batch cost alike, or none.", optional=True
    ),
}

RUN_FIELDS: dict[str, Field] = {
    "recipe": Field("word", "A backend's recipe, or package.module:function."),
    "backend": Field("word", "Whose recipes are meant: numpy, or another of `attent backends`."),
    "folder": Field("word", "Folder to keep everything in. Default: runs/RECIPE-N, N the first that is free.",
                    flag="--run", metavar="FOLDER"),
    "arms": Field(
        "names",
        "Policies, separated by commas: presets of Plan such as rs2, official, default, or names that --arm or "
        "the file defines. Default: rs2,official,default,auto.",
    ),
    "against": Field(
        "names",
        "What to run beside what is taught, separated by commas: full (all examples, for all --lengths), short (all "
        "examples, at the cost of the last policy), shorts (of every policy); at its cost random (examples drawn at "
        "random), balanced and tempered (evenly by group, or by the root of its size, where the learner knows groups), "
        "new-only and replay (where it knows which are new; replay-0.25 or another share in place of the best), filter "
        "(what is nearest to a target, where its relevance is known); or none. Default: full,short,balanced,tempered; "
        "of `attent judge` new-only, replay and filter too.",
    ),
    "lengths": Field(
        "numbers",
        "Shares of the epochs for which full training is run, for its curve. Default: 0.4,0.55,0.75,1; of `attent "
        "teach` 1, and for plans that decide as they go 1,1.5,2.",
    ),
    "epochs": Field("whole", "Epochs of full training. Default: the recipe's."),
    "batch_size": Field("whole", "Examples per optimiser step. Default: the recipe's, or what tuning finds."),
    "tuned": Field("switch", "The recipe is tuned already: run no grid of it."),
    "batch_sizes": Field("numbers", "Batch sizes of the tuning's grid. Default: half and the whole batch size."),
    "seeds": Field(
        "whole", "Paired seeds. Default: the recipe's; else 5, or up to 20 with a budget; of `attent teach` 1."
    ),
    "seed": Field("whole", "The first of the seeds; they count up. Default: the recipe's, or 0."),
    "budget": Field("word", "Wall time such as 10m: decides how many seeds, and at worst lengths.", metavar="TIME"),
    "forward_share": Field("number", "Cost of scoring an example over training on it. Default: measured, else 1/3."),
    "checkpoint_seconds": Field("number", "Least seconds between two checkpoints. Default: 30."),
    "segment_steps": Field("whole", "Steps between two looks at progress and Ctrl-C. Default: a second's, up to 64."),
}  # fmt: skip
_NOT_OF_TEACH = ("arms", "epochs", "batch_size", "tuned", "batch_sizes", "seed")  # its plan says some of them
TEACH_FIELDS = {name: field for name, field in RUN_FIELDS.items() if name not in _NOT_OF_TEACH}
JUDGE_FIELDS = RUN_FIELDS
SAME_ON_RESUME = ("recipe", "backend", "epochs", "batch_size", "tuned", "batch_sizes", "seed", "forward_share")

_DIGITS = 1000  # of a whole number; Python reads no more than 4,300
_RULES: dict[Kind, str] = {
    "whole": "a whole number",
    "number": "a number",
    "schedule": "a number or a schedule such as cosine(0.2, 0.8)",
    "policy": "a policy such as soft(temperature=0.3)",
    "word": "a word",
    "names": "names separated by commas",
    "numbers": "numbers separated by commas",
    "switch": "true or false",
}
_METAVARS: dict[Kind, str] = {
    "whole": "N", "number": "NUMBER", "schedule": "SCHEDULE", "policy": "POLICY", "word": "NAME", "names": "NAMES",
    "numbers": "N,N", "switch": "",
}  # fmt: skip


def flag_of(name: str, field: Field) -> str:
    """Return the flag that sets a field.

    Example:
        >>> from attent.cli.fields import PLAN_FIELDS, flag_of
        >>> flag_of("warm_up", PLAN_FIELDS["warm_up"])
        '--warm-up'
    """
    return field.flag or "--" + name.replace("_", "-")


def metavar_of(field: Field) -> str:
    """Return what stands for a field's value in the help."""
    return field.metavar or _METAVARS[field.kind]


def read_value(shown: str, field: Field, value: object, *, text: bool) -> Value:
    """Return a field's value as it is kept, from a flag's text or from a file's value.

    ``shown`` is how the user knows the field. Raises OptionError naming it, the rule and the value.

    Example:
        >>> from attent.cli.fields import PLAN_FIELDS, read_value
        >>> read_value("--epochs", PLAN_FIELDS["epochs"], "12", text=True)
        12
    """
    found = _from_text(field.kind, value) if text and isinstance(value, str) else _from_file(field.kind, value)
    if field.optional and isinstance(value, str) and value.strip().lower() == "none":
        found = "none"
    if found is None:
        rule = _RULES[field.kind] + (", or none" if field.optional else "")
        raise OptionError(f"{shown} must be {rule}, got {said(value)}")
    if isinstance(found, float) and math.isinf(found) and found > 0:
        return "inf"  # JSON has no infinity
    return found


def check_known(where: str, keys: Mapping[str, object], known: Mapping[str, object]) -> None:
    """Raise OptionError for the first key that is not known, naming those that are."""
    for key in keys:
        if key not in known:
            raise OptionError(f"{where}.{key} is not known; known: {', '.join(known) or 'none'}")


def _from_text(kind: Kind, text: str) -> Value | None:
    text = text.strip()
    if kind in ("whole", "number", "schedule"):
        if re.fullmatch(rf"[+-]?\d{{1,{_DIGITS}}}", text):
            return int(text) if kind != "number" else float(text)
        if kind != "whole":
            try:
                return float(text)
            except ValueError:
                return text if kind == "schedule" and text else None
        return None
    if kind == "switch":
        return {"true": True, "false": False}.get(text.lower())
    return text or None


def _from_file(kind: Kind, value: object) -> Value | None:
    if isinstance(value, bool):
        return value if kind == "switch" else None
    if isinstance(value, int):
        return value if kind in ("whole", "number", "schedule") else None
    if isinstance(value, float):
        return value if kind in ("number", "schedule") else None
    if isinstance(value, str) and kind in ("schedule", "policy", "word", "names", "numbers"):
        return value.strip() or None
    if isinstance(value, dict) and kind == "policy":
        return value
    of = {"names": str, "numbers": int | float}.get(kind)
    if isinstance(value, list) and of and all(isinstance(one, of) and not isinstance(one, bool) for one in value):
        return ",".join(map(str, value)) or "none"
    return None
