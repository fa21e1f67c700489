"""The plugin: found by its entry point, and light."""

import subprocess
import sys

import attent
from attent_tensorflow import plugin


def test_listing_the_backend_imports_no_tensorflow():
    code = (
        "import sys, attent_tensorflow, attent_tensorflow.plugin as plugin;"
        "plugin.attent_backend(), plugin.attent_recipes(), dir(attent_tensorflow);"
        "sys.exit(any(name in sys.modules for name in ('tensorflow', 'keras')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_entry_point_leads_to_the_learner_and_the_recipes():
    from importlib.metadata import entry_points

    (point,) = entry_points(group="attent", name="tensorflow")
    assert point.load() is plugin
    backend = plugin.attent_backend()
    assert isinstance(backend, attent.Backend)
    assert backend[:3] == ("tensorflow", "attent_tensorflow:TensorFlowLearner", ("tensorflow", "keras"))
    assert backend.reference == "attent_tensorflow:reference_learner"
    assert set(plugin.attent_recipes()) == {"vit-digits", "byte-gpt"}


def test_every_public_name_can_be_had_and_is_no_module():
    import attent_tensorflow
    import attent_tensorflow.recipes

    for name in attent_tensorflow.__all__:
        assert callable(getattr(attent_tensorflow, name)), name
