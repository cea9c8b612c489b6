"""Activations of torch.nn.functional."""

import torch.nn.functional as F

from support.operator_grid.operators import Family, Operator, named
from support.operator_grid.values import FLOATS, table

__all__ = ["ACTIVATIONS"]

ACTIVATIONS = Family(
    "Activations",
    [table(FLOATS)],
    [
        *named(F, "hardshrink hardsigmoid hardswish hardtanh leaky_relu logsigmoid mish relu relu6 silu softplus"),
        *named(F, "softshrink softsign"),
        *named(F, "celu elu selu tanhshrink", within=1.2e-7),
        Operator("gelu", F.gelu),
        Operator("gelu(approximate='tanh')", lambda x: F.gelu(x, approximate="tanh"), within=5e-7),
        Operator("softplus(beta=2, threshold=10)", lambda x: F.softplus(x, beta=2.0, threshold=10.0)),
        Operator("softplus(beta=0.5)", lambda x: F.softplus(x, beta=0.5)),
        Operator("threshold(0.1, -5)", lambda x: F.threshold(x, 0.1, -5.0)),
        Operator("glu", F.glu, within=2.4e-6),
    ],
)
