"""Operators that move elements, products of matrices, indexing and scattering with indices that repeat, and pooling."""

import torch
import torch.nn.functional as F

from campaigns.operator_grid.operators import Family, Operator
from campaigns.operator_grid.values import INDICES, ROWS

_FINITE = ROWS[ROWS.isfinite().all(1) & (ROWS.abs() < 1e5).all(1)]


def _attention(x, *heads, **masked):
    """Compute attention on rows (batch, 6): two queries and keys of three features, with or without heads."""
    return F.scaled_dot_product_attention(*[x.view(-1, *heads, 2, 3) / 1e4] * 3, **masked)


def _values(x):
    """Return the largest values that attention weighs, because they may cancel."""
    return x.view(-1, 1, 2, 3).abs().amax(2, keepdim=True) / 1e4


def _pairs(x):
    """Compute a number for each query and key, (batch, 1, 2, 2). Some rows have none above 0."""
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
            "scaled_dot_product_attention, booleans of queries",
            lambda x: _attention(x, 1, attn_mask=_pairs(x)[..., :1] > 0),
            terms=_values,
        ),
        Operator(
            "scaled_dot_product_attention, floats",
            lambda x: _attention(x, 1, attn_mask=_pairs(x).masked_fill(_pairs(x) <= 0, float("-inf"))),
        ),
        Operator("scaled_dot_product_attention, without heads", lambda x: _attention(x, is_causal=True)),
        Operator(
            "scaled_dot_product_attention, of one row",
            lambda x: F.scaled_dot_product_attention(*[x.view(-1, 3) / 1e4] * 3),
        ),
    ],
)


_NO_FORM = "does not exist in ONNX"
_NAN_PASSED = "where nan is among what is scattered: it is passed over"

_TABLE = torch.linspace(-2.0, 3.0, 24).reshape(6, 4)


def _windows(x, _):
    return F.conv1d(x.abs()[:, None], torch.ones(2, 1, 3, dtype=x.dtype), padding=1)


def _products(x, _):
    left, right = x[:, :3].abs(), x[:, 3:].abs()
    return left.roll(-1, 1) * right.roll(-2, 1) + left.roll(-2, 1) * right.roll(-1, 1)


INDEXING = Family(
    "Rows and indices",
    [ROWS, INDICES],
    [
        Operator("gather", lambda x, i: x.gather(1, i)),
        Operator("scatter", lambda x, i: x.scatter(1, i[:, :3], x[:, :3])),
        Operator("scatter of a number", lambda x, i: x.scatter(1, i, 5.0)),
        Operator("scatter_add, repeated", lambda x, i: torch.zeros_like(x).scatter_add(1, i, x)),
        Operator("scatter_reduce('sum')", lambda x, i: x.scatter_reduce(1, i, x, "sum")),
        Operator("scatter_reduce('amax')", lambda x, i: x.scatter_reduce(1, i, x, "amax"), differs=_NAN_PASSED),
        Operator(
            "scatter_reduce('amin', include_self=False)",
            lambda x, i: x.scatter_reduce(1, i, x, "amin", include_self=False),
            differs=_NAN_PASSED,
        ),
        Operator("scatter_reduce('mean')", lambda x, i: x.scatter_reduce(1, i, x, "mean"), refused="has no mean here"),
        Operator("index_add, repeated", lambda x, i: x.index_add(1, i[0], x)),
        Operator("index_select", lambda x, i: x.index_select(1, i[0])),
        Operator("x[:, i]", lambda x, i: x[:, i[0]]),
        Operator("x[rows, i]", lambda x, i: x[torch.arange(x.size(0)), i[:, 0]]),
        Operator("take", lambda x, i: x.take(i)),
        Operator("index_put", lambda x, i: x.index_put((torch.arange(x.size(0)), i[:, 0]), torch.tensor(7.0))),
        Operator("index_copy", lambda x, i: x.index_copy(1, i[0, :2], x[:, :2])),
        Operator("index_fill", lambda x, i: x.index_fill(1, i[0, :2], 3.0)),
        Operator("one_hot", lambda x, i: F.one_hot(i, 6)),
        Operator("embedding(padding_idx=0)", lambda x, i: F.embedding(i, x.T[:6].contiguous(), padding_idx=0)),
        *(
            Operator(
                f"embedding_bag({mode!r}, padding_idx={padding})",
                lambda x, i, mode=mode, padding=padding: F.embedding_bag(i, _TABLE, mode=mode, padding_idx=padding),
                refused="Use nn.Embedding",
            )
            for mode, padding in (("sum", None), ("mean", 2), ("max", None))
        ),
        Operator("bucketize", lambda x, i: torch.bucketize(x, torch.tensor([-1.0, 0.0, 1.0, 2.0]))),
        Operator("searchsorted", lambda x, i: torch.searchsorted(torch.tensor([-1.0, 0.0]), x), refused=_NO_FORM),
        Operator("masked_fill(-inf)", lambda x, i: x.masked_fill(i > 2, float("-inf"))),
        Operator("x[:, -3:]", lambda x, i: x[:, -3:]),
        Operator("x[:, ::2]", lambda x, i: x[:, ::2]),
        Operator("narrow", lambda x, i: x.narrow(1, 1, 3)),
        Operator("tril", lambda x, i: x.tril()),
        Operator("triu(1)", lambda x, i: x.triu(1)),
        Operator("diagonal", lambda x, i: x.diagonal(), refused="cannot be exported exactly"),
        Operator("repeat_interleave", lambda x, i: x.repeat_interleave(2, 1)),
        Operator("masked_scatter", lambda x, i: x.masked_scatter(i > 2, x.flip(1))),
        Operator("interpolate(linear)", lambda x, i: F.interpolate(x[:, None], size=9, mode="linear")),
        Operator("max_pool1d", lambda x, i: F.max_pool1d(x[:, None], 2)),
        Operator("avg_pool1d(padding=1)", lambda x, i: F.avg_pool1d(x[:, None], 3, padding=1)),
        Operator("adaptive_avg_pool1d", lambda x, i: F.adaptive_avg_pool1d(x[:, None], 3)),
        Operator("adaptive_max_pool1d", lambda x, i: F.adaptive_max_pool1d(x[:, None], 3)),
        Operator("pad(reflect)", lambda x, i: F.pad(x[:, None], (2, 1), mode="reflect")),
        Operator("pad(replicate)", lambda x, i: F.pad(x[:, None], (2, 1), mode="replicate")),
        Operator("pad(circular)", lambda x, i: F.pad(x[:, None], (2, 1), mode="circular")),
        *(
            Operator(
                f"cdist(p={p:g})",
                lambda x, i, p=p: torch.cdist(x.view(-1, 3, 2), x.flip(1).view(-1, 3, 2), p),
                refused="" if p in (1, 2) else "cdist with p",
            )
            for p in (1.0, 2.0, 2.5)
        ),
        Operator("einsum('bs,bt->bst')", lambda x, i: torch.einsum("bs,bt->bst", x, x)),
        Operator("conv1d", lambda x, i: F.conv1d(x[:, None], torch.ones(2, 1, 3), padding=1), terms=_windows),
        Operator("cross", lambda x, i: torch.linalg.cross(x[:, :3], x[:, 3:]), terms=_products),
    ],
)
