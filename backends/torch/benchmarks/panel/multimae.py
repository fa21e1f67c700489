"""A small multi-modal masked autoencoder (after MultiMAE, Bachmann et al. 2022): few patches seen, the others predicted."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from panel.block import Block

PATCH = 8  # pixels along each side of a patch
PLACES = 16  # patches of an image of 32 pixels by 32, and of each other map of it
LEVELS = 4  # of a label map
_PIXELS = PATCH**2
_SEEN_NUMBERS = {"rgb": 3 * _PIXELS, "edges": _PIXELS, "labels": LEVELS * _PIXELS}
MODALITIES = tuple(_SEEN_NUMBERS)
TOKENS = len(MODALITIES) * PLACES


class MaskedAutoencoder(nn.Module):
    """Patches of each modality, (B, 16, numbers), and which of the 48 are seen, to predictions for all of them.

    The encoder reads only the seen ones; one shallow decoder reads its output and a token for each one not seen.
    """

    def __init__(self, *, depth: int, width: int, decoder_width: int) -> None:
        super().__init__()
        self.read = nn.ModuleDict({name: nn.Linear(size, width) for name, size in _SEEN_NUMBERS.items()})
        self.place = nn.Parameter(torch.randn(TOKENS, width) * 0.02)
        self.encoder = nn.Sequential(
            *(Block(width, width // 16, causal=False) for _ in range(depth)), nn.LayerNorm(width)
        )
        self.passed_on = nn.Linear(width, decoder_width)
        self.unseen = nn.Parameter(torch.randn(TOKENS, decoder_width) * 0.02)
        self.decoder = nn.Sequential(
            Block(decoder_width, decoder_width // 16, causal=False), nn.LayerNorm(decoder_width)
        )
        self.write = nn.ModuleDict({name: nn.Linear(decoder_width, size) for name, size in _SEEN_NUMBERS.items()})

    def features(self, colours: torch.Tensor) -> torch.Tensor:
        """Return what the encoder makes of an image of which it reads all colours and nothing else, (B, 16, width)."""
        features: torch.Tensor = self.encoder(self.read["rgb"](colours) + self.place[:PLACES])
        return features

    def forward(self, patches: Mapping[str, torch.Tensor], seen: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the predictions by modality, (B, 16, numbers). ``seen``: token numbers (B, seen)."""
        tokens = torch.cat([self.read[name](patches[name]) for name in MODALITIES], 1) + self.place
        memory = self.passed_on(self.encoder(tokens.gather(1, _index(seen, tokens))))
        stream = self.unseen.expand(len(seen), -1, -1)
        stream = stream.scatter_add(1, _index(seen, memory), memory)
        parts = self.decoder(stream).split(PLACES, 1)
        return {name: self.write[name](part) for name, part in zip(MODALITIES, parts, strict=True)}


def _index(places: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    return places[:, :, None].expand(-1, -1, tokens.shape[-1])
