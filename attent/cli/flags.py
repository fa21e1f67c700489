"""From tables of fields to the flags of a command, and from its errors to exit codes."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

from attent.cli.fields import Field, flag_of, metavar_of
from attent.errors import AttentError

Command = Callable[..., None]
INTERRUPTED = 130  # the exit code of a program ended by Ctrl-C


def flags(**groups: Mapping[str, Field]) -> Callable[[Command], Command]:
    """Give a command one flag per field; it receives each group as a dict of those that were given."""

    def decorate(command: Command) -> Command:
        def wrapped(**values: Any) -> None:
            taken = {
                group: {name: value for name in fields if (value := values.pop(name)) is not None}
                for group, fields in groups.items()
            }
            command(**values, **taken)

        added = {name: _option(name, field) for fields in groups.values() for name, field in fields.items()}
        return _with_parameters(wrapped, command, leave_out=set(groups), added=added)

    return decorate


def ends_plainly(command: Command) -> Command:
    """Turn attent's own errors into one clear message and exit code 2; ``--debug`` shows where they arose."""

    def wrapped(**values: Any) -> None:
        debug = values.pop("debug")
        try:
            command(**values)
        except AttentError as error:
            if debug:
                raise
            typer.echo("\n".join([f"attent: {error}", *getattr(error, "__notes__", [])]), err=True)
            raise typer.Exit(2) from None
        except KeyboardInterrupt as interrupt:
            typer.echo("\n".join(["attent: stopped at once", *getattr(interrupt, "__notes__", [])]), err=True)
            raise typer.Exit(INTERRUPTED) from None

    debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
    return _with_parameters(wrapped, command, leave_out=set(), added={"debug": (debug, False)})


def _option(name: str, field: Field) -> tuple[Any, None]:
    flag = flag_of(name, field)
    if field.kind == "switch":
        return Annotated[bool | None, typer.Option(f"{flag}/--no-{flag[2:]}", help=field.help)], None
    return Annotated[str | None, typer.Option(flag, metavar=metavar_of(field), help=field.help)], None


def _with_parameters(
    wrapped: Command, command: Command, *, leave_out: set[str], added: Mapping[str, tuple[Any, object]]
) -> Command:
    """Return ``wrapped`` looking like ``command`` with other parameters: typer reads them off its signature."""
    signature = inspect.signature(command, eval_str=True)
    kept = [one for one in signature.parameters.values() if one.name not in leave_out]
    kinds = inspect.Parameter.KEYWORD_ONLY
    new = [
        inspect.Parameter(name, kinds, default=default, annotation=annotation)
        for name, (annotation, default) in added.items()
    ]
    functools.update_wrapper(wrapped, command)
    wrapped.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*(one.replace(kind=kinds) for one in kept), *new]
    )
    return wrapped
