"""attent where PyTorch users already train: in loops of their own and in trainers."""
