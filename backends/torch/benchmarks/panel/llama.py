"""A small Llama-style decoder on bytes (RMSNorm, rotary positions, SwiGLU), and low-rank adapters for it."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

BYTES = 256
_ROTARY_BASE = 10_000.0


class Rotary(nn.Module):
    """Turns each pair of a head's numbers by an angle that grows with the position: (B, heads, T, head width)."""

    def __init__(self, head_width: int, length: int) -> None:
        super().__init__()
        speeds = _ROTARY_BASE ** (-torch.arange(0, head_width, 2) / head_width)
        angles = torch.arange(length)[:, None] * speeds
        self.register_buffer("cosine", angles.cos(), persistent=False)
        self.register_buffer("sine", angles.sin(), persistent=False)

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        """Return the numbers, turned."""
        length = numbers.shape[-2]
        first, second = numbers.chunk(2, -1)
        cosine, sine = self.cosine[:length], self.sine[:length]
        return torch.cat([first * cosine - second * sine, first * sine + second * cosine], -1)


class Layer(nn.Module):
    """Causal attention and a SwiGLU perceptron, each added to the stream of (B, T, width)."""

    def __init__(self, width: int, heads: int, length: int) -> None:
        super().__init__()
        self.heads, hidden = heads, 8 * width // 3
        self.norm_attention, self.norm_hidden = nn.RMSNorm(width), nn.RMSNorm(width)
        self.query, self.key, self.value, self.output = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.gate, self.up = (nn.Linear(width, hidden, bias=False) for _ in range(2))
        self.down = nn.Linear(hidden, width, bias=False)
        self.rotary = Rotary(width // heads, length)

    def forward(self, stream: torch.Tensor) -> torch.Tensor:
        """Return the stream after this layer."""
        normed = self.norm_attention(stream)
        query, key, value = (
            part(normed).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        attended = F.scaled_dot_product_attention(self.rotary(query), self.rotary(key), value, is_causal=True)
        stream = stream + self.output(attended.transpose(1, 2).flatten(2))
        normed = self.norm_hidden(stream)
        return stream + self.down(F.silu(self.gate(normed)) * self.up(normed))


class ByteLlama(nn.Module):
    """Logits of each next byte, (B, T, 256), of up to ``length`` bytes (B, T)."""

    def __init__(self, length: int, *, depth: int, width: int, heads: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(BYTES, width)
        self.layers = nn.Sequential(*(Layer(width, heads, length) for _ in range(depth)))
        self.norm, self.head = nn.RMSNorm(width), nn.Linear(width, BYTES, bias=False)
        nn.init.normal_(self.embedding.weight, std=0.02)
        nn.init.normal_(self.head.weight, std=0.02)

    def forward(self, text: torch.Tensor, since: int = 0) -> torch.Tensor:
        """Return the logits of all places, or of those from ``since``."""
        return self.head(self.norm(self.layers(self.embedding(text))[:, since:]))


class LowRank(nn.Module):
    """A frozen linear layer without bias plus a trained change of low rank, which is none at the start (Hu et al. 2021)."""

    def __init__(self, linear: nn.Linear, rank: int, scale: float) -> None:
        super().__init__()
        self.linear, self.scale = linear, scale
        self.down = nn.Parameter(torch.randn(rank, linear.in_features) / math.sqrt(linear.in_features))
        self.up = nn.Parameter(torch.zeros(linear.out_features, rank))

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        """Return the layer's output with the change."""
        # One product with the changed weights: at this width, thin products over all tokens take longer.
        return F.linear(numbers, self.linear.weight + self.scale * (self.up @ self.down))


def with_adapters(model: nn.Module, rank: int, scale: float = 2.0) -> None:
    """Freeze the model and give each of its linear layers a trained change of this rank, in place."""
    model.requires_grad_(False)
    found = [
        (module, name, child)
        for module in model.modules()
        for name, child in module.named_children()
        if isinstance(child, nn.Linear)
    ]
    for module, name, linear in found:
        setattr(module, name, LowRank(linear, rank, scale))
