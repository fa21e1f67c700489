"""The commands, thin: each reads its arguments and calls a function. Those bring NumPy and are imported when called."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from attent import __version__
from attent.cli import given as asked
from attent.cli.fields import JUDGE_FIELDS, PLAN_FIELDS, RUN_FIELDS, TEACH_FIELDS, Field, flag_of, metavar_of
from attent.errors import AttentError
from attent.tables import wrapped

Command = Callable[..., None]
INTERRUPTED = 130  # the exit code of a program ended by Ctrl-C: 128 + the signal's number
_NEXT = """\
attent teaches a model the examples that it has not understood yet, and says whether that paid.

  attent teach known-digits           see it: about a minute, nothing else needed
  attent teach PACKAGE.MODULE:RECIPE  teach your own
  attent judge RECIPE                 does it pay there? several ways, tuned first
  attent plan RECIPE                  what a plan does and costs, before anything runs

`attent --help` lists all commands, `attent teach --help` what can be set."""

app = typer.Typer(
    name="attent",
    invoke_without_command=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def flags(**groups: Mapping[str, Field]) -> Callable[[Command], Command]:
    """Give a command one flag per field; it receives each group as a dict of those that were given."""

    def decorate(command: Command) -> Command:
        def called(**values: Any) -> None:
            taken = {
                group: {name: value for name in fields if (value := values.pop(name)) is not None}
                for group, fields in groups.items()
            }
            command(**values, **taken)

        added = {name: _option(name, field) for fields in groups.values() for name, field in fields.items()}
        return _with_parameters(called, command, leave_out=set(groups), added=added)

    return decorate


def ends_plainly(command: Command) -> Command:
    """Turn attent's own errors into one clear message and exit code 2; ``--debug`` shows where they arose."""

    def called(**values: Any) -> None:
        debug = values.pop("debug")
        try:
            command(**values)
        except AttentError as error:
            if debug:
                raise
            _complain(str(error), error)
            raise typer.Exit(2) from None
        except KeyboardInterrupt as interrupt:
            _complain("stopped at once", interrupt)
            raise typer.Exit(getattr(interrupt, "code", INTERRUPTED)) from None

    debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
    return _with_parameters(called, command, leave_out=set(), added={"debug": (debug, False)})


def _complain(message: str, error: BaseException) -> None:
    for line in [f"attent: {message}", *getattr(error, "__notes__", [])]:
        typer.echo(wrapped(line) if sys.stderr.isatty() else line, err=True)  # in a file a message stays one line


def _option(name: str, field: Field) -> tuple[Any, None]:
    flag = flag_of(name, field)
    if field.kind == "switch":
        return Annotated[bool | None, typer.Option(f"{flag}/--no-{flag[2:]}", help=field.help)], None
    return Annotated[str | None, typer.Option(flag, metavar=metavar_of(field), help=field.help)], None


def _with_parameters(
    called: Command, command: Command, *, leave_out: set[str], added: Mapping[str, tuple[Any, object]]
) -> Command:
    """Return ``called`` looking like ``command`` with other parameters: typer reads them off its signature."""
    signature = inspect.signature(command, eval_str=True)
    kept = [one for one in signature.parameters.values() if one.name not in leave_out]
    kinds = inspect.Parameter.KEYWORD_ONLY
    new = [
        inspect.Parameter(name, kinds, default=default, annotation=annotation)
        for name, (annotation, default) in added.items()
    ]
    functools.update_wrapper(called, command)
    called.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*(one.replace(kind=kinds) for one in kept), *new]
    )
    return called


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
Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Go on with what `attent teach` or `judge` began in --run, or in the folder given as RECIPE.",
    ),
]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, or of one of its arms.")]


def _but_recipe(fields: Mapping[str, Field]) -> dict[str, Field]:
    return {name: field for name, field in fields.items() if name != "recipe"}


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"attent {__version__}")
        raise typer.Exit


@app.callback()
def attent(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Show the version and exit.")
    ] = False,
) -> None:
    """Train attention models on the examples they have not understood yet."""
    if context.invoked_subcommand is None:
        typer.echo(_NEXT)


@app.command()
@ends_plainly
@flags(run=_but_recipe(TEACH_FIELDS), plan=PLAN_FIELDS)
def teach(
    run: dict[str, Any],
    plan: dict[str, Any],
    recipe: RecipeName = None,
    config: Config = None,
    settings: Settings = None,
    resume: Resume = False,
) -> None:
    """Teach a recipe by one plan, compare with training on all examples, and say what was saved.

    That is a judgement of one plan, without tuning: see `attent judge`. Without a plan it is auto, which teaches where
    the losses say that this helps. Ctrl-C stops it where it can go on from; a second one stops it at once.
    """
    given = asked.from_flags(plan, _with_recipe(run, recipe, resume), settings or ())
    _run("teach", given, config, resume)


@app.command()
@ends_plainly
@flags(run=_but_recipe(JUDGE_FIELDS))
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
    resume: Resume = False,
) -> None:
    """Say whether teaching pays on a recipe, by arms over paired seeds against the curve of full training.

    First tunes full training on a small grid (--tuned skips it). Every cost counts. Writes judge.json and report.md.

    Ctrl-C stops it where it can go on from; a second one stops it at once.
    """
    given = asked.from_flags({}, _with_recipe(run, recipe, resume), settings or (), own or (), tune or ())
    _run("judge", given, config, resume)


@app.command("plan")
@ends_plainly
@flags(run={name: RUN_FIELDS[name] for name in ("backend", "forward_share")}, plan=PLAN_FIELDS)
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

    given = asked.from_flags(plan, _with_recipe(run, recipe, False), settings or ())
    show_plan(given if config is None else given.over(asked.from_file(config)), n)


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


def _with_recipe(run: Mapping[str, Any], recipe: str | None, resume: bool) -> dict[str, Any]:
    """Return what is given of the run, with the argument, which of a run that goes on may be its folder."""
    if recipe is None:
        return dict(run)
    return {**run, "folder": recipe} if resume and "folder" not in run else {**run, "recipe": recipe}


def _run(command: Any, given: asked.Given, config: Path | None, resume: bool) -> None:
    from attent.cli.judging_command import run_command

    if config is not None:
        given = given.over(asked.from_file(config, command))
    code = run_command(command, given, resume=resume)
    if code:
        raise typer.Exit(code)
