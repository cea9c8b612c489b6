"""Normalisations, with large and with tiny eps."""

import torch
import torch.nn.functional as F

from campaigns.operator_grid.operators import Family, Operator
from campaigns.operator_grid.values import LONG, ROWS

__all__ = ["LONG_NORMALISATIONS", "NORMALISATIONS"]

_SQUARES = "of rows with values above 1.8e19, whose squares overflow"


def _over_deviation(x):
    """Give what a last digit of the inputs is, divided by their deviation: it is what the mean leaves of them."""
    largest = x.abs().amax(1, keepdim=True)
    least = x.view(-1, 2, 3).std(2, unbiased=False).amin(1, keepdim=True)
    return (largest / (least * least + 1e-5).sqrt()).expand(x.shape)


NORMALISATIONS = Family(
    "Normalisations",
    [ROWS],
    [
        Operator("layer_norm", lambda x: F.layer_norm(x, (6,)), differs=_SQUARES, terms=_over_deviation),
        Operator(
            "layer_norm(eps=1e-12)", lambda x: F.layer_norm(x, (6,), eps=1e-12), differs=_SQUARES, terms=_over_deviation
        ),
        Operator("rms_norm", lambda x: F.rms_norm(x, (6,))),
        Operator("rms_norm(eps=1e-6)", lambda x: F.rms_norm(x, (6,), eps=1e-6)),
        Operator("group_norm", lambda x: F.group_norm(x, 2), differs=_SQUARES, terms=_over_deviation),
        Operator(
            "group_norm(eps=1e-12)", lambda x: F.group_norm(x, 2, eps=1e-12), differs=_SQUARES, terms=_over_deviation
        ),
        Operator("batch_norm", lambda x: F.batch_norm(x, torch.zeros(6), torch.full((6,), 1e-12), eps=1e-12)),
        Operator("batch_norm of variance 0", lambda x: F.batch_norm(x, torch.zeros(6), torch.zeros(6), eps=1e-8)),
        Operator("instance_norm", lambda x: F.instance_norm(x[:, None]), terms=_over_deviation),
        Operator("local_response_norm", lambda x: F.local_response_norm(x[:, None], 2)),
        Operator(
            "(x - mean) / (std + 1e-9)",
            lambda x: (x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True) + 1e-9),
            terms=_over_deviation,
        ),
        Operator("x * rsqrt(mean(x * x) + 1e-8)", lambda x: x * torch.rsqrt(x.pow(2).mean(1, keepdim=True) + 1e-8)),
    ],
)

_LEVELS = torch.tensor([3.7, -100.1, 1e-3, 12345.678]).repeat_interleave(3000).view(4, 3000)


def _one(x: torch.Tensor) -> torch.Tensor:
    """Give one: what a mean was subtracted from is rounded relative to the deviation, which is 1 then."""
    return x.new_ones(1)


LONG_NORMALISATIONS = Family(
    "Normalisations of 3,000 steps: constants, and noise at a level",
    [torch.cat([_LEVELS, _LEVELS + LONG[:1], LONG])],
    [
        Operator("layer_norm", lambda x: F.layer_norm(x, (3000,)), terms=_one),
        Operator(
            "rms_norm",
            lambda x: F.rms_norm(x, (3000,)),
            terms=_one,
            differs="in the sixth digit: ReduceMean adds up 3,000 equal squares in float32",
        ),
        Operator("group_norm", lambda x: F.group_norm(x[:, None], 1), terms=_one),
        Operator("instance_norm", lambda x: F.instance_norm(x[:, None]), terms=_one),
        Operator("instance_norm of images", lambda x: F.instance_norm(x.view(-1, 1, 50, 60)), terms=_one),
        Operator(
            "instance_norm with weights",
            lambda x: F.instance_norm(x.view(-1, 2, 1500), None, None, x.new_tensor([0.5, 2]), x.new_tensor([3, -1])),
            terms=_one,
        ),
        Operator(
            "instance_norm of running statistics",
            lambda x: F.instance_norm(x[:, None], x.new_tensor([3.7]), x.new_tensor([2.0]), use_input_stats=False),
            terms=lambda x: x[:, None].abs() + 3.7,
        ),
        Operator(
            "batch_norm",
            lambda x: F.batch_norm(x[:, None], x.new_tensor([3.7]), x.new_tensor([1e-4])),
            terms=lambda x: (x[:, None].abs() + 3.7) * 100,
        ),
        Operator("local_response_norm", lambda x: F.local_response_norm(x[:, None], 2)),
    ],
    tries_nothing=False,
)
