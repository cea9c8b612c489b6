"""Operators that move elements, and products of matrices."""

import torch
import torch.nn.functional as F

from campaigns.operator_grid.operators import Family, Operator
from campaigns.operator_grid.values import ROWS

__all__ = ["SHAPES"]

_FINITE = ROWS[ROWS.isfinite().all(1) & (ROWS.abs() < 1e5).all(1)]


def _attention(x, *heads, **masked):
    """Of rows (batch, 6): two queries and keys of three features, without heads or with."""
    return F.scaled_dot_product_attention(*[x.view(-1, *heads, 2, 3) / 1e4] * 3, **masked)


def _values(x):
    """The largest values that attention weighs, which may cancel."""
    return x.view(-1, 1, 2, 3).abs().amax(2, keepdim=True) / 1e4


def _pairs(x):
    """A number for each query and key, (batch, 1, 2, 2): some rows have none above 0, for one query or for both."""
    return x[:, :4].view(-1, 1, 2, 2)


SHAPES = Family(
    "Shapes and products, of finite rows",
    [_FINITE],
    [
        Operator("cat", lambda x: torch.cat([x, x.flip(1)], 1)),
        Operator("stack", lambda x: torch.stack([x, -x], 1)),
        Operator("chunk", lambda x: x.chunk(2, 1)),
        Operator("split", lambda x: x.split(4, 1)),
        Operator("unbind", lambda x: x.unbind(1)),
        Operator("unsqueeze, squeeze", lambda x: x.unsqueeze(1).squeeze(1)),
        Operator("reshape", lambda x: x.reshape(-1, 2, 3)),
        Operator("view", lambda x: x.view(x.size(0), 3, 2)),
        Operator("flatten", lambda x: x.unsqueeze(1).flatten(1)),
        Operator("unflatten", lambda x: x.unflatten(1, (2, 3))),
        Operator("permute", lambda x: x.view(-1, 3, 2).permute(0, 2, 1)),
        Operator("transpose", lambda x: x.transpose(0, 1)),
        Operator("expand", lambda x: x.unsqueeze(1).expand(-1, 3, -1)),
        Operator("repeat", lambda x: x.repeat(1, 2)),
        Operator("tile", lambda x: x.tile((1, 2))),
        Operator("select", lambda x: x.select(1, 2)),
        Operator("select_scatter", lambda x: x.select_scatter(x[:, 0], 1, 3)),
        Operator("slice_scatter", lambda x: x.slice_scatter(x[:, :2], 1, 2, 4)),
        Operator("full_like, zeros_like, ones_like", lambda x: (torch.full_like(x, 0.1), torch.zeros_like(x))),
        Operator("nonzero", lambda x: x.nonzero()),
        Operator("angle", torch.angle),
        Operator("prelu", lambda x: F.prelu(x, torch.tensor([0.25]))),
        Operator("matmul", lambda x: x.matmul(x.mT), terms=lambda x: x.abs().matmul(x.abs().mT)),
        Operator(
            "bmm",
            lambda x: torch.bmm(x.view(-1, 2, 3), x.view(-1, 3, 2)),
            terms=lambda x: torch.bmm(x.abs().view(-1, 2, 3), x.abs().view(-1, 3, 2)),
        ),
        Operator("mv, dot", lambda x: x.mv(torch.ones(6)), terms=lambda x: x.abs().sum(1)),
        Operator(
            "addmm",
            lambda x: torch.addmm(x[:, :2], x, torch.ones(6, 2), beta=0.5, alpha=2.0),
            terms=lambda x: x.abs()[:, :2] + 2 * x.abs().sum(1, keepdim=True),
        ),
        Operator(
            "linear",
            lambda x: F.linear(x, torch.full((2, 6), 0.5), torch.ones(2)),
            terms=lambda x: x.abs().sum(1, keepdim=True) + 1,
        ),
        Operator(
            "bilinear",
            lambda x: F.bilinear(x, x, torch.full((2, 6, 6), 0.5)),
            terms=lambda x: x.abs().sum(1, keepdim=True) ** 2,
        ),
        Operator("scaled_dot_product_attention", lambda x: _attention(x, 1), terms=_values),
        Operator("scaled_dot_product_attention(is_causal=True)", lambda x: _attention(x, 1, is_causal=True)),
        Operator("scaled_dot_product_attention, booleans", lambda x: _attention(x, 1, attn_mask=_pairs(x) > 0)),
        Operator(
            "scaled_dot_product_attention, booleans of keys",
            lambda x: _attention(x, 1, attn_mask=_pairs(x)[..., :1, :] > 0),
        ),
        Operator(
            "scaled_dot_product_attention, booleans of queries",
            lambda x: _attention(x, 1, attn_mask=_pairs(x)[..., :1] > 0),
            terms=_values,
        ),
        Operator(
            "scaled_dot_product_attention, floats",
            lambda x: _attention(x, 1, attn_mask=_pairs(x).masked_fill(_pairs(x) <= 0, float("-inf"))),
        ),
        Operator(
            "scaled_dot_product_attention, low floats",
            lambda x: _attention(x, 1, attn_mask=_pairs(x).masked_fill(_pairs(x) <= 0, -1e9)),
        ),
        Operator("scaled_dot_product_attention, without heads", lambda x: _attention(x, is_causal=True)),
        Operator(
            "scaled_dot_product_attention, without heads, booleans",
            lambda x: _attention(x, attn_mask=_pairs(x).squeeze(1) > 0),
        ),
        Operator(
            "scaled_dot_product_attention, without heads, booleans for all rows",
            lambda x: _attention(x, attn_mask=torch.tensor([[True, False], [False, False]])),
        ),
        Operator(
            "scaled_dot_product_attention, of one row",
            lambda x: F.scaled_dot_product_attention(*[x.view(-1, 3) / 1e4] * 3),
        ),
    ],
)
