"""attent where JAX users already train: in loops of their own, over steps that they jit."""
