"""Reductions, sorting and reordering along the rows."""

import torch
import torch.nn.functional as F

from campaigns.operator_grid.operators import Family, Operator
from campaigns.operator_grid.values import ROWS

__all__ = ["ROW_WISE"]

_MEAN_OF_INF = "the mean of a row with an inf: inf, where eager gives nan"
_EQUAL = "the order of equal values"
_TIES = "for equal values, PyTorch does not define"

ROW_WISE = Family(
    "Rows",
    [ROWS],
    [
        *(
            Operator(f"{name}(1)", lambda x, name=name: getattr(x, name)(1))
            for name in ("sum", "mean", "prod", "nansum")
        ),
        *(Operator(f"{name}(1)", lambda x, name=name: getattr(x, name)(1)) for name in ("amax", "amin", "max", "min")),
        *(
            Operator(f"{name}(1)", lambda x, name=name: getattr(x, name)(1))
            for name in ("argmax", "argmin", "all", "any")
        ),
        *(Operator(f"{name}()", lambda x, name=name: getattr(x, name)()) for name in ("sum", "max", "min", "argmax")),
        Operator("aminmax(dim=1)", lambda x: torch.aminmax(x, dim=1)),
        Operator("sum(0)", lambda x: x.sum(0)),
        Operator("std(1)", lambda x: x.std(1)),
        Operator("std(1, unbiased=False)", lambda x: x.std(1, unbiased=False)),
        Operator("std(unbiased=False) of one element", lambda x: x[:, :1].std(1, unbiased=False)),
        Operator("var(1)", lambda x: x.var(1)),
        Operator("var_mean(1)", lambda x: torch.var_mean(x, 1), differs=_MEAN_OF_INF),
        Operator("std_mean(1)", lambda x: torch.std_mean(x, 1), differs=_MEAN_OF_INF),
        Operator("nanmean(1)", lambda x: x.nanmean(1)),
        Operator("count_nonzero(1)", lambda x: x.count_nonzero(1)),
        Operator("logsumexp(1)", lambda x: x.logsumexp(1)),
        Operator("softmax(1)", lambda x: x.softmax(1)),
        Operator("log_softmax(1)", lambda x: x.log_softmax(1)),
        Operator("softmin(1)", lambda x: F.softmin(x, 1)),
        Operator("log(softmax(1))", lambda x: torch.log(x.softmax(1))),
        Operator("log(softmax(1) + 1e-10)", lambda x: torch.log(x.softmax(1) + 1e-10)),
        *(
            Operator(f"norm(p={p})", lambda x, p=p: x.norm(p=p, dim=1))
            for p in (0, 1, 2, 3, float("inf"), -float("inf"))
        ),
        Operator("normalize", lambda x: F.normalize(x, dim=1)),
        Operator("normalize(eps=1e-3)", lambda x: F.normalize(x, dim=1, eps=1e-3)),
        Operator(
            "cosine_similarity", lambda x: F.cosine_similarity(x, x.flip(1), dim=1), terms=lambda x: x[:, 0] * 0 + 1
        ),
        Operator("cosine_similarity with zeros", lambda x: F.cosine_similarity(x, x * 0, dim=1)),
        Operator("pairwise_distance", lambda x: F.pairwise_distance(x, x.flip(1))),
        Operator("diff(dim=1)", lambda x: x.diff(dim=1)),
        Operator("flip(1)", lambda x: x.flip(1)),
        Operator("roll(2, 1)", lambda x: x.roll(2, 1)),
        Operator("roll(-1, 1)", lambda x: x.roll(-1, 1)),
        Operator("unfold(1, 2, 1)", lambda x: x.unfold(1, 2, 1)),
        Operator("trapezoid(dim=1)", lambda x: torch.trapezoid(x, dim=1)),
        Operator("sort(1).values", lambda x: x.sort(1).values),
        Operator("sort(1, descending=True).values", lambda x: x.sort(1, descending=True).values),
        Operator("sort(1).indices", lambda x: x.sort(1).indices, refused=_EQUAL),
        Operator("argsort(1)", lambda x: x.argsort(1), refused=_EQUAL),
        Operator("sort(stable=True)", lambda x: torch.sort(x, stable=True, dim=1)),
        Operator("sort(stable=True, descending=True)", lambda x: torch.sort(x, stable=True, dim=1, descending=True)),
        Operator("argsort(stable=True)", lambda x: torch.argsort(x, dim=1, stable=True)),
        Operator("msort", torch.msort),
        Operator("topk(2).values", lambda x: x.topk(2, 1).values),
        Operator("topk(2, largest=False).values", lambda x: x.topk(2, 1, largest=False).values),
        Operator("topk(2).indices", lambda x: x.topk(2, 1).indices, refused=_TIES),
        Operator("topk(2, sorted=False)", lambda x: x.topk(2, 1, sorted=False).values, refused=_TIES),
        Operator("quantile(0.5, 1)", lambda x: x.nan_to_num().quantile(0.5, 1)),
        *(
            Operator(f"{name}(1)", lambda x, name=name: getattr(x, name)(1).values, refused="exported exactly")
            for name in ("median", "nanmedian")
        ),
        Operator("kthvalue(2, 1)", lambda x: x.kthvalue(2, 1).values, refused="cannot be exported exactly"),
        Operator("mode(1)", lambda x: x.mode(1).values, refused="the most frequent value"),
        Operator("(x > 2).any(1)", lambda x: (x > 2).any(1)),
        Operator("(x > 0).sum(1)", lambda x: (x > 0).sum(1)),
        Operator("one_hot(argmax(1))", lambda x: F.one_hot(x.argmax(1), 6)),
    ],
)
