"""The plugin: an example of an attent backend, for HIPS autograd. Importing this imports no autograd."""

from attent import Backend, hookimpl


@hookimpl
def attent_backend() -> Backend:
    """Return the backend."""
    module = "attent_autograd.learner"
    return Backend("autograd", f"{module}:AutogradLearner", ("autograd",), reference=f"{module}:reference_learner")
