"""The command line: ``attent teach``, ``plan``, ``judge``, ``report``, ``diff`` and ``backends``."""

from attent.cli.app import main

__all__ = ["main"]
