"""The JAX backend as a plugin. Importing this imports no JAX."""

from __future__ import annotations

from attent import Backend, hookimpl


@hookimpl
def attent_backend() -> Backend:
    """Return the backend."""
    return Backend(
        "jax",
        "attent_jax:JaxLearner",
        ("jax", "jaxlib", "optax"),
        reference="attent_jax:reference_learner",
        workers="attent_jax.reference_training:reference_workers",
    )


@hookimpl
def attent_recipes() -> dict[str, str]:
    """Return the recipes."""
    return {"vit-digits": "attent_jax.recipes:vit_digits", "byte-gpt": "attent_jax.recipes:byte_gpt"}
