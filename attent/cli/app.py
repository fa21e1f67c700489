"""The commands, thin: each reads its arguments and calls a function. Those bring NumPy and are imported when called."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Annotated, Any

import typer

from attent.cli import given as asked
from attent.cli.fields import JUDGE_FIELDS, PLAN_FIELDS, RUN_FIELDS
from attent.cli.flags import INTERRUPTED, ends_plainly, flags

app = typer.Typer(
    name="attent",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)
_RUN_FLAGS = {name: field for name, field in RUN_FIELDS.items() if name != "recipe"}
_JUDGE_FLAGS = {name: field for name, field in JUDGE_FIELDS.items() if name != "recipe"}
_PLAN_COMMAND_FLAGS = {name: RUN_FIELDS[name] for name in ("backend", "forward_share")}

RecipeName = Annotated[
    str | None, typer.Argument(metavar="RECIPE", help="A backend's recipe, or package.module:function.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="An option of the recipe; may be repeated."),
]
Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="TOML with tables [plan], [recipe], [run]; flags win over it."),
]
JudgeConfig = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE", help="TOML with tables [judge], [recipe], [tune], [arms.NAME]; flags win over it."
    ),
]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, or of one of its arms.")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"attent {importlib.metadata.version('attent')}")
        raise typer.Exit


@app.callback()
def attent(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Show the version and exit.")
    ] = False,
) -> None:
    """Train attention models on the examples they have not understood yet."""


@app.command()
@ends_plainly
@flags(run=_RUN_FLAGS, plan=PLAN_FIELDS)
def teach(
    run: dict[str, Any],
    plan: dict[str, Any],
    recipe: RecipeName = None,
    config: Config = None,
    settings: Settings = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with the run in --run, or in the folder given in place of RECIPE."),
    ] = False,
) -> None:
    """Teach a recipe, compare with full data, and say what was saved.

    As many epochs on all examples, and full data at the same cost, are run beside it; see --against.

    Ctrl-C stops it where it can go on from; a second one stops it at once.
    """
    from attent.cli.teach_command import teach

    if resume and recipe is not None and "folder" not in run:
        run, recipe = {**run, "folder": recipe}, None
    if not teach(_given(recipe, config, run, plan, settings), resume=resume):
        raise typer.Exit(INTERRUPTED)


@app.command("plan")
@ends_plainly
@flags(run=_PLAN_COMMAND_FLAGS, plan=PLAN_FIELDS)
def plan_(
    run: dict[str, Any],
    plan: dict[str, Any],
    recipe: RecipeName = None,
    n: Annotated[int | None, typer.Option("--n", metavar="N", help="Number of examples, in place of a recipe.")] = None,
    config: Config = None,
    settings: Settings = None,
) -> None:
    """Show what a plan does and costs. Nothing is trained."""
    from attent.cli.plan_command import show_plan

    show_plan(_given(recipe, config, run, plan, settings), n)


@app.command()
@ends_plainly
@flags(run=_JUDGE_FLAGS)
def judge(
    run: dict[str, Any],
    recipe: RecipeName = None,
    own: Annotated[
        list[str] | None,
        typer.Option("--arm", metavar="NAME:PRESET,FIELD=VALUE,...", help="A policy of your own; may be repeated."),
    ] = None,
    tune: Annotated[
        list[str] | None,
        typer.Option("--tune", metavar="OPTION=V,V", help="Values of an option for the grid; may be repeated."),
    ] = None,
    config: JudgeConfig = None,
    settings: Settings = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on in --run, or in the folder given in place of RECIPE.")
    ] = False,
) -> None:
    """Say whether teaching pays on a recipe, by arms over paired seeds against the curve of full training.

    First tunes full training on a small grid (--tuned skips it). Every cost counts. Writes judge.json and report.md.

    Ctrl-C stops it where it can go on from; a second one stops it at once.
    """
    from attent.cli.judge_command import judge_recipe
    from attent.cli.judge_settings import judge_file, judge_flags

    if recipe is not None:
        run = {**run, "folder": recipe} if resume and "folder" not in run else {**run, "recipe": recipe}
    asked = judge_flags(run, settings or (), own or (), tune or ())
    if config is not None:
        asked = asked.over(judge_file(config))
    if not judge_recipe(asked, resume=resume):
        raise typer.Exit(INTERRUPTED)


@app.command()
@ends_plainly
def report(run: RunFolder) -> None:
    """Show what a run taught and how its arms compare."""
    from attent.cli.report_command import show_report

    show_report(run)


@app.command()
@ends_plainly
def diff(
    first: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
    second: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of another.")],
) -> None:
    """Show where two runs first teach something else.

    The exit code is 1 if they do, 0 if they teach the same.
    """
    from attent.cli.report_command import show_difference

    if show_difference(first, second):
        raise typer.Exit(1)


@app.command()
@ends_plainly
def backends() -> None:
    """Show the installed backends and their recipes."""
    from attent.cli.backends_command import show_backends

    show_backends()


def _given(
    recipe: str | None,
    config: Path | None,
    run: dict[str, Any],
    plan: dict[str, Any],
    settings: list[str] | None,
) -> asked.Given:
    if recipe is not None:
        run = {"recipe": recipe, **run}
    given = asked.from_flags(plan, run, settings or ())
    return given if config is None else given.over(asked.from_file(config))
