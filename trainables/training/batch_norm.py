"""BatchNorm whose statistics are those of the batches of all processes.

torch's SyncBatchNorm refuses tensors on a CPU and knows no process without images. Here each process's mean and
variance are gathered with the number of values behind them and merged (Chan et al. 1979); sums of squares would lose
digits. The gradient is that of one large batch: Ioffe and Szegedy 2015, section 3, with both sums over all processes.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from segsweep.trainables.models._norms import LenientBatchNorm2d
from segsweep.trainables.training.team import Team


class SynchronisedBatchNorm(_BatchNorm):
    """Takes the place of a BatchNorm's class; names, weights and statistics stay. In evaluation it is as it was."""

    team: Team

    def _check_input_dim(self, images: Tensor) -> None:
        """Any number of dimensions from 2, channels second."""

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def forward(self, images: Tensor) -> Tensor:
        if not self.training:
            return super().forward(images)
        mean, variance, count = merged(images, self.team)
        known = count > 1  # else it is no statistic, as in LenientBatchNorm2d; asking for its value would stop a GPU
        if self.running_mean is not None and self.running_var is not None:
            momentum = self._momentum(known)
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
            self.running_var.lerp_((variance * count / (count - 1).clamp_min(1)).to(self.running_var.dtype), momentum)
            mean, variance = mean.where(known, self.running_mean), variance.where(known, self.running_var)
        share = known / count
        found: Tensor = _Normalise.apply(images, self.weight, self.bias, mean, variance, share, self.eps, self.team)
        return found

    def _momentum(self, known: Tensor) -> Tensor:
        """The share of this batch in the running statistics, of their type; it is counted as one more."""
        assert self.running_mean is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(known)
        share = 1 / self.num_batches_tracked.clamp_min(1) if self.momentum is None else self.momentum
        return (share * known).to(self.running_mean.dtype)


class SynchronisedBatchNormAct(SynchronisedBatchNorm):
    """timm's, which has its activation with it."""

    drop: nn.Module
    act: nn.Module

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.act(self.drop(super().forward(images)))
        return found


CLASSES: dict[type, type[SynchronisedBatchNorm]] = {
    nn.BatchNorm1d: SynchronisedBatchNorm,
    nn.BatchNorm2d: SynchronisedBatchNorm,
    nn.BatchNorm3d: SynchronisedBatchNorm,
    LenientBatchNorm2d: SynchronisedBatchNorm,
    BatchNormAct2d: SynchronisedBatchNormAct,
}


def synchronise(network: nn.Module, team: Team) -> None:
    """Give every BatchNorm of the network the statistics of all processes. Raises ValueError for an unknown kind."""
    for name, module in network.named_modules():
        if isinstance(module, _BatchNorm):
            if type(module) not in CLASSES:
                known = ", ".join(sorted(each.__name__ for each in CLASSES))
                raise ValueError(
                    f"{name} is a {type(module).__name__}, whose statistics cannot be synchronised over processes "
                    f"(known: {known}); train this model in one process"
                )
            module.__class__ = CLASSES[type(module)]
            cast(SynchronisedBatchNorm, module).team = team


@torch.no_grad()
def merged(images: Tensor, team: Team) -> tuple[Tensor, Tensor, Tensor]:
    """(C,) mean and biased variance of the images (N, C, ...) of all processes, and how many values each is of."""
    wide = images if images.dtype == torch.float64 else images.float()
    variance, mean = torch.var_mean(wide, [0, *range(2, images.ndim)], correction=0)
    counts = mean.new_full((1,), 0 if team.idle else images.numel() // images.shape[1])
    parts = team.stacked(torch.cat([mean, variance, counts]).double())
    means, variances, counts = torch.split(parts, [len(mean), len(mean), 1], dim=1)
    count = counts.sum()
    merged_mean = (counts * means).sum(0) / count
    merged_variance = (counts * (variances + (means - merged_mean) ** 2)).sum(0) / count
    return merged_mean.to(mean.dtype), merged_variance.to(mean.dtype), count.to(mean.dtype)


class _Normalise(torch.autograd.Function):
    """(x - mean) / sqrt(variance + eps) * weight + bias, where mean and variance follow from every process's x."""

    @staticmethod
    def forward(
        ctx: Any,
        images: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        variance: Tensor,
        share: Tensor,
        eps: float,
        team: Team,
    ) -> Tensor:
        """share: of one value in the statistics; 0 where mean and variance are not made of these images."""
        ctx.save_for_backward(images, weight, mean, variance, share)
        ctx.eps, ctx.team = eps, team
        return F.batch_norm(images, mean, variance, weight, bias, eps=eps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        images, weight, mean, variance, share = ctx.saved_tensors
        # as if mean and variance were given: one pass gives this part, and the two sums that the other part needs
        fixed, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            gradients[0], images, weight, mean, variance, None, None, False, ctx.eps, [True, True, True]
        )
        by_value, by_mean = ctx.team.stacked(torch.stack([of_weight, of_bias])).sum(0) * share
        scale = torch.rsqrt(variance + ctx.eps) * (1 if weight is None else weight)
        moved = F.batch_norm(images, mean, variance, scale * by_value, scale * by_mean, eps=ctx.eps)
        affine = (of_weight, of_bias) if weight is not None else (None, None)
        return fixed - moved, *affine, None, None, None, None, None
