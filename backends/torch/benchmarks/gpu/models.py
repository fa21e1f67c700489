"""The models that are trained: a small one on digits, a ViT-S on made-up images, a Llama of 135M parameters with LoRA."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from attent.data import digits
from attent.reference import Architecture, initial_parameters
from attent_torch import ReferenceNetwork, TorchLearner, cross_entropy, reference_loss, token_mean
from gpu.part import Setting


class Work(NamedTuple):
    """A model on the device, its data there, the loss of each example, and the batch size. ``told``: what it is."""

    told: str
    model: nn.Module
    data: tuple[torch.Tensor, ...]
    loss: Callable[[nn.Module, Any], torch.Tensor]
    batch_size: int
    learning_rate: float = 1e-4

    def optimizer(self) -> torch.optim.Optimizer:
        """Return AdamW over what is trained."""
        return torch.optim.AdamW([p for p in self.model.parameters() if p.requires_grad], self.learning_rate)

    def learner(self, **settings: Any) -> TorchLearner:
        """Return a learner with an optimiser of its own."""
        return TorchLearner(
            self.model, self.data, self.loss, self.optimizer(), score_batch_size=self.batch_size, **settings
        )


def small(setting: Setting, *, dtype: torch.dtype = torch.float32, on: str | None = None) -> Work:
    """Return a vision transformer on 8x8 digits, from the same first parameters each time; data lie ``on`` a device."""
    given = digits()
    patches = given.x_train.reshape(-1, 4, 2, 4, 2).transpose(0, 1, 3, 2, 4).reshape(-1, 16, 4) / 16.0
    n = 192 if setting.tiny else len(patches)
    shape = Architecture("classify", length=16, outputs=10, patch=4, width=64, depth=2, hidden=128)
    model = ReferenceNetwork(shape, initial_parameters(shape, seed=0), dtype).to(setting.device)
    where = setting.device if on is None else on
    data = (
        torch.from_numpy(patches[:n]).to(where, dtype),
        torch.from_numpy(given.y_train[:n].astype(np.int64)).to(where),
    )
    return Work("a small vision transformer on digits", model, data, cross_entropy, 64, 3e-3)


def vit(setting: Setting) -> Work:
    """Return a ViT-S (22M parameters) on 64x64 made-up images in patches of 8x8, batches of 256."""
    n, batch_size = (16, 8) if setting.tiny else (256 * 24, 256)
    size: dict[str, int] = {"depth": 1, "width": 48} if setting.tiny else {"depth": 12, "width": 384}
    heads, hidden = (2, 96) if setting.tiny else (6, 1536)
    shape = Architecture("classify", length=64, outputs=100, patch=192, heads=heads, hidden=hidden, **size)
    model = ReferenceNetwork(shape, initial_parameters(shape, seed=0)).to(setting.device)
    draw = torch.Generator(setting.device).manual_seed(0)
    x = torch.randn(n, 64, 192, device=setting.device, generator=draw)
    y = torch.randint(100, (n,), device=setting.device, generator=draw)
    return Work(f"ViT-S, {_millions(model)}, {n} images", model, (x, y), cross_entropy, batch_size)


def llama(setting: Setting) -> Work:
    """Return a Llama of SmolLM2-135M's shape with random weights and LoRA, on made-up tokens of unequal length.

    Without transformers or peft, a plain transformer of the same depth, width and vocabulary, trained whole.
    """
    n, length, batch_size = (8, 8, 4) if setting.tiny else (192, 256, 16)
    depth, vocabulary = (1, 512) if setting.tiny else (30, 49152)
    draw = torch.Generator().manual_seed(0)
    tokens = torch.randint(vocabulary, (n, length + 1), generator=draw)
    lengths = torch.randint(length // 2, length + 1, (n,), generator=draw)
    data = tuple(part.to(setting.device) for part in (tokens[:, :-1].clone(), tokens[:, 1:].clone(), lengths))
    try:
        model = _lora(setting, depth, vocabulary)
        told = "Llama of SmolLM2-135M's shape with LoRA"
        return Work(f"{told}, {_millions(model)}, {n} of {length} tokens", model, data, causal_loss, batch_size)
    except ImportError as missing:
        told = f"plain transformer trained whole, as there is no {missing.name}"
    shape = Architecture(
        "next-token", length=length, outputs=vocabulary, vocabulary=vocabulary, width=576, heads=9, depth=depth,
        hidden=2048,
    )  # fmt: skip
    plain = ReferenceNetwork(shape, initial_parameters(shape, seed=0)).to(setting.device)
    return Work(f"{told}, {_millions(plain)}, {n} of {length} tokens", plain, data, reference_loss, batch_size)


def causal_loss(model: nn.Module, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Return each example's mean cross-entropy over its own tokens: shape (B,)."""
    inputs, targets, lengths = batch
    mask = torch.arange(inputs.shape[1], device=inputs.device) < lengths[:, None]
    # Without an attention mask, which transformers would look at on the host: padding comes last, no token sees it.
    logits = model(input_ids=inputs, use_cache=False).logits
    losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view(targets.shape)
    return token_mean(losses, mask)


def _lora(setting: Setting, depth: int, vocabulary: int) -> nn.Module:
    from peft import LoraConfig, get_peft_model  # these two take seconds to import
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=576, intermediate_size=1536, num_hidden_layers=depth, num_attention_heads=9,
        num_key_value_heads=3, max_position_embeddings=8192, rms_norm_eps=1e-5, tie_word_embeddings=True,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    adapters = LoraConfig(r=16, lora_alpha=32, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"])
    model = get_peft_model(LlamaForCausalLM(config), adapters).to(setting.device)
    model.train()
    return model


def _millions(model: nn.Module) -> str:
    every = list(model.parameters())
    trained = sum(p.numel() for p in every if p.requires_grad) / 1e6
    whole = sum(p.numel() for p in every) / 1e6
    return f"{whole:.1f}M parameters" + ("" if trained == whole else f" ({trained:.1f}M trained)")
