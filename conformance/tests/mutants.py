"""Backends that are broken in one way each: NumPy's learner with a single fault. The files beside this one hold them."""

import mutants_around
import mutants_fifth
import mutants_float32
import mutants_fourth
import mutants_optimisers
import mutants_refusals
import mutants_scoring
import mutants_second
import mutants_steps
import mutants_third
import mutants_training
import mutants_used
from mutant_registry import MUTANTS

__all__ = ["MUTANTS"]

FILES = (
    mutants_around,
    mutants_fifth,
    mutants_float32,
    mutants_fourth,
    mutants_optimisers,
    mutants_refusals,
    mutants_scoring,
    mutants_second,
    mutants_steps,
    mutants_third,
    mutants_training,
    mutants_used,
)
