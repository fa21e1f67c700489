"""What a frozen encoder's features are worth: linear probes, solved in closed form, of what it was not trained for."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from panel.multimae import PATCH

CELL = 4  # pixels along each side of a cell of the figure map
PENALTY = 1e-3


def figure(pixels: torch.Tensor) -> torch.Tensor:
    """Return how far the colour of each cell is from that of the image's outermost pixels, by patch: (n, 16, 4).

    ``pixels``: (n, 3, 32, 32). Colours are means, of 4 by 4 pixels and of the 124 along the border; the distance is
    Euclid's. What stands out from the border is mostly the object (a common cue to tell figure from ground), so that
    the map is of an image's layout. It is no depth, and made from colours alone.
    """
    side = pixels.shape[-1]
    inner = F.pad(torch.zeros(side - 2, side - 2), (1, 1, 1, 1), value=1.0)  # 1 along the border
    border = (pixels * inner).sum((2, 3), keepdim=True) / inner.sum()
    distances = (F.avg_pool2d(pixels, CELL) - border).square().sum(1).sqrt()
    of_patch = PATCH // CELL
    return distances.unfold(1, of_patch, of_patch).unfold(2, of_patch, of_patch).reshape(len(pixels), -1, of_patch**2)


class Ridge:
    """The linear map from features (n, f) to targets (n, t) of least squared error, with an intercept, in float64.

    Features are scaled to zero mean and unit deviation by those it is fitted on. The penalty, on squared weights, is
    of the mean squared error; it is fixed, so nothing is tuned.
    """

    def __init__(self, features: torch.Tensor, targets: torch.Tensor, penalty: float = PENALTY) -> None:
        features, targets = features.double(), targets.double()
        self._mean, deviation = features.mean(0), features.std(0, correction=0)
        self._scale = torch.where(deviation > 0, deviation, 1.0)  # a feature that never changes says nothing
        self._intercept = targets.mean(0)
        scaled = (features - self._mean) / self._scale
        products = scaled.T @ scaled / len(scaled) + penalty * torch.eye(scaled.shape[1], dtype=torch.float64)
        self._weights = torch.linalg.solve(products, scaled.T @ (targets - self._intercept) / len(scaled))

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        """Return the predictions, float64 (n, t)."""
        return (features.double() - self._mean) / self._scale @ self._weights + self._intercept


def class_accuracy(
    features: torch.Tensor, classes: torch.Tensor, held_out: torch.Tensor, held_out_classes: torch.Tensor
) -> torch.Tensor:
    """Return the share of held-out images whose class is told from their features, (n, f), by ridge on one-hot classes."""
    count = int(torch.cat([classes, held_out_classes]).max()) + 1
    predicted = Ridge(features, F.one_hot(classes, count))(held_out).argmax(1)
    return (predicted == held_out_classes).double().mean()


def map_error(
    features: torch.Tensor, maps: torch.Tensor, held_out: torch.Tensor, held_out_maps: torch.Tensor
) -> torch.Tensor:
    """Return the squared error of held-out maps told from the features of each patch, as a share of their variance.

    Features (n, patches, f), maps (n, patches, t). 1 is as good as the mean; where the maps are all alike it is 0.
    """
    predicted = Ridge(features.flatten(0, 1), maps.flatten(0, 1))(held_out.flatten(0, 1))
    truth = held_out_maps.flatten(0, 1).double()
    variance = (truth - truth.mean(0)).square().mean()
    return (predicted - truth).square().mean() / variance if variance > 0 else variance
