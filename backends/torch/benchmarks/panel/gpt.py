"""A byte-level GPT with learned positions, and the loss of language models."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from panel.block import Block

BYTES = 256


class ByteGPT(nn.Module):
    """Logits of each next byte, (B, T, 256), of ``length`` bytes (B, T)."""

    def __init__(self, length: int, *, depth: int, width: int, heads: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(BYTES, width)
        self.position = nn.Parameter(torch.zeros(length, width))
        self.blocks = nn.Sequential(*(Block(width, heads, causal=True) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, BYTES, bias=False)
        for table in (self.embedding.weight, self.position, self.head.weight):
            nn.init.normal_(table, std=0.02)

    def forward(self, text: torch.Tensor, since: int = 0) -> torch.Tensor:
        """Return the logits of all places, or of those from ``since``."""
        return self.head(self.norm(self.blocks(self.embedding(text) + self.position)[:, since:]))


def next_byte_losses(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
    """Return the mean loss of each window (B, length + 1), in nats per byte: shape (B,)."""
    logits = model(batch[:, :-1])
    return F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten(), reduction="none").view(len(batch), -1).mean(1)
