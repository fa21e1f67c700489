"""From what a user gave to a run that can start: everything is checked here, and nothing is written."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from attent.cli import recipe_lookup
from attent.cli.arms import arm_plans, names_against
from attent.cli.fields import OptionError
from attent.cli.given import Given, Option
from attent.cli.judge_settings import FILE as JUDGE_FILE
from attent.cli.plan_making import make_plan
from attent.cli.recipe_options import default_of, kept_options, read_options
from attent.cli.settings import FILE, Settings, must_stay, read_settings, settle
from attent.errors import TraceError
from attent.learner import Learner, checked_length
from attent.plan.cost import same_training
from attent.plan.plan import Plan


@dataclasses.dataclass
class Job:
    """A run ready to start or to go on.

    ``alike`` names, for each arm that would train like an earlier one and so is not run, that one.
    ``learner`` is the taught arm's, built already where n had to be found out. ``folder`` is None where
    the default one is still to be made.
    """

    folder: Path | None
    settings: Settings
    found: recipe_lookup.Found
    options: dict[str, Any]
    plans: dict[str, Plan]
    alike: dict[str, str]
    learner: Learner | None

    @property
    def versions(self) -> dict[str, str]:
        """The versions of the backend's packages."""
        return {name: importlib.metadata.version(name) for name in self.found.backend.packages}


def prepare(given: Given, *, resume: bool) -> Job:
    """Check everything that is asked for and return what is to be run.

    With ``resume`` and a folder that holds a run, what is not given comes from it. Raises AttentError
    in one line that names the flag or key at fault.
    """
    folder, stored = _folder_of(given, resume)
    settings = settle(given, stored)
    against = names_against(settings.against, given.shown("run", "against"))
    found = recipe_lookup.find(settings.backend, settings.recipe)
    options = _options(found, given, stored)
    plan = make_plan(settings.plan, found.suggested, given)
    if stored is not None and plan != (before := make_plan(stored.plan, found.suggested, given)):
        for key, value in given.plan.items():
            must_stay(given.shown("plan", key), value, stored.plan.get(key, before.to_dict().get(key)))
    learner = None
    if stored is None:
        learner = recipe_lookup.build(found, plan, options)
        settings = msgspec.structs.replace(settings, n=checked_length(learner))
    plans, alike = _distinct(arm_plans(plan, settings.n, against, settings.forward_share), settings.n)
    return Job(
        folder,
        msgspec.structs.replace(settings, options=kept_options(options)),
        found,
        options,
        plans,
        alike,
        learner,
    )


def _folder_of(given: Given, resume: bool) -> tuple[Path | None, Settings | None]:
    named = given.run.get("folder")
    if named is None:
        if resume:
            raise OptionError("--resume needs the run folder: attent teach --resume FOLDER")
        return None, None
    folder = Path(str(named))
    stored = read_settings(folder)
    if stored is not None and not resume:
        raise TraceError(f"{folder} holds a run already: add --resume to go on with it, or name another folder")
    if stored is None and (folder / JUDGE_FILE).exists():
        how = f"attent judge --resume {shlex.quote(str(folder))}"
        raise TraceError(f"{folder} is a folder of `attent judge`: go on with it by {how}, or name another folder")
    if stored is None and resume and "recipe" not in given.run:
        raise TraceError(f"no run to go on with in {folder}: it has no {FILE}")
    if stored is None and any(path.exists() for path in (folder / "run.json", *folder.glob("*/run.json"))):
        raise TraceError(f"{folder} holds a run that `attent teach` did not begin: name another folder")
    return folder, stored


def _options(found: recipe_lookup.Found, given: Given, stored: Settings | None) -> dict[str, Any]:
    before = {key: Option(value, text=False) for key, value in (stored.options if stored else {}).items()}
    options = read_options(found.name, found.function, {**before, **given.options}, given)
    if stored is not None:
        for key in given.options:
            now = kept_options({key: options[key]})[key]
            was = stored.options.get(key, default_of(found.function, key))
            must_stay(given.shown("recipe", key), now, was)
    return options


def _distinct(plans: Mapping[str, Plan], n: int) -> tuple[dict[str, Plan], dict[str, str]]:
    kept: dict[str, Plan] = {}
    alike: dict[str, str] = {}
    for name, plan in plans.items():
        twin = next((other for other in kept if same_training(kept[other], plan, n)), None)
        if twin is None:
            kept[name] = plan
        else:
            alike[name] = twin
    return kept, alike
