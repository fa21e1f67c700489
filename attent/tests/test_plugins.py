"""Plugins: listed without imports, loaded one by one, broken ones named, none in another's way."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import numpy as np
import pytest

import attent
from attent import plugins
from attent.cli import recipe_lookup
from attent.tests.toy import Toy


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return a function that installs a plugin: an importable module behind an entry point."""
    monkeypatch.syspath_prepend(str(tmp_path))
    plugins._loaded.cache_clear()

    def add(name, code, module=None, distribution=None):
        module = module or f"plugin_{name}"
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(code))
        info = tmp_path / f"{distribution or module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution or module}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[attent]\n{name} = {module}\n")

    yield add
    plugins._loaded.cache_clear()
    for module in [m for m in sys.modules if m.startswith("plugin_")]:
        del sys.modules[module]


GOOD = """
import dataclasses
import numpy as np
import attent

@dataclasses.dataclass(frozen=True)
class Lowest:
    skip: int = 0

    def choose(self, scores, k, noise, ids):
        chosen = np.sort(np.argsort(scores, kind="stable")[self.skip : self.skip + k])
        return chosen if ids is None else ids[chosen]

@attent.hookimpl
def attent_policies():
    return {"lowest": Lowest}

@attent.hookimpl
def attent_schedules():
    return {"half_at": lambda at: lambda p: 1.0 if p < at else 0.5}
"""


def test_a_plugin_adds_a_policy_with_parameters_of_its_own_and_a_schedule(install):
    install("good", GOOD)
    for text, skip in (("lowest", 0), ("lowest(skip=3)", 3), ("Lowest(1)", 1)):
        plan = attent.Plan(epochs=3, batch_size=4, warm_up=1, select=text, ratio=0.25)
        order = np.argsort(Toy(8).data ** 2, kind="stable")
        trace = attent.teach(Toy(8), plan)
        assert trace.ids(1).tolist() == sorted(order[skip : skip + 2].tolist())
        assert trace.header.plan["select"] == (f"lowest(skip={skip})" if skip else "lowest()")
        assert attent.Plan.from_dict(plan.to_dict()) == plan
        assert attent.Plan.from_dict({**plan.to_dict(), "select": {"name": "lowest", "skip": skip}}) == plan
    read = attent.Plan.from_dict({"epochs": 4, "batch_size": 1, "ratio": "half_at(0.5)"})
    assert [r.ratio for r in read.rounds()] == [1.0, 1.0, 0.5, 0.5]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "highest",
            "no policy 'highest'; known: hard, soft, random, band, infobatch, in_turn, auto, per_cost, balanced, tempered, by_group, lowest",
        ),
        ("lowest(slip=3)", "policy 'lowest': got an unexpected keyword argument 'slip'; it takes: skip"),
        ("lowest(1, 2)", "policy 'lowest': too many positional arguments; it takes: skip"),
    ],
)
def test_a_plugins_policy_misnamed_is_told(install, text, words):
    install("good", GOOD)
    with pytest.raises(attent.PlanError) as error:
        attent.Plan(epochs=1, batch_size=1, select=text)
    assert (error.value.field, words in error.value.rule) == ("select", True), error.value


@pytest.mark.parametrize("name", ["hard", "Hard"])
def test_a_plugin_takes_no_name_of_a_built_in_policy(install, name):
    install("good", GOOD.replace('"lowest"', f'"{name}"'))
    for text in ("hard", "Hard()"):
        plan = attent.Plan(epochs=1, batch_size=1, select=text)
        assert (plan.select, plan.to_dict()["select"]) == (attent.Hard(), "hard()")
    given = plugins.gather("attent_policies")[name]()
    assert attent.Plan.from_dict(attent.Plan(epochs=1, batch_size=1, select=given).to_dict()).select == given


def test_listing_imports_nothing(install):
    install("loud", "raise RuntimeError('imported')")
    names = [plugin.name for plugin in plugins.listed()]
    assert "loud" in names
    assert "numpy" in names
    assert "plugin_loud" not in sys.modules


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import missing_framework", r"'bad' \(plugin_bad of plugin_bad 1.0\) cannot be imported: ModuleNotFoundError"),
        ("def f(:", "cannot be imported: SyntaxError"),
        (
            "import attent\n@attent.hookimpl\ndef attent_backends(): pass",
            "unknown hook 'attent_backends'; known: attent_backend, ",
        ),
        ("import attent\n@attent.hookimpl\ndef attent_backend(device): pass", "device"),
        ("def attent_backend(): pass", "attent_backend is not marked with attent.hookimpl"),
    ],
    ids=["import", "syntax", "misspelt", "argument", "unmarked"],
)
def test_a_broken_plugin_is_named_and_harms_no_other(install, code, words):
    install("bad", code)
    install("good", GOOD)
    with pytest.raises(attent.PluginError, match=words):
        plugins.load("bad")
    assert plugins.gather("attent_policies").keys() == {"lowest"}
    assert plugins.backend("numpy").learner == "attent.reference.learner:NumpyLearner"
    assert list(plugins.problems()) == ["bad"]


