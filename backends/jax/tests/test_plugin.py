"""The backend is found without JAX being imported, and its recipes teach from the command line."""

import subprocess
import sys
from pathlib import Path

from attent_jax.plugin import attent_backend, attent_recipes


def test_nothing_heavy_is_imported_before_it_is_used():
    code = (
        "import sys, attent_jax, attent_jax.plugin as p; p.attent_backend(), p.attent_recipes(); "
        "assert not {'jax', 'numpy', 'optax', 'flax', 'equinox'} & set(sys.modules), sorted(sys.modules); "
        "from attent_jax import JaxLearner; assert not {'flax', 'equinox'} & set(sys.modules); "
        "assert JaxLearner.__module__ == 'attent_jax.learner' and 'from_nnx' in dir(attent_jax)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_it_offers():
    backend = attent_backend()
    assert (backend.name, backend.learner) == ("jax", "attent_jax:JaxLearner")
    assert backend.reference == "attent_jax:reference_learner"
    assert attent_recipes() == {
        "vit-digits": "attent_jax.recipes:vit_digits",
        "byte-gpt": "attent_jax.recipes:byte_gpt",
    }


def test_teaching_from_the_command_line(tmp_path):
    attent = Path(sys.executable).with_name("attent")
    command = [attent, "teach", "vit-digits", "--backend", "jax", "--epochs", "2", "--against", "none"]
    command += ["--run", tmp_path / "run"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "run").rglob("run.json"))
