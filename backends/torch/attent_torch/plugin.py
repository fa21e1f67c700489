"""The PyTorch backend as a plugin. Importing this imports no PyTorch."""

from __future__ import annotations

from attent import Backend, hookimpl


@hookimpl
def attent_backend() -> Backend:
    """Return the backend."""
    return Backend(
        "torch",
        "attent_torch:TorchLearner",
        ("torch",),
        reference="attent_torch:reference_learner",
        workers="attent_torch.reference_teaching:reference_workers",
    )


@hookimpl
def attent_recipes() -> dict[str, str]:
    """Return the recipes."""
    return {"vit-digits": "attent_torch.recipes:vit_digits", "byte-gpt": "attent_torch.recipes:byte_gpt"}
