"""The NumPy reference learner as a plugin, reached by the same entry point as any other backend."""

from __future__ import annotations

from attent.plugins import Backend, hookimpl


@hookimpl
def attent_backend() -> Backend:
    """Return the backend."""
    learner = "attent.reference.learner:NumpyLearner"
    return Backend("numpy", learner, ("numpy",), reference=learner)


@hookimpl
def attent_recipes() -> dict[str, str]:
    """Return the recipes."""
    return {
        "vit-digits": "attent.reference.recipes:vit_digits",
        "known-digits": "attent.reference.recipes:known_digits",
        "byte-gpt": "attent.reference.recipes:byte_gpt",
    }
