"""The values for the operators: each once with either sign, and rows of scenarios."""

import torch

_INF, _NAN = float("inf"), float("nan")

_MAGNITUDES = [
    *(0.0, 1e-45, 1e-40, 1.1754944e-38, 1e-30, 1e-20, 1e-12, 1e-10, 1e-8, 1e-7, 1e-4, 0.01, 0.1, 0.25, 0.5),
    *(0.75, 0.99999994, 1.0, 1.0000001, 1.5, 2.0, 2.5, 3.0, 3.5, 3.1415927, 5.0, 7.0, 10.0, 15.0, 18.0, 19.5, 20.0),
    *(30.0, 50.0, 87.0, 88.8, 95.0, 100.0, 104.0, 710.0, 1e4, 8388609.0, 1e10, 1e20, 3.4028235e38, _INF),
]
FLOATS = torch.tensor([sign * value for value in _MAGNITUDES for sign in (1.0, -1.0)] + [_NAN, 0.3])
"""Adding a value here puts it into every operator of floats."""

_SMALL = [0, 1, 2, 3, 5, 7, 31, 32, 62, 63, 100, 1000, 2**31 - 1, 2**31, 2**40, 2**53 + 1, 2**62, 2**63 - 1]
INTEGERS = torch.tensor([sign * value for value in _SMALL for sign in (1, -1)] + [-(2**63), -(2**31)])

ROWS = torch.tensor(
    [
        [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        [1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        [-0.0, 0.0, -0.0, 0.0, -0.0, -0.0],
        [2.0, 1.0, 2.0, 1.0, 2.0, 1.0],
        [3.0, 3.0, 1.0, 1.0, 2.0, 2.0],
        [-1.0, 5.0, 5.0, -7.0, 5.0, 0.5],
        [1e-10, 1e-10, -1e-10, 2e-10, 0.0, 1e-12],
        [1e-40, -1e-45, 1e-40, 0.0, 0.0, 1e-38],
        [20.0, -20.0, 20.0, -20.0, 19.5, 20.5],
        [100.0, -100.0, 0.0, 99.0, -95.0, 95.0],
        [1e4, -1e4, 1e4, 1e4, 9999.0, -1.0],
        [1e4, 1e4 + 1, 1e4 + 2, 1e4 - 1, 1e4, 1e4],
        [1e20, 1e20, -1e20, 1e20, 1.0, 0.0],
        [_INF, 1.0, 2.0, 3.0, 4.0, 5.0],
        [-_INF, 1.0, 2.0, 3.0, 4.0, 5.0],
        [-_INF, -_INF, -_INF, -_INF, -_INF, -_INF],
        [_INF, -_INF, 0.0, 1.0, 2.0, 3.0],
        [_NAN, 1.0, 2.0, 3.0, 4.0, 5.0],
        [1.0, _NAN, 5.0, _NAN, 0.0, -1.0],
        [_NAN, _NAN, _NAN, _NAN, _NAN, _NAN],
        [5.0, 4.0, 3.0, 2.0, 1.0, 0.0],
        [0.5, -0.5, 1.5, 2.5, -1.5, -2.5],
    ]
)
"""Rows (batch, sequence): a scenario each. Adding a row puts it into every operator that works along an axis."""

INDICES = torch.tensor([[position % 6, (position * 5 + 3) % 6, 0, 5, 2, 2] for position in range(len(ROWS))])
"""Indices into the sequence axis of ROWS, some of them twice in a row."""

LONG = torch.linspace(-3.0, 3.0, 3000).sin().repeat(2, 1) * torch.tensor([[1.0], [30.0]])
"""Two long rows (2, 3000) for scans."""


def table(values: torch.Tensor, columns: int = 4) -> torch.Tensor:
    """Arrange values as (batch, columns). Repeats the first values at the end."""
    missing = -len(values) % columns
    return torch.cat([values, values[:missing]]).reshape(-1, columns)


def pairs(some: torch.Tensor, others: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Return every pair of two sets of values, as two tensors (batch, columns)."""
    seconds = some if others is None else others
    left = some.repeat_interleave(len(seconds))
    return table(left, 8), table(seconds.repeat(len(some)), 8)
