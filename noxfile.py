"""All checks. ``nox`` runs them all; ``nox -s core -- -x`` is the fast path, ``nox -R`` reuses environments."""

import nox

nox.options.sessions = ["lint", "core", "torch", "docs"]
nox.options.default_venv_backend = "virtualenv"

CONSTRAINTS = ("-c", ".ci/constraints.txt")
TEST = ("pytest>=8", "hypothesis>=6.100")


def tests(session: nox.Session, *arguments: str) -> None:
    """Run pytest with the session's own arguments last."""
    session.run("python", "-m", "pytest", *arguments, *session.posargs)


@nox.session
def core(session: nox.Session) -> None:
    """The core and the NumPy learner: no framework is installed."""
    session.install(*CONSTRAINTS, *TEST, "-e", ".")
    tests(session, "attent/tests")


@nox.session(python=["3.11", "3.12", "3.13"])
def versions(session: nox.Session) -> None:
    """The core's tests on every Python it supports."""
    session.install(*CONSTRAINTS, *TEST, "-e", ".")
    tests(session, "attent/tests")


@nox.session
def torch(session: nox.Session) -> None:
    """The PyTorch backend."""
    session.install(*CONSTRAINTS, *TEST, "-e", ".", "-e", "backends/torch")
    tests(session, "backends/torch/tests")


@nox.session
def docs(session: nox.Session) -> None:
    """Every example in the README, the guides and the docstrings, executed."""
    session.install(*CONSTRAINTS, *TEST, "sybil>=9", "-e", ".", "-e", "backends/torch")
    tests(
        session,
        "-p",
        "docs.run_examples",
        "--ignore-glob=*/tests/*",
        "README.md",
        "docs",
        "attent",
        "backends/torch/attent_torch",
    )


@nox.session
def lint(session: nox.Session) -> None:
    """Style, docstrings, formatting and types."""
    session.install(*CONSTRAINTS, "ruff==0.17.6", "mypy==2.4.1", "nox", "pytest", "hypothesis", "-e", ".")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")


@nox.session
def bench(session: nox.Session) -> None:
    """Ratios from one process each, sides alternating. Nothing is asserted."""
    session.install(*CONSTRAINTS, "-e", ".", "-e", "backends/torch")
    for name in ("selection", "torch"):
        session.run("python", f"backends/torch/benchmarks/bench_{name}.py", *session.posargs)
