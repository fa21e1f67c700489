"""The version has one source, so that a checkout on the path works where no distribution is installed."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import attent

ROOT = Path(__file__).parents[2]
UNINSTALLED = """
import importlib.metadata
own = importlib.metadata.distribution
def hidden(name):
    if name.startswith("attent"):
        raise importlib.metadata.PackageNotFoundError(name)
    return own(name)
importlib.metadata.distribution = hidden
import attent
feed = attent.Feed(attent.Plan.full(epochs=1, batch_size=2), 4)
for ids in feed.batches():
    feed.record(1.0 + ids, ids)
assert feed.trace().header.attent == attent.__version__
from attent.cli import main
import sys
sys.argv = ["attent", "--version"]
main()
"""


def test_a_checkout_that_is_not_installed_knows_its_version():
    done = subprocess.run([sys.executable, "-c", UNINSTALLED], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == f"attent {attent.__version__}", done.stderr


def test_the_distributions_version_is_read_from_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert project["project"]["dynamic"] == ["version"]
    source = ROOT / project["tool"]["hatch"]["version"]["path"]
    assert re.search(r'^__version__ = "(.+?)"', source.read_text("utf-8"), re.M)[1] == attent.__version__
