"""Activations of torch.nn.functional."""

import torch
import torch.nn.functional as F

from campaigns.operator_grid.operators import Family, Operator, named
from campaigns.operator_grid.values import FLOATS, table

__all__ = ["ACTIVATIONS"]

ACTIVATIONS = Family(
    "Activations",
    [table(FLOATS)],
    [
        *named(F, "hardshrink hardsigmoid hardswish hardtanh leaky_relu logsigmoid mish relu relu6 silu softplus"),
        *named(F, "softshrink softsign"),
        *named(F, "celu elu selu", terms=lambda x: x.abs() + 1),
        *named(F, "tanhshrink", terms=lambda x: x.abs() + x.tanh().abs()),
        Operator("gelu", F.gelu),
        Operator("gelu(approximate='tanh')", lambda x: F.gelu(x, approximate="tanh"), terms=torch.abs),
        Operator("softplus(beta=2, threshold=10)", lambda x: F.softplus(x, beta=2.0, threshold=10.0)),
        Operator("softplus(beta=0.5)", lambda x: F.softplus(x, beta=0.5)),
        Operator("threshold(0.1, -5)", lambda x: F.threshold(x, 0.1, -5.0)),
        Operator("glu", F.glu, terms=lambda x: x[:, :2].abs()),
    ],
)
