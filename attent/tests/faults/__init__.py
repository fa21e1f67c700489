"""Faults on purpose: drawn inputs, flipped bits, killed processes, full disks. ``python -m attent.tests.faults``."""
