"""A pytest plugin that runs the Python blocks of Markdown files and the examples of docstrings."""

import doctest
from pathlib import Path

from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser
from sybil.parsers.rest import DocTestParser

ROOT = str(Path(__file__).resolve().parent.parent)
guides = Sybil(path=ROOT, parsers=[PythonCodeBlockParser(), SkipParser()], patterns=["*.md"])
docstrings = Sybil(path=ROOT, parsers=[DocTestParser(doctest.ELLIPSIS)], patterns=["*.py"])
pytest_collect_file = (guides + docstrings).pytest()