def test_two_of_one_name_are_refused(install):
    install("good", GOOD)
    install("good", GOOD, module="plugin_other")
    with pytest.raises(
        attent.PluginError, match="'good' is there twice: plugin_good of plugin_good 1.0 and plugin_other"
    ):
        plugins.load("good")
    assert plugins.backend("numpy").name == "numpy"


def test_two_policies_of_one_name_are_refused(install):
    install("good", GOOD)
    install("twin", GOOD)
    with pytest.raises(attent.PluginError, match="'lowest' is given by plugins 'good' and 'twin'"):
        plugins.gather("attent_policies")


def test_what_is_not_there_or_no_backend_is_named(install):
    install("good", GOOD)
    with pytest.raises(attent.PluginError, match=r"no backend 'mlx'. Installed: (?!.*\bgood\b).*\bnumpy\b"):
        plugins.backend("mlx")  # a plugin that is no backend is not offered
    with pytest.raises(attent.PluginError, match="plugin 'good' is no backend"):
        plugins.backend("good")
    install("liar", "import attent\n@attent.hookimpl\ndef attent_backend(): return attent.Backend('other', 'm:c')")
    with pytest.raises(attent.PluginError, match="calls itself 'other'"):
        plugins.backend("liar")
    install("raiser", "import attent\n@attent.hookimpl\ndef attent_backend(): return 1 / 0")
    with pytest.raises(attent.PluginError, match="'raiser': attent_backend raised ZeroDivisionError"):
        plugins.backend("raiser")


@pytest.mark.parametrize(
    ("field", "value"), [("packages", "'torch'"), ("packages", "('torch', 3)"), ("abilities", "'weights'")]
)
def test_a_backend_that_names_one_text_for_many_is_told(install, field, value):
    install(
        "one",
        f"import attent\n@attent.hookimpl\ndef attent_backend(): return attent.Backend('one', 'm:c', {field}={value})",
    )
    with pytest.raises(
        attent.PluginError, match=f"plugin 'one': {field} of its backend must be a tuple of texts, got "
    ):
        plugins.backend("one")


WITHOUT = """
import attent

@attent.hookimpl
def attent_backend():
    return attent.Backend("without", "plugin_without_learner:L", ("none", "such"), reference="plugin_without_learner:f")

@attent.hookimpl
def attent_recipes():
    return {"digits": "plugin_without_learner:f"}
"""


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("import none_such", "No module named 'none_such'"),
        ("raise ImportError('libnone.so: undefined symbol')", "libnone.so: undefined symbol"),
    ],
    ids=["missing", "broken"],
)
def test_a_backend_whose_framework_is_missing_or_broken_is_named(install, tmp_path, code, fault):
    install("without", WITHOUT)
    (tmp_path / "plugin_without_learner.py").write_text(code)
    with pytest.raises(
        attent.RecipeError, match=f"recipe 'digits': importing plugin_without_learner failed: .*{fault}"
    ) as e:
        recipe_lookup.find("without", "digits")
    assert e.value.__notes__ == [
        "Backend 'without' needs none, such; other backends work without. See: attent backends"
    ]
    assert plugins.backend("without").packages == ("none", "such")
    assert plugins.problems() == {}
    assert recipe_lookup.find("numpy", "vit-digits").backend.name == "numpy"


FRAMEWORKS = ("torch", "jax", "tensorflow", "keras", "typer", "rich")


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import attent", (*FRAMEWORKS, "numpy", "pluggy")),
        ("import attent; [getattr(attent, name) for name in attent.__all__]", FRAMEWORKS),
        ("from attent import plugins, hookimpl, Backend; plugins.listed()", (*FRAMEWORKS, "numpy")),
        ("import attent.cli", (*FRAMEWORKS, "numpy")),
    ],
)
def test_importing_is_light(code, absent):
    script = f"import sys; {code}; print([m for m in {absent!r} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr


def test_every_public_name_is_there():
    assert sorted(attent.__all__) == dir(attent)
    assert attent._MODULE_OF.keys() == set(attent.__all__)
    for name in attent.__all__:
        assert getattr(attent, name).__doc__
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        attent.nothing  # noqa: B018
