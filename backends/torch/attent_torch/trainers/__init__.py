"""Trainers that own their loop, taught: one module for each library, which must be installed."""
