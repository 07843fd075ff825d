"""BatchNorm where a batch of one image has a single value per channel."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class LenientBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm that takes its running statistics for a single value per channel, which is no statistic.

    torch refuses such a batch: one image after global pooling, or one as small as the network's stride.
    """

    def forward(self, images: Tensor) -> Tensor:
        if self.training and images.numel() == images.shape[1]:
            return F.batch_norm(images, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(images)


def lenient(network: nn.Module) -> nn.Module:
    """`network` with every BatchNorm2d made lenient; names, weights and statistics stay."""
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = LenientBatchNorm2d
    return network
