"""The hooks a plugin may implement. Entry-point group ``attent``; the entry point's name is the plugin's.

A plugin is a module with some of these functions, each marked with ``attent.hookimpl``. Keep its imports
light: name heavy things as ``"module:function"`` and they are imported only when used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pluggy

hookspec = pluggy.HookspecMarker("attent")
hookimpl = pluggy.HookimplMarker("attent")


# Precisions; weights per example; padded sequences; losses per token; several weighted tasks.
ABILITIES = ("float64", "float32", "weights", "lengths", "next-token", "tasks")


class Backend(NamedTuple):
    """One framework's way to be taught.

    name: of the backend, equal to the entry point's. learner: ``"module:class"`` of its learner.
    packages: distributions whose versions a run records. reference: ``"module:function"`` of a function with
    the signature of ``attent.reference.NumpyLearner`` that returns the same learner on this framework, which
    is what `attent-conformance` examines. abilities: what that function can do, out of `ABILITIES`; what is
    left out is skipped, visibly.
    """

    name: str
    learner: str
    packages: tuple[str, ...] = ()
    reference: str | None = None
    abilities: tuple[str, ...] = ABILITIES


@hookspec
def attent_backend() -> Backend:  # type: ignore[empty-body]
    """Return the backend that this plugin is."""


@hookspec
def attent_recipes() -> Mapping[str, str]:  # type: ignore[empty-body]
    """Return recipes by name, each as ``"module:function"``."""


@hookspec
def attent_selections() -> Mapping[str, Callable[..., Any]]:  # type: ignore[empty-body]
    """Return selections by name, each of the form of ``attent.choosing.SelectionFunction``."""


@hookspec
def attent_schedules() -> Mapping[str, Callable[..., Any]]:  # type: ignore[empty-body]
    """Return schedule makers by name: ``maker(*numbers)`` returns a callable of progress in [0, 1]."""


@hookspec
def attent_listeners() -> Mapping[str, Callable[..., Any]]:  # type: ignore[empty-body]
    """Return listeners by name: each is called with an ``attent.Progress`` as a run goes on."""
