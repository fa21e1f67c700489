"""A multi-modal masked autoencoder: colours, edges and a label map of an image, each predicted from a few patches of all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import Dataset

import attent
from attent.errors import RecipeError
from attent.plan.plan import Plan
from attent_torch import TorchLearner
from panel.data import images
from panel.multimae import LEVELS, MODALITIES, PATCH, PLACES, TOKENS, MaskedAutoencoder
from panel.probes import class_accuracy, figure, map_error
from panel.training import adamw, seeded

TASK_WEIGHTS = {"rgb": 1.0, "edges": 1.0, "labels": 0.5}
_EVALUATED_TOGETHER = 125
_LUMINANCE = (0.299, 0.587, 0.114)
_SOBEL = ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))


class MaskedImages(Dataset[tuple[dict[str, torch.Tensor], torch.Tensor]]):
    """Each item: an image's patches by modality, and which tokens are seen, drawn anew at every visit.

    The draw is from torch's global generator, which the learner seeds by (seed, step, id), in scoring by
    (seed, id).
    """

    def __init__(self, patches: Mapping[str, torch.Tensor], seen: int) -> None:
        self._patches, self._seen = patches, seen

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._patches["rgb"])

    def __getitem__(self, index: int) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Return one image and one mask."""
        return {name: part[index] for name, part in self._patches.items()}, torch.randperm(TOKENS)[: self._seen]


@attent.recipe(epochs=16, batch_size=32)
def masked_autoencoder(
    plan: Plan,
    *,
    learning_rate: float = 2e-3,
    data: str = "",
    examples: int = 1500,
    held_out: int = 2000,
    probed: int = 5000,
    seen: int = 12,
    depth: int = 2,
    width: int = 64,
    decoder_width: int = 32,
) -> TorchLearner:
    """Pre-train a masked autoencoder on CIFAR images, their edges (Sobel) and a map of four levels of luminance.

    ``seen`` of an image's 48 patches are read, the others predicted. Metrics: the weighted sum of the task losses on
    held-out images, each under one fixed mask; what the frozen encoder's features of
    colours alone are worth to linear probes, fitted on ``probed`` training images: ``probe_accuracy``, of the class
    by the mean of an image's features, and ``figure_error``, of a map that stands in for depth (``probes.figure``) by
    those of each patch; and each task's loss. ``examples``, ``held_out`` and ``probed`` are the most to take.
    """
    if not 1 <= seen < PLACES:
        raise RecipeError(f"seen must be in [1, {PLACES}), so that each task has something to predict, got {seen}")
    for name, asked in (("examples", examples), ("held_out", held_out), ("probed", probed)):
        if asked < 1:
            raise RecipeError(f"{name}, the most images to take, must be at least 1, got {asked}")
    train_images, train_classes, test_images, test_classes = images(data)
    order = torch.Generator().manual_seed(plan.seed)
    train = modalities(train_images[torch.randperm(len(train_images), generator=order)[:examples]])
    test_images, test_classes = test_images[:held_out], test_classes[:held_out]
    probe_images, probe_classes = train_images[:probed], train_classes[:probed]  # the same for every seed
    test, probe_colours = modalities(test_images), modalities(probe_images)["rgb"]
    test_figures, probe_figures = figure(test_images), figure(probe_images)
    masks = torch.rand(len(test["rgb"]), TOKENS, generator=torch.Generator().manual_seed(0)).argsort(1)[:, :seen]
    with seeded(plan.seed):
        model = MaskedAutoencoder(depth=depth, width=width, decoder_width=decoder_width)
    steps = plan.total_steps(len(train["rgb"]))
    optimizer, scheduler = adamw(model.parameters(), learning_rate, steps, weight_decay=0.05)

    def evaluate(model: MaskedAutoencoder) -> dict[str, torch.Tensor]:
        found: dict[str, list[torch.Tensor]] = {name: [] for name in MODALITIES}
        for rows in torch.arange(len(masks)).split(_EVALUATED_TOGETHER):
            losses = task_losses(model, ({name: part[rows] for name, part in test.items()}, masks[rows]))
            for name, values in losses.items():
                found[name].append(values)
        means = {name: torch.cat(values).mean() for name, values in found.items()}
        total = sum(TASK_WEIGHTS[name] * mean for name, mean in means.items())
        known, unknown = (
            torch.cat([model.features(part) for part in colours.split(_EVALUATED_TOGETHER)])
            for colours in (probe_colours, test["rgb"])
        )
        return {
            "loss": total,
            "probe_accuracy": class_accuracy(known.mean(1), probe_classes, unknown.mean(1), test_classes),
            "figure_error": map_error(known, probe_figures, unknown, test_figures),
            **{f"{name}_loss": mean for name, mean in means.items()},
        }

    return TorchLearner(
        model,
        MaskedImages(train, seen),
        task_losses,
        optimizer,
        scheduler,
        task_weights=TASK_WEIGHTS,
        evaluate=evaluate,
        seed=plan.seed,
    )


def modalities(pixels: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the patches of images (n, 3, 32, 32) by modality: (n, 16, numbers).

    Colours and edges are scaled to about zero mean and unit deviation; labels are one number in 4 a pixel, one-hot.
    """
    luminance = (pixels * torch.tensor(_LUMINANCE).view(1, 3, 1, 1)).sum(1, keepdim=True)
    across = torch.tensor(_SOBEL)
    gradients = F.conv2d(F.pad(luminance, (1, 1, 1, 1), "replicate"), torch.stack([across, across.T])[:, None])
    edges = gradients.square().sum(1, keepdim=True).sqrt()
    # Equal shares of an image's pixels in each level, so that the map shows regions of this image.
    ranks = luminance.flatten(1).argsort(1).argsort(1)
    levels = (ranks * LEVELS // ranks.shape[1]).view(-1, 32, 32)
    labels = F.one_hot(levels, LEVELS).permute(0, 3, 1, 2).float()
    return {
        "rgb": _patches((pixels - 0.47) / 0.25),
        "edges": _patches((edges - 0.53) / 0.53),
        "labels": _patches(labels),
    }


def task_losses(model: nn.Module, batch: Any) -> dict[str, torch.Tensor]:
    """Return each task's mean loss over an image's patches that were not seen, (B,): squared error, for labels nats."""
    patches, seen = batch
    predicted = model(patches, seen)
    hidden = torch.ones(len(seen), TOKENS).scatter(1, seen, 0.0).split(PLACES, 1)
    shares = {name: part / part.sum(1, keepdim=True) for name, part in zip(MODALITIES, hidden, strict=True)}
    errors = {name: (predicted[name] - patches[name]).square().mean(-1) for name in ("rgb", "edges")}
    logits, labels = (values.unflatten(-1, (LEVELS, -1)) for values in (predicted["labels"], patches["labels"]))
    errors["labels"] = -(logits.log_softmax(-2) * labels).sum(-2).mean(-1)
    return {name: (errors[name] * shares[name]).sum(1) for name in MODALITIES}


def _patches(maps: torch.Tensor) -> torch.Tensor:
    """Return (n, channels, 32, 32) as (n, 16, channels * 64), row by row."""
    n, channels, side, _ = maps.shape
    blocks = maps.view(n, channels, side // PATCH, PATCH, side // PATCH, PATCH).permute(0, 2, 4, 1, 3, 5)
    return blocks.reshape(n, PLACES, channels * PATCH**2)
