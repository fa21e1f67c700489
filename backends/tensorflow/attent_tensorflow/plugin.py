"""The TensorFlow backend as a plugin. Importing this imports no TensorFlow."""

from __future__ import annotations

from attent import Backend, hookimpl


@hookimpl
def attent_backend() -> Backend:
    """Return the backend."""
    return Backend(
        "tensorflow",
        "attent_tensorflow:TensorFlowLearner",
        ("tensorflow", "keras"),
        reference="attent_tensorflow:reference_learner",
        workers="attent_tensorflow.reference_teaching:reference_workers",
    )


@hookimpl
def attent_recipes() -> dict[str, str]:
    """Return the recipes."""
    return {"vit-digits": "attent_tensorflow.recipes:vit_digits", "byte-gpt": "attent_tensorflow.recipes:byte_gpt"}
