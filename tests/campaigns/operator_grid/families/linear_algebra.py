"""Products of matrices with a sum, determinants and other rarely used operators, on finite rows."""

import operator

import torch
import torch.nn.functional as F

from campaigns.operator_grid.operators import Family, Operator
from campaigns.operator_grid.values import ROWS

_FINITE = ROWS[ROWS.isfinite().all(1) & (ROWS.abs() < 1e5).all(1)]
_NO_FORM = "does not exist in ONNX"
_ON_VALUES = "depends on the values of a tensor"
_NOT_CAPTURED = "ONNX cannot represent it"


def _parts(x):
    return x.reshape(-1, 2, 3)


def _squares(x):
    return x[:, :4].reshape(-1, 2, 2)


def _regular(x):
    return 0 * _squares(x) + torch.eye(2, dtype=x.dtype)


def _products(x):
    return _parts(x).abs() @ _parts(x).abs().mT


LINEAR_ALGEBRA = Family(
    "Linear algebra and rare operators, of finite rows",
    [_FINITE],
    [
        Operator(
            "addbmm",
            lambda x: torch.addbmm(torch.ones(2, 2, dtype=x.dtype), _parts(x), _parts(x).mT),
            terms=lambda x: _products(x).sum(0) + 1,
        ),
        Operator(
            "baddbmm",
            lambda x: torch.baddbmm(torch.ones(1, 2, 2, dtype=x.dtype), _parts(x), _parts(x).mT, beta=0.5),
            terms=lambda x: _products(x) + 1,
        ),
        Operator(
            "addmv",
            lambda x: torch.addmv(x[:, 0], x, torch.ones(6, dtype=x.dtype), beta=0.5, alpha=2.0),
            terms=lambda x: 3 * x.abs().sum(1),
        ),
        Operator("addr", lambda x: torch.addr(torch.ones(6, 6, dtype=x.dtype), x[0], x[1])),
        Operator("outer", lambda x: torch.outer(x[:, 0], x[:, 1])),
        *(
            Operator(
                name,
                lambda x, det=det: det(_squares(x)),
                terms=lambda x: x[:, 0].abs() * x[:, 3].abs() + x[:, 1].abs() * x[:, 2].abs(),
            )
            for name, det in (("det", torch.det), ("linalg.det", torch.linalg.det))
        ),
        Operator("logdet", lambda x: torch.logdet(_regular(x))),
        Operator("x * x[0, 0].item()", lambda x: x * x[0, 0].item()),
        Operator("histc", lambda x: torch.histc(x, 5, -1.0, 1.0)),
        Operator("diag_embed", torch.diag_embed),
        Operator("embedding(max_norm=1)", lambda x: F.embedding(torch.tensor([0, 1]), x[:3].clone(), max_norm=1.0)),
        Operator("isin", lambda x: torch.isin(x, torch.tensor([0.0, 1.0, 5.0])), refused=_NO_FORM),
        Operator("take_along_dim", lambda x: x.take_along_dim((x > 0).long(), 1)),
        Operator("tril_indices", lambda x: torch.tril_indices(3, 3) + x[0, :1].long()),
        Operator("triu_indices", lambda x: torch.triu_indices(3, 3) + x[0, :1].long()),
        Operator("trace", lambda x: torch.trace(x[0].view(2, 3)), refused="i = torch.arange(n)"),
        Operator("argwhere", torch.argwhere),
        Operator("nanquantile", lambda x: x.nanquantile(0.3, 1)),
        Operator(
            "conv_transpose1d",
            lambda x: F.conv_transpose1d(x[:, None], torch.ones(1, 2, 3, dtype=x.dtype)),
            terms=lambda x: F.conv_transpose1d(x.abs()[:, None], torch.ones(1, 2, 3, dtype=x.dtype)),
        ),
        *(
            Operator(name, lambda x, name=name: operator.attrgetter(name)(torch)(_regular(x)), refused=_NO_FORM)
            for name in (
                *("slogdet", "linalg.slogdet", "inverse", "pinverse", "linalg.inv", "linalg.inv_ex"),
                *("linalg.pinv", "linalg.cholesky", "linalg.cholesky_ex", "cholesky_inverse"),
            )
        ),
        *(
            Operator(name, lambda x, compute=compute: compute(_regular(x)), refused=_NO_FORM)
            for name, compute in (
                ("linalg.matrix_power(-2)", lambda x: torch.linalg.matrix_power(x, -2)),
                ("linalg.solve", lambda x: torch.linalg.solve(x, x)),
                ("linalg.solve_ex", lambda x: torch.linalg.solve_ex(x, x)),
                ("cholesky", lambda x: torch.ops.aten.cholesky(x)),  # removed in torch 2.15
                ("cholesky_solve", lambda x: torch.cholesky_solve(x, x)),
                ("triangular_solve", lambda x: torch.ops.aten.triangular_solve(x, x)[0]),
                ("linalg.solve_triangular", lambda x: torch.linalg.solve_triangular(x, x, upper=True)),
            )
        ),
        Operator("matrix_exp", lambda x: torch.matrix_exp(_squares(x)), refused=_NO_FORM),
        Operator("unique of floats", lambda x: torch.unique(x[:, 0]), refused="Convert them to integers"),
        Operator("unique_consecutive", lambda x: torch.unique_consecutive(x[:, 0]), refused="Convert them to integers"),
        Operator("allclose", lambda x: x * float(torch.allclose(x, x)), refused=_ON_VALUES),
        Operator("equal", lambda x: x * float(torch.equal(x, x)), refused=_ON_VALUES),
        Operator("is_nonzero", lambda x: x * float(bool(x[0, 0])), refused=_ON_VALUES),
        Operator("x[:, : int(x[0, 0])]", lambda x: x[:, : int(x[0, 0].clamp(1, 2))], refused=_ON_VALUES),
        Operator(
            "fake_quantize_per_tensor_affine",
            lambda x: torch.fake_quantize_per_tensor_affine(x, 0.1, 0, -128, 127),
            refused=_NOT_CAPTURED,
        ),
        Operator(
            "fake_quantize_per_channel_affine",
            lambda x: torch.fake_quantize_per_channel_affine(
                x, torch.full((6,), 0.1), torch.zeros(6, dtype=torch.int32), 1, -128, 127
            ),
            refused=_NOT_CAPTURED,
        ),
        Operator(
            "hardtanh_backward",
            lambda x: torch.ops.aten.hardtanh_backward(x, x, -1.0, 1.0),
            refused="it belongs to training",
        ),
    ],
)
