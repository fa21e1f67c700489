"""Texts as bags of parts of words, by their hash, and a small network that reads them."""

from __future__ import annotations

import zlib

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

_BUCKETS = 4096  # of which 0 is none
_GRAM = 4  # letters


def bags(texts: list[str], parts: int = 96) -> torch.Tensor:
    """Return the first words, then runs of four letters, of each text by their hash: int64 (n, parts), 0 is none.

    Example:
        >>> from panel.bags import bags
        >>> bags(["A pin"], 6).tolist() == bags(["a PIN "], 6).tolist()
        True
        >>> (bags(["A pin"], 8) > 0).sum().item()  # two words; " a p", "a pi", " pin", "pin "
        6
    """
    found = np.zeros((len(texts), parts), np.int64)
    for row, text in enumerate(texts):
        text = text.lower().strip()
        spaced = f" {text} "
        grams = [*text.split(), *(spaced[at : at + _GRAM] for at in range(len(spaced) - _GRAM + 1))][:parts]
        found[row, : len(grams)] = [1 + zlib.crc32(gram.encode()) % (_BUCKETS - 1) for gram in grams]
    return torch.from_numpy(found)


class Bag(nn.Module):
    """Outputs (B, outputs) of bags (B, parts): a perceptron on the sum of what its parts are, over their number's root."""

    def __init__(self, outputs: int, width: int = 48) -> None:
        super().__init__()
        self.parts = nn.Embedding(_BUCKETS, width, padding_idx=0)
        nn.init.normal_(self.parts.weight, std=0.3)
        with torch.no_grad():
            self.parts.weight[0] = 0
        self.hidden, self.head = nn.Linear(width, 2 * width), nn.Linear(2 * width, outputs)

    def forward(self, bag: torch.Tensor) -> torch.Tensor:
        """Return the outputs."""
        many = (bag > 0).sum(1, keepdim=True).clamp(min=1)
        return self.head(F.gelu(self.hidden(self.parts(bag).sum(1) / many.sqrt())))
