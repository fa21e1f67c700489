"""Checks of the core and of the plugin: each is caught out by a core or a plugin that is broken."""

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import attent.choose.gumbel
import attent.choose.rules
import attent.choose.scaling
from attent import plugins
from attent.plugins import Backend
from attent.reference import NumpyLearner
from attent_conformance import Subject, examine
from attent_conformance.checks import selection
from attent_conformance.command import main

NUMBER = itertools.count()  # a module is imported once, whatever its file says later
HERE = Path(__file__).parent
CORE = HERE.parents[1] / "attent" / "tests" / "golden"


def failing(rules, subject=None):
    results = examine(subject or Subject("numpy", NumpyLearner, quick=True), rules)
    return {result.check.rule: result.reason for result in results if result.status == "fail"}


def test_the_golden_selections_are_those_of_the_core():
    shipped = HERE.parent / "attent_conformance" / "golden" / "selections.json"
    assert shipped.read_bytes() == (CORE / "selections.json").read_bytes()


def ties_by_chance(values, k):
    order = np.lexsort((np.random.default_rng(1).random(len(values)), -values))
    return np.sort(order[:k])


def test_ties_by_chance_break_s2(monkeypatch):
    monkeypatch.setattr(attent.choose.rules, "top", ties_by_chance)
    assert set(failing("S")) == {"S2"}


def test_a_plain_standard_deviation_breaks_s6(monkeypatch):
    def plain(scores, scaling):
        return scores if scaling == "none" else (scores - scores.mean()) / (scores.std() or 1.0)

    monkeypatch.setattr(selection, "scale", plain)
    assert set(failing("S")) == {"S6"}


def test_another_generator_breaks_s7(monkeypatch):
    monkeypatch.setattr(selection, "raw", lambda noise, start, stop: np.random.default_rng(noise.seed).integers(
        0, 2**64, stop - start, np.uint64))  # fmt: skip
    assert set(failing("S")) == {"S7"}


def test_a_library_logarithm_in_gumbel_noise_breaks_s8(monkeypatch):
    monkeypatch.setattr(selection, "gumbel", lambda bits: -np.log2(-np.log(attent.choose.noise.uniform(bits))))
    assert set(failing("S")) == {"S8"}


def test_a_cut_that_is_off_by_one_breaks_s3(monkeypatch):
    monkeypatch.setattr(attent, "band", lambda scores, k, cap: attent.choose.rules.hard(scores, k))
    assert set(failing("S")) == {"S3"}


def test_a_temperature_without_effect_breaks_s4(monkeypatch):
    true = attent.choose.rules.soft
    monkeypatch.setattr(
        attent, "soft", lambda scores, k, noise, temperature, scaling: true(scores, k, noise, scaling=scaling)
    )
    assert set(failing("S")) == {"S4"}


def plugin(monkeypatch, tmp_path, imports="", **changes):
    """Install a plugin module, and return its subject."""
    name = f"attent_stranger_{next(NUMBER)}"
    backend = Backend("stranger", **{
        "learner": "attent.reference:NumpyLearner", "packages": ("pytest",),
        "reference": "attent.reference:NumpyLearner", **changes,
    })  # fmt: skip
    (tmp_path / f"{name}.py").write_text(
        f"import attent\n{imports}\n@attent.hookimpl\ndef attent_backend():\n    return attent.{backend!r}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    real = plugins.listed()
    monkeypatch.setattr(plugins, "listed", lambda: (*real, plugins.Listed("stranger", name, "stranger 1")))
    return Subject("stranger", NumpyLearner, backend=backend)


def test_a_light_plugin_passes(monkeypatch, tmp_path):
    assert failing("B", plugin(monkeypatch, tmp_path)) == {}


def test_a_plugin_that_imports_its_framework_breaks_b2(monkeypatch, tmp_path):
    found = failing("B", plugin(monkeypatch, tmp_path, "import pytest"))
    assert set(found) == {"B2"}
    assert "pytest imported, expected no framework" in found["B2"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"learner": "attent.reference:Nobody"}, "'attent.reference:Nobody' cannot be imported"),
        ({"reference": "nowhere:learner"}, "'nowhere:learner' cannot be imported: ModuleNotFoundError"),
        ({"packages": ("not-a-package",)}, "the package 'not-a-package'"),
        ({"abilities": ("float64", "float8")}, "the ability 'float8'"),
    ],
)
def test_a_plugin_that_names_what_is_not_there_breaks_b3(changes, told, monkeypatch, tmp_path):
    found = failing("B", plugin(monkeypatch, tmp_path, **changes))
    assert set(found) == {"B3"}
    assert told in found["B3"]


def test_a_plugin_that_calls_itself_another_name_breaks_b1(monkeypatch, tmp_path):
    subject = plugin(monkeypatch, tmp_path, "# liar")
    (path,) = tmp_path.glob("*.py")
    path.write_text(path.read_text().replace("name='stranger'", "name='other'"))
    assert "its backend calls itself 'other'" in failing("B1", subject)["B1"]


def test_a_backend_without_a_reference_is_told_what_to_give(monkeypatch, tmp_path):
    plugin(monkeypatch, tmp_path, "# without", reference=None)
    with pytest.raises(attent.PluginError, match="names no reference learner: .* reference='module:function'"):
        Subject.named("stranger")


FAULTS = {
    "missing": ("import none_such", "cannot be imported: ModuleNotFoundError: No module named 'none_such'"),
    "broken": ("raise OSError('libnone.so: no such file')", "cannot be imported: OSError: libnone.so: no such file"),
}


@pytest.mark.parametrize("what", FAULTS)
def test_a_framework_that_is_missing_or_broken_is_told_and_harms_no_other(monkeypatch, tmp_path, capsys, what):
    code, message = FAULTS[what]
    module = f"framework_{what}"
    (tmp_path / f"{module}.py").write_text(code)
    plugin(monkeypatch, tmp_path, f"# {what}", reference=f"{module}:learner")
    assert main(["stranger"]) == 2
    assert f"attent-conformance: backend 'stranger': '{module}:learner' {message}" in capsys.readouterr().err
    assert main(["numpy", "--rules", "S2"]) == 0


def test_two_backends_of_one_name_are_refused_and_harm_no_other(monkeypatch, tmp_path, capsys):
    plugin(monkeypatch, tmp_path, "# one")
    plugin(monkeypatch, tmp_path, "# two")
    assert main(["stranger"]) == 2
    assert "plugin 'stranger' is there twice: attent_stranger_" in capsys.readouterr().err
    assert main(["numpy", "--rules", "S2"]) == 0


def test_a_misspelt_hook_is_told_and_harms_no_other(monkeypatch, tmp_path, capsys):
    plugin(monkeypatch, tmp_path, "# misspelt")
    (path,) = tmp_path.glob("*.py")
    path.write_text(path.read_text().replace("def attent_backend(", "def attent_backends("))
    assert main(["stranger"]) == 2
    assert "plugin 'stranger' (stranger 1): unknown hook 'attent_backends'" in capsys.readouterr().err
    assert main(["numpy", "--rules", "S2"]) == 0


def test_importing_the_suite_imports_no_framework():
    script = "import attent_conformance, sys; print([m for m in ('torch', 'jax', 'tensorflow') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
