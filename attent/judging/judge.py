"""``attent.judge``: tunes the full-data baseline, runs all arms over paired seeds, and says whether teaching pays."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attent.checks import FINITE, flag, number, several, shown, whole
from attent.errors import PlanError, RecipeError
from attent.judging.arms import (
    DEFAULT_AGAINST,
    DEFAULT_ARMS,
    DEFAULT_LENGTHS,
    Question,
    checked_against,
    checked_lengths,
    read_policies,
)
from attent.judging.judgement import Judgement
from attent.judging.referee import Ready, Referee, Tell, Watch
from attent.judging.tuning import BATCH_SIZE, grid_of
from attent.learner import checked_learner
from attent.plan.timeline import MOST_FORWARD_SHARE
from attent.plugins import Recipe

SEEDS, SEEDS_WITH_BUDGET = 5, 20
MOST_SEEDS = 1000  # their plans are laid out before the first is run


def judge(
    recipe: Recipe,
    *,
    arms: Iterable[str] | Mapping[str, Any] | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    lengths: Iterable[float] = DEFAULT_LENGTHS,
    against: Iterable[str] = DEFAULT_AGAINST,
    options: Mapping[str, Any] | None = None,
    tuned: bool = False,
    tune: Mapping[str, Sequence[Any]] | None = None,
    batch_sizes: Sequence[int] | None = None,
    seeds: int | None = None,
    first_seed: int | None = None,
    budget_seconds: float | None = None,
    forward_share: float | None = None,
    run: str | Path | None = None,
    name: str | None = None,
    backend: str | None = None,
    versions: Mapping[str, str] | None = None,
    stop: Callable[[], bool] = lambda: False,
    tell: Tell | None = None,
    watch: Watch | None = None,
    ready: Ready = lambda n, arms: None,
    checkpoint_seconds: float = 30.0,
    segment_steps: int | None = None,
    teach: bool = False,
) -> Judgement:
    """Say whether teaching pays on a recipe, against full training at equal quality, and with what certainty.

    Args:
        recipe: a function from a plan (and options) to a fresh learner with ``evaluate``; see ``attent.recipe``.
        arms: the policies: names of presets, ``NAME:preset,field=value,...``, or by name a preset, a table
            with ``preset`` and plan fields, or a plan. None: rs2, official, default and auto.
        epochs: of full training; None: what the recipe suggests.
        batch_size: of all arms; None: what the recipe suggests. Tuning may change it.
        lengths: shares of the epochs for which full training is run too, each with a schedule of its own.
        against: what policies are held against, some of ``full`` (at all ``lengths``), ``short`` (all examples at the
            cost of the last policy; it belongs to the curve: where policies are, the curve is measured and not only
            interpolated), ``shorts`` (of every policy), and controls at the cost of the last policy: ``random``, and
            where the learner has ``groups``, ``balanced`` and ``tempered``; where it has ``new_groups`` too,
            ``new-only``, ``replay``, whose share of what is new is the best of a few on a seed that is not judged, and
            ``replay-0.25`` or any other share; where it has a ``relevance`` to a target, ``filter`` (see
            `attent.judging.controls`).
        options: of the recipe, the same in all arms.
        tuned: the recipe is tuned already: no grid of it is run.
        tune: values to try by option. With neither this nor ``batch_sizes``: half, once and twice the learning
            rate, half and the whole batch size.
        batch_sizes: batch sizes to try.
        seeds: up to 1,000 pairs of equal initial weights and data order; None: what the recipe suggests, else 5, or
            with a budget up to 20.
        first_seed: they count up from it; None: what the recipe suggests, or 0.
        budget_seconds: of wall time; decides how many seeds, and at worst how many lengths, are run.
        forward_share: cost of scoring an example over training on it; None: measured, else 1/3.
        run: folder to keep everything in and to go on from; None keeps it in memory alone.
        name: of the recipe, recorded.
        backend: recorded.
        versions: of the packages the learner runs on, recorded.
        stop: asked after every lesson; once it says True, what has finished is judged.
        tell: called with a line whenever something has finished.
        watch: called with every job that begins; what it returns is called with a ``Progress`` after every lesson.
        ready: called with n and the arms' names once everything has been checked, before anything is spent.
        checkpoint_seconds: as in ``attent.teach``.
        segment_steps: as in ``attent.teach``.
        teach: the policies are taught for their own sake: they go first, the last checkpoint of every arm is kept, one
            seed is enough, and they are taught also where nothing can be concluded: without held-out data, or with
            fewer than two costs of full training.

    Raises:
        PlanError: an arm, a length or a number is impossible. RecipeError: no such option, or no learner.
            LearnerError: no held-out data, or a broken contract. TraceError: the folder is of another judgement.

    Example:
        >>> import attent
        >>> from attent.reference.recipes import vit_digits
        >>> found = attent.judge(vit_digits, arms=["default"], epochs=2, lengths=[0.5, 1], tuned=True, seeds=1)
        >>> found.verdict.startswith("On vit-digits, default saves")
        True
    """
    if not callable(recipe):
        raise RecipeError(
            f"recipe must be a function from a plan to a learner, got {shown(recipe)}; names are for the command "
            "line: attent judge RECIPE"
        )
    suggested = dict(getattr(recipe, "plan_defaults", {}))
    named = name or getattr(recipe, "__name__", "recipe").replace("_", "-")
    found = {"epochs": epochs, "batch_size": batch_size}
    for key, value in found.items():
        found[key] = suggested.get(key) if value is None else value
        if found[key] is None:
            option = "--" + key.replace("_", "-")
            raise PlanError(f"{key} ({option}) is needed, as recipe {named!r} suggests no value: give it a number")
    options = dict(options or {})
    grid = grid_of(flag("tuned", tuned), tune, batch_sizes)
    if arms is not None and not isinstance(arms, Mapping):
        arms = several("arms", arms, "['default', 'auto']")
    if budget_seconds is not None:
        number("budget_seconds", budget_seconds, 0, FINITE, open_below=True)
    if forward_share is not None:
        number("forward_share", forward_share, 0, MOST_FORWARD_SHARE)
    if run is not None and not isinstance(run, str | Path):
        raise PlanError(f"must be a folder's name, got {shown(run)}", field="run")
    if seeds is None and budget_seconds is not None:
        seeds = SEEDS_WITH_BUDGET
    elif seeds is None:
        seeds = getattr(recipe, "seeds", None) or (1 if teach else SEEDS)
    _check_options(named, recipe, [*options, *(key for key in grid or {} if key != BATCH_SIZE)])
    question = Question(
        recipe=named,
        backend=backend,
        options=options,
        suggested=suggested,
        defaults=_defaults(recipe),
        policies=read_policies(DEFAULT_ARMS if arms is None else arms),
        epochs=whole("epochs", found["epochs"], 1),
        batch_size=whole("batch_size", found["batch_size"], 1),
        lengths=checked_lengths(lengths),
        against=tuple(map(checked_against, several("against", against, "['full', 'short']"))),
        grid=grid,
        grid_is_default=not tuned and tune is None and batch_sizes is None,
        seeds=whole("seeds", seeds, 1, MOST_SEEDS),
        first_seed=suggested.get("seed", 0) if first_seed is None else whole("first_seed", first_seed, 0),
        budget_seconds=budget_seconds,
        forward_share=forward_share,
        versions=dict(versions or {}),
        checkpoint_seconds=number("checkpoint_seconds", checkpoint_seconds, 0, FINITE),
        segment_steps=None if segment_steps is None else whole("segment_steps", segment_steps, 1),
        teach=flag("teach", teach),
        metric_of=getattr(recipe, "metric_of", None),
    )
    return Referee(
        question,
        lambda plan, options: checked_learner(named, recipe(plan, **options)),
        folder=None if run is None else Path(run),
        stop=stop,
        tell=tell or (lambda line: None),
        ready=ready,
        watch=watch,
    ).judge()


def seconds_of(text: str) -> float:
    """Return a duration such as ``90s`` (or ``90``), ``10m`` or ``1.5h`` in seconds. Raises PlanError for another form.

    Example:
        >>> from attent.judging.judge import seconds_of
        >>> seconds_of("10m")
        600.0
    """
    match = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*([smh]|min|)", text.strip())
    if match is None or not float(match[1]) > 0:
        raise PlanError(f"budget must be a time above 0 such as 90s, 10m or 1.5h, got {text!r}")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600}[match[2]]


def _defaults(recipe: Recipe) -> dict[str, Any]:
    parameters = list(inspect.signature(recipe).parameters.values())[1:]
    return {one.name: one.default for one in parameters if one.default is not one.empty}


def _check_options(name: str, recipe: Recipe, given: Iterable[str]) -> None:
    parameters = list(inspect.signature(recipe).parameters.values())[1:]
    if any(one.kind is one.VAR_KEYWORD for one in parameters):
        return
    known = [one.name for one in parameters]
    for key in given:
        if key not in known:
            raise RecipeError(f"recipe {name!r} has no option {key!r}; known: {', '.join(known) or 'none'}")
