"""A small vision transformer, and images cut into patches."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from panel.block import Block


class ViT(nn.Module):
    """Classifies (B, places, pixels) by the mean of its places."""

    def __init__(self, pixels: int, places: int, *, width: int, heads: int, depth: int, classes: int) -> None:
        super().__init__()
        self.embed, self.places = nn.Linear(pixels, width), nn.Parameter(0.02 * torch.randn(places, width))
        self.blocks = nn.Sequential(*(Block(width, heads, causal=False) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits: (B, classes)."""
        return self.head(self.norm(self.blocks(self.embed(images) + self.places)).mean(1))


def patches(images: npt.NDArray[np.uint8], side: int) -> torch.Tensor:
    """Return uint8 (n, h, w) or (n, h, w, c) as float32 (n, places, pixels) of squares, each pixel about in [-1, 1]."""
    n, height, width = images.shape[:3]
    squares = images.reshape(n, height // side, side, width // side, side, -1).transpose(0, 1, 3, 2, 4, 5)
    flat = np.ascontiguousarray(squares, np.float32).reshape(n, (height // side) * (width // side), -1)
    return torch.from_numpy(flat / 127.5 - 1)
