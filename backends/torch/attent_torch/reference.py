"""The reference network of `attent.reference` as a PyTorch module: same parameters, same function."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from attent.errors import LearnerError
from attent.reference import Architecture, Parameters, parameter_shapes
from attent_torch.losses import token_mean

_NORM_EPSILON = 1e-5


class ReferenceNetwork(nn.Module):
    """A pre-norm transformer that classifies sequences or predicts each next token.

    With x = embedding + position, each block adds attention(norm1(x)) and then down(gelu(up(norm2(x))));
    a final norm and a linear head follow. "classify" takes the mean over positions between the two;
    "next-token" lets no position see a later one. Parameters have the names and shapes of
    `attent.reference.parameter_shapes` and the values of ``parameters``, in ``dtype``.

    Raises LearnerError where names or shapes differ.

    Example:
        >>> import torch
        >>> from attent.reference import Architecture, initial_parameters
        >>> from attent_torch import ReferenceNetwork
        >>> a = Architecture("classify", length=16, outputs=10, patch=4)
        >>> network = ReferenceNetwork(a, initial_parameters(a, seed=0))
        >>> network(torch.zeros(2, 16, 4)).shape
        torch.Size([2, 10])
    """

    def __init__(self, architecture: Architecture, parameters: Parameters, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        width, hidden = architecture.width, architecture.hidden
        self.architecture = architecture
        if architecture.vocabulary is None:
            self.embed: nn.Module = _Affine(architecture.patch or 0, width)
        else:
            self.embed = nn.Embedding(architecture.vocabulary, width)
        self.position = nn.Parameter(torch.empty(architecture.length, width))
        causal = architecture.kind == "next-token"
        self.blocks = nn.ModuleList(
            _Block(width, hidden, architecture.heads, causal=causal) for _ in range(architecture.depth)
        )
        self.norm = _Norm(width)
        self.head = _Affine(width, architecture.outputs)
        self.to(dtype)
        self._load(parameters)

    def forward(self, inputs: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """Return logits: (b, outputs) for "classify", (b, T, outputs) for "next-token".

        ``inputs``: (b, T) int64 token ids, or (b, T, p) numbers of the parameters' dtype. ``lengths``: (b,)
        integer, 1 <= length <= T; what lies behind is padding, which no position sees.
        """
        valid = None if lengths is None else token_mask(inputs[:, :, 0] if inputs.ndim == 3 else inputs, lengths)
        x = self.embed(inputs) + self.position
        for block in self.blocks:
            x = block(x, valid)
        x = self.norm(x)
        if self.architecture.kind == "classify":
            x = x.mean(1) if valid is None else (x * valid[:, :, None]).sum(1) / valid.sum(1, keepdim=True)
        logits: torch.Tensor = self.head(x)
        return logits

    def parameters_as_arrays(self) -> Parameters:
        """Return copies of the parameters, by name, in the order of `attent.reference.parameter_shapes`."""
        own = dict(self.named_parameters())
        return {name: own[name].detach().cpu().numpy().copy() for name in parameter_shapes(self.architecture)}

    def _load(self, parameters: Parameters) -> None:
        shapes = parameter_shapes(self.architecture)
        if list(parameters) != list(shapes) and set(parameters) != set(shapes):
            wrong = sorted(set(parameters) ^ set(shapes))
            raise LearnerError(f"parameters do not fit the architecture: {', '.join(wrong)} missing or too many")
        for name, parameter in self.named_parameters():
            if parameters[name].shape != shapes[name]:
                raise LearnerError(f"'{name}' must have shape {shapes[name]}, got {parameters[name].shape}")
            parameter.data.copy_(torch.from_numpy(np.ascontiguousarray(parameters[name])))


def reference_loss(model: nn.Module, batch: Any) -> torch.Tensor:
    """Return each example's loss in nats, shape (B,): cross-entropy, for "next-token" its mean over own tokens.

    ``batch`` is (inputs, targets) or (inputs, targets, lengths); targets are (B,) or, for "next-token", (B, T).
    """
    inputs, targets, *rest = batch
    lengths = rest[0] if rest else None
    logits = model(inputs, lengths)
    if targets.ndim == 1:
        return F.cross_entropy(logits, targets, reduction="none")
    losses = token_losses(logits, targets)
    return losses.mean(1) if lengths is None else token_mean(losses, token_mask(targets, lengths))


def task_losses(model: nn.Module, batch: Any) -> dict[str, torch.Tensor]:
    """Return each task's cross-entropy (B,) by the task's number, from logits that the tasks share.

    ``batch`` is (inputs, targets) or (inputs, targets, lengths); targets are (B, tasks).
    """
    inputs, targets, *rest = batch
    return by_task(model(inputs, rest[0] if rest else None), targets)


def by_task(logits: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return each task's cross-entropy (B,) by its number: logits (B, outputs), targets (B, tasks)."""
    columns = enumerate(targets.unbind(1))
    return {str(task): F.cross_entropy(logits, column, reduction="none") for task, column in columns}


def token_losses(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return each token's cross-entropy: logits (B, T, outputs), targets (B, T), result (B, T)."""
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view(targets.shape)


def token_mask(targets: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
    """Return which tokens are no padding: bool (B, T); all where ``lengths`` is None."""
    if lengths is None:
        return torch.ones_like(targets, dtype=torch.bool)
    return torch.arange(targets.shape[1], device=targets.device) < lengths[:, None]


class _Affine(nn.Module):
    """y = x @ weight + bias, with weight (inputs, outputs): nn.Linear keeps its weight transposed."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, outputs))
        self.bias = nn.Parameter(torch.empty(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.weight.t(), self.bias)


class _Norm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.empty(width))
        self.shift = nn.Parameter(torch.empty(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(x, self.scale.shape, self.scale, self.shift, _NORM_EPSILON)


class _Block(nn.Module):
    def __init__(self, width: int, hidden: int, heads: int, *, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.norm1 = _Norm(width)
        self.query, self.key, self.value, self.out = (_Affine(width, width) for _ in range(4))
        self.norm2 = _Norm(width)
        self.up, self.down = _Affine(width, hidden), _Affine(hidden, width)

    def forward(self, x: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
        normed = self.norm1(x)
        query, key, value = (
            part(normed).unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        mask = None
        if valid is not None:
            mask = valid[:, None, None, :]
            if self.causal:
                mask = mask & torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).tril()
        mixed = F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=self.causal and mask is None
        )
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        y: torch.Tensor = x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))
        return y
