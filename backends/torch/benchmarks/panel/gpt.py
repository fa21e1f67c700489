"""A byte-level GPT: pre-norm blocks, learned positions, causal attention."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

BYTES = 256


class Block(nn.Module):
    """Causal attention and a perceptron, each added to the stream of (B, T, width)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention, self.norm_hidden = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries_keys_values, self.mixed = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, stream: torch.Tensor) -> torch.Tensor:
        """Return the stream after this block."""
        split = self.queries_keys_values(self.norm_attention(stream)).unflatten(-1, (3, self.heads, -1))
        query, key, value = split.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        stream = stream + self.mixed(attended.transpose(1, 2).flatten(2))
        return stream + self.narrow(F.gelu(self.widen(self.norm_hidden(stream)), approximate="tanh"))


class ByteGPT(nn.Module):
    """Logits of each next byte, (B, T, 256), of bytes (B, T)."""

    def __init__(self, length: int, *, depth: int, width: int, heads: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(BYTES, width)
        self.position = nn.Parameter(torch.zeros(length, width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, BYTES, bias=False)
        for table in (self.embedding.weight, self.position, self.head.weight):
            nn.init.normal_(table, std=0.02)

    def forward(self, text: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        return self.head(self.norm(self.blocks(self.embedding(text) + self.position)))


def next_byte_losses(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
    """Return the mean loss of each window (B, length + 1), in nats per byte: shape (B,)."""
    logits = model(batch[:, :-1])
    return F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten(), reduction="none").view(len(batch), -1).mean(1)
