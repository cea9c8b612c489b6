"""Variances, long sums, running products and extrema: as eager, from denormal numbers to 1e30."""

import itertools

import pytest
import torch

from campaigns.operator_grid import Family, Operator, try_family
from campaigns.operator_grid.values import ROWS

_FINITE = ROWS[ROWS.isfinite().all(1)]
_SCALES = torch.cat([_FINITE * scale for scale in (1e-40, 1e-30, 1e-20, 1e-3)] + [_FINITE.clamp(-1e3, 1e3) * 1e30])
_WIDE = torch.cat([ROWS, _SCALES, torch.tensor([[1e30] * 6, [3e-40] * 6])])
_BLOCKS = torch.stack([_WIDE, _WIDE.flip(1)], 2)  # (batch, 6, 2)
_LONG = torch.linspace(0.2, 2.0, 3000).repeat(3, 1) * torch.tensor([[1.0], [0.3], [-2.0]])


def moments(name):
    """Each correction, over one axis, over several, over all, with and without the axes kept."""
    compute = getattr(torch, name)
    for correction, dim, keepdim in itertools.product((0, 1, 7, 0.5), (1, (1, 2)), (False, True)):
        more = {"dim": dim, "correction": correction, "keepdim": keepdim}
        # Of a row with an inf eager's mean is nan or inf by the place of the inf (docs/reference/compatibility.md).
        take = (lambda found: found[0]) if name.endswith("_mean") else (lambda found: found)
        yield Operator(f"{name}({more})", lambda x, more=more, take=take: take(compute(x, **more)))
    if not name.endswith("_mean"):  # torch's own decomposition of that form of theirs raises
        yield Operator(f"{name}(1, False)", lambda x: compute(x.nan_to_num(), 1, False))
    yield Operator(f"{name}() of one element", lambda x: compute(x[:, :1, :1].nan_to_num(), (1, 2)))
    yield Operator(f"{name} of steps", lambda x: compute(_steps(x), 1), terms=lambda x: _steps(x).abs().mean(1))


def _steps(x):
    return x.flatten(1).nan_to_num().clamp(-1e30, 1e30)


RUNNING = [Operator(f"cumprod({dim})", lambda x, dim=dim: torch.cumprod(x, dim)) for dim in (1, -1)]
FAMILIES = [
    *(Family(name, [_BLOCKS], list(moments(name))) for name in ("var", "std_mean")),
    *(
        Family(name, [values], RUNNING, tries_nothing=False)  # of no values they fail the request
        for name, values in {"running": _BLOCKS, "running, long": _LONG}.items()
    ),
    Family(
        "sums",
        [_LONG],
        [
            Operator("sum(1)", lambda x: x.sum(1)),
            Operator("sum(1, keepdim=True)", lambda x: x.sum(1, keepdim=True)),
            Operator("sum(1, dtype=float64)", lambda x: x.sum(1, dtype=torch.float64)),
            Operator("logsumexp(1)", lambda x: x.logsumexp(1)),
            Operator("logsumexp of masked scores", lambda x: x.masked_fill(x > 0.5, -1e9).logsumexp(1, keepdim=True)),
            Operator("logsumexp of -inf", lambda x: x.masked_fill(x > -10, float("-inf")).logsumexp(1)),
            Operator("softmax of masked scores", lambda x: x.masked_fill(x > 0.5, -1e9).softmax(1)),
            Operator("log_softmax of masked scores", lambda x: x.masked_fill(x > 0.5, -1e9).log_softmax(1)),
        ],
    ),
]


@pytest.mark.filterwarnings("ignore:.*degrees of freedom")  # what is asked for
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_wide_reductions_equal_eager(family):
    found = try_family(family).items()
    wrong = {name: lines for name, lines in found if lines}
    assert not wrong, "\n".join(f"{name}: {line}" for name, lines in wrong.items() for line in lines)
