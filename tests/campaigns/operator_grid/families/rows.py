"""Reductions, sorting and reordering along the rows, losses, and normalisations with large and with tiny eps."""

import torch
import torch.nn.functional as F

from campaigns.operator_grid.operators import Family, Operator, methods
from campaigns.operator_grid.values import LONG, ROWS

_MEAN_OF_INF = "the mean of a row with an inf: inf, where eager gives nan"
_EQUAL = "the order of equal values"
_TIES = "for equal values, PyTorch does not define"

ROW_WISE = Family(
    "Rows",
    [ROWS],
    [
        *methods("sum mean prod nansum amax amin max min argmax argmin all any", 1),
        *methods("sum max min argmax"),
        Operator("aminmax(dim=1)", lambda x: torch.aminmax(x, dim=1)),
        *methods("sum", 0),
        *methods("std var nanmean count_nonzero logsumexp softmax log_softmax flip", 1),
        Operator("std(1, unbiased=False)", lambda x: x.std(1, unbiased=False)),
        Operator("std(unbiased=False) of one element", lambda x: x[:, :1].std(1, unbiased=False)),
        Operator("var_mean(1)", lambda x: torch.var_mean(x, 1), differs=_MEAN_OF_INF),
        Operator("std_mean(1)", lambda x: torch.std_mean(x, 1), differs=_MEAN_OF_INF),
        Operator("softmin(1)", lambda x: F.softmin(x, 1)),
        Operator("log(softmax(1))", lambda x: torch.log(x.softmax(1))),
        Operator("log(softmax(1) + 1e-10)", lambda x: torch.log(x.softmax(1) + 1e-10)),
        *(
            Operator(f"norm(p={p})", lambda x, p=p: x.norm(p=p, dim=1))
            for p in (0, 1, 2, 3, float("inf"), -float("inf"))
        ),
        Operator("normalize", lambda x: F.normalize(x, dim=1)),
        Operator(
            "cosine_similarity", lambda x: F.cosine_similarity(x, x.flip(1), dim=1), terms=lambda x: x[:, 0] * 0 + 1
        ),
        Operator("pairwise_distance", lambda x: F.pairwise_distance(x, x.flip(1))),
        Operator("diff(dim=1)", lambda x: x.diff(dim=1)),
        *methods("roll", 2, 1),
        *methods("roll", -1, 1),
        *methods("unfold", 1, 2, 1),
        Operator("trapezoid(dim=1)", lambda x: torch.trapezoid(x, dim=1)),
        Operator("sort(1).values", lambda x: x.sort(1).values),
        Operator("sort(1, descending=True).values", lambda x: x.sort(1, descending=True).values),
        Operator("sort(1).indices", lambda x: x.sort(1).indices, refused=_EQUAL),
        *methods("argsort", 1, refused=_EQUAL),
        Operator("sort(stable=True)", lambda x: torch.sort(x, stable=True, dim=1)),
        Operator("sort(stable=True, descending=True)", lambda x: torch.sort(x, stable=True, dim=1, descending=True)),
        Operator("argsort(stable=True)", lambda x: torch.argsort(x, dim=1, stable=True)),
        Operator("msort", torch.msort),
        Operator("topk(2).values", lambda x: x.topk(2, 1).values),
        Operator("topk(2, largest=False).values", lambda x: x.topk(2, 1, largest=False).values),
        Operator("topk(2).indices", lambda x: x.topk(2, 1).indices, refused=_TIES),
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


_NOT_VALID = "valid ONNX"


def _first(x):
    return torch.zeros_like(x[:, 0]).nan_to_num().long()


def _logarithms(x):
    score, target = x.nan_to_num().sigmoid(), x.nan_to_num().flip(1).sigmoid()
    # A sigmoid near 1 is rounded relative to 1, and then divided by its distance from 1.
    return target * score.log().abs() + (1 - target) * ((1 - score).log().abs() + 1 / (1 - score).clamp(1e-7))


LOSSES = Family(
    "Losses",
    [ROWS],
    [
        Operator(
            "nll_loss(reduction='none')", lambda x: F.nll_loss(x, _first(x), reduction="none"), refused=_NOT_VALID
        ),
        Operator("kl_div", lambda x: F.kl_div(x.log_softmax(1), x.flip(1).softmax(1), reduction="none")),
        Operator("l1_loss", lambda x: F.l1_loss(x, x.flip(1))),
        Operator("mse_loss", lambda x: F.mse_loss(x, x.flip(1))),
        Operator("poisson_nll_loss", lambda x: F.poisson_nll_loss(x, x.abs(), reduction="none")),
        Operator("hinge_embedding_loss", lambda x: F.hinge_embedding_loss(x, torch.ones_like(x), reduction="none")),
        Operator("soft_margin_loss", lambda x: F.soft_margin_loss(x, torch.ones_like(x), reduction="none")),
        Operator(
            "binary_cross_entropy",
            lambda x: F.binary_cross_entropy(
                x.nan_to_num().sigmoid(), x.nan_to_num().flip(1).sigmoid(), reduction="none"
            ),
            terms=_logarithms,
        ),
    ],
)


_SQUARES = "of rows with values above 1.8e19, whose squares overflow"


def _over_deviation(x):
    """Return the last digit of the inputs divided by their deviation, which is the rounding left by the mean."""
    largest = x.abs().amax(1, keepdim=True)
    least = x.view(-1, 2, 3).std(2, unbiased=False).amin(1, keepdim=True)
    return (largest / (least * least + 1e-5).sqrt()).expand(x.shape)


NORMALISATIONS = Family(
    "Normalisations",
    [ROWS],
    [
        Operator("layer_norm", lambda x: F.layer_norm(x, (6,)), differs=_SQUARES, terms=_over_deviation),
        Operator("rms_norm", lambda x: F.rms_norm(x, (6,))),
        Operator("group_norm", lambda x: F.group_norm(x, 2), differs=_SQUARES, terms=_over_deviation),
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
    """Return one, because values minus their mean are rounded relative to the deviation, which is 1 then."""
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
