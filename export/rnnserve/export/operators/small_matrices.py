"""Inverses, solutions, Cholesky factors and determinants of small matrices, and distances of all pairs.

ONNX has no operator for a factorisation. Those of a matrix of few rows, as in a Kalman filter, are written out row by
row, in float64: results are nearer to the true ones than eager's, which are computed in the type of the matrix. Where
torch raises an error, since a matrix is singular or not positive definite, all results for that matrix are NaN, and
`info` says so as torch's does.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import torch

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.operators.values import Value, op

__all__ = ["TRANSLATIONS"]

_ATEN = torch.ops.aten
_MOST_ROWS = 16  # a row takes about 20 nodes


class _Matrices:
    """Matrices (..., rows, columns) of float64, and how their rows are numbered."""

    def __init__(self, name: str, x: Value, transposed: bool = False) -> None:
        """Take matrices that are square.

        Args:
            name: Name of what is computed of them, for a refusal.
            x: The matrices (..., rows, rows).
            transposed: Whether to take them transposed.

        Raises:
            UnsupportedModule: If their size differs between requests, or is large.
        """
        size = x.shape[-1]
        if not isinstance(size, int) or not isinstance(x.shape[-2], int) or size > _MOST_ROWS:
            found = size if isinstance(size, int) else "a number of rows that differs between requests"
            raise UnsupportedModule(
                f"{name} has no form in ONNX. It is written out for matrices of up to {_MOST_ROWS} rows, and here "
                f"it is given {found}. If the matrix is one of weights alone, compute it once, in a buffer."
            )
        self.size = size
        self.rank = len(x.shape)
        self.x = _wide(_transposed(x, self.rank) if transposed else x)
        self.numbers = _constant(np.arange(size)[:, None])
        self.batch = op.Concat(op.Shape(self.x, start=0, end=-2), _constant(np.ones(2, np.int64)), axis=0)

    def eye(self) -> Value:
        """Make the identity for each of them."""
        return op.Expand(_constant(np.eye(self.size)), self.batch)

    def row(self, at: int) -> Value:
        """Say which rows are the one of a number, (rows, 1)."""
        return op.Equal(self.numbers, _constant(np.array(at)))


def _constant(array: np.typing.NDArray[Any]) -> Value:
    value: Value = op.Constant(value=ir.tensor(array))
    value.dtype = ir.DataType.from_numpy(array.dtype)
    return value


def _number(number: float) -> Value:
    return _constant(np.array(number, np.float64))


def _wide(x: Value) -> Value:
    return x if x.dtype == ir.DataType.DOUBLE else op.Cast(x, to=ir.DataType.DOUBLE.value)


def _as(x: Value, given: Value) -> Value:
    return x if given.dtype == ir.DataType.DOUBLE else op.CastLike(x, given)


def _transposed(x: Value, rank: int) -> Value:
    return op.Transpose(x, perm=[*range(rank - 2), rank - 1, rank - 2])


def _cut(x: Value, first: int, end: int, axis: int) -> Value:
    return op.Slice(x, *(_constant(np.array([each], np.int64)) for each in (first, end, axis)))


def _eliminated(matrices: _Matrices, wide: Value, above: bool) -> tuple[Value, list[Value], Value]:
    """Eliminate the columns of square matrices by the row whose entry is the largest, as LAPACK's getrf.

    Args:
        matrices: The matrices.
        wide: The matrices, and what is solved for beside them, (..., rows, rows + columns).
        above: Whether to eliminate above the diagonal, too, and to divide by it.

    Returns:
        What is left, the pivots (..., 1, 1), and how many rows were exchanged, (..., 1, 1).
    """
    pivots: list[Value] = []
    exchanged = _number(0.0)
    for at in range(matrices.size):
        here = matrices.row(at)
        largest = op.ArgMax(op.Abs(_cut(_cut(wide, at, at + 1, -1), at, matrices.size, -2)), axis=-2, keepdims=1)
        chosen = op.Add(largest, _constant(np.array(at)))
        exchanged = op.Add(exchanged, op.Cast(op.Greater(largest, _constant(np.array(0))), to=ir.DataType.DOUBLE.value))
        others = op.Where(op.Equal(matrices.numbers, chosen), _constant(np.array(at)), matrices.numbers)
        places = op.Where(here, chosen, others)
        wide = op.GatherElements(wide, op.Expand(places, op.Shape(wide)), axis=-2)
        column, row = _cut(wide, at, at + 1, -1), _cut(wide, at, at + 1, -2)
        pivots.append(_cut(row, at, at + 1, -1))
        # Of a column of zeros nothing is left to eliminate.
        row = op.Div(row, op.Where(op.Equal(pivots[-1], _number(0.0)), _number(1.0), pivots[-1]))
        reduced = op.Sub(wide, op.Mul(column, row))
        if above:
            wide = op.Where(here, row, reduced)
        else:
            wide = op.Where(op.Greater(matrices.numbers, _constant(np.array(at))), reduced, wide)
    return wide, pivots, exchanged


def _first(conditions: list[Value]) -> Value:
    """Say which of conditions (..., 1, 1) is the first that holds, from 1, or 0: torch's `info`, (..., 1, 1)."""
    info = _constant(np.array(0))
    for at in reversed(range(len(conditions))):
        info = op.Where(conditions[at], _constant(np.array(at + 1)), info)
    return info


def _marked(x: Value, info: Value) -> Value:
    """Make all values of a matrix NaN that has no result."""
    return op.Where(op.Equal(info, _constant(np.array(0))), x, _number(math.nan))


def _short(info: Value) -> Value:
    """Turn what is said of each matrix, (..., 1, 1), into torch's int32 (...)."""
    return op.Cast(op.Squeeze(info, _constant(np.array([-2, -1]))), to=ir.DataType.INT32.value)


def _solved(matrices: _Matrices, right: Value) -> tuple[Value, Value]:
    """Solve for right sides (..., rows, columns) of the same batch; give the solutions, and where there is none."""
    wide, pivots, _ = _eliminated(matrices, op.Concat(matrices.x, right, axis=-1), above=True)
    info = _first([op.Equal(pivot, _number(0.0)) for pivot in pivots])
    return _marked(_cut(wide, matrices.size, 2**31, -1), info), info


def _inverse_and_info(a: Value, check_errors: bool = False) -> tuple[Value, Value]:  # noqa: ARG001 - of the operator
    matrices = _Matrices("the inverse", a)
    solved, info = _solved(matrices, matrices.eye())
    return _as(solved, a), _short(info)


def _inverse(a: Value) -> Value:
    return _inverse_and_info(a)[0]


def _is_vector(a: Value, b: Value) -> bool:
    """Whether right sides are vectors, one for each matrix, by the rule of torch.linalg.solve.

    Raises:
        UnsupportedModule: If that depends on how many matrices a request has.
    """
    if len(b.shape) == 1 or len(a.shape) - 1 != len(b.shape):
        return len(b.shape) == 1
    pairs = list(zip(a.shape, b.shape, strict=False))
    if any(isinstance(one, int) and isinstance(other, int) and one != other for one, other in pairs):
        return False
    if any(one != other for one, other in pairs):
        raise UnsupportedModule(
            f"solve takes the right side {tuple(map(str, b.shape))} for vectors where there are as many matrices, and "
            "for a matrix elsewhere: for some requests its results would be others. Give it as many axes as the "
            "matrices have: right.unsqueeze(0) for a matrix, right.unsqueeze(-1) for vectors."
        )
    return True


def _solve_and_info(
    a: Value,
    b: Value,
    left: bool = True,
    check_errors: bool = False,  # noqa: ARG001 - of the operator
) -> tuple[Value, Value]:
    vector = _is_vector(a, b)
    matrices = _Matrices("solving", a, transposed=not left)
    last: Value = _constant(np.array([-1]))
    right = _wide(b)
    if vector:
        right = op.Unsqueeze(right, last)
    elif not left:
        right = _transposed(right, len(b.shape))
    of_right = op.Concat(op.Shape(right, start=0, end=-2), _constant(np.ones(2, np.int64)), axis=0)
    right = op.Expand(right, matrices.batch)
    matrices.x = op.Expand(matrices.x, of_right)
    solved, info = _solved(matrices, right)
    if vector:
        solved = op.Squeeze(solved, last)
    elif not left:
        solved = _transposed(solved, max(len(a.shape), len(b.shape)))
    return _as(solved, b), _short(info)


def _solve(a: Value, b: Value, left: bool = True) -> Value:
    return _solve_and_info(a, b, left)[0]


def _cholesky_and_info(
    a: Value,
    upper: bool = False,
    check_errors: bool = False,  # noqa: ARG001 - of the operator
) -> tuple[Value, Value]:
    """Factor from one triangle, as LAPACK's potrf; the other is not read."""
    matrices = _Matrices("the Cholesky factor", a, transposed=upper)
    rest, columns, bad = matrices.x, [], []
    for at in range(matrices.size):
        column = _cut(rest, at, at + 1, -1)
        pivot = _cut(column, at, at + 1, -2)
        bad.append(op.Not(op.Greater(pivot, _number(0.0))))
        column = op.Div(column, op.Sqrt(pivot))
        columns.append(op.Where(op.Less(matrices.numbers, _constant(np.array(at))), _number(0.0), column))
        rest = op.Sub(rest, op.Mul(columns[-1], _transposed(columns[-1], matrices.rank)))
    info = _first(bad)
    factor = _marked(op.Concat(*columns, axis=-1), info)
    return _as(_transposed(factor, matrices.rank) if upper else factor, a), _short(info)


def _cholesky(a: Value, upper: bool = False) -> Value:
    return _cholesky_and_info(a, upper)[0]


def _substituted(matrices: _Matrices, right: Value, upper: bool, unit: bool) -> Value:
    """Solve triangular systems by substitution; a diagonal of zeros gives inf and NaN, as in torch."""
    order = range(matrices.size)
    for at in reversed(order) if upper else order:
        column = _cut(matrices.x, at, at + 1, -1)
        row = _cut(right, at, at + 1, -2)
        if not unit:
            row = op.Div(row, _cut(column, at, at + 1, -2))
            right = op.Where(matrices.row(at), row, right)
        after = (op.Less if upper else op.Greater)(matrices.numbers, _constant(np.array(at)))
        right = op.Where(after, op.Sub(right, op.Mul(column, row)), right)
    return right


def _solve_triangular(a: Value, b: Value, upper: bool, left: bool = True, unitriangular: bool = False) -> Value:
    matrices = _Matrices("solving", a, transposed=not left)
    right = _wide(b) if left else _transposed(_wide(b), len(b.shape))
    solved = _substituted(matrices, right, upper != (not left), unitriangular)
    return _as(solved if left else _transposed(solved, max(len(a.shape), len(b.shape))), b)


def _triangular_solve(
    b: Value, a: Value, upper: bool = True, transpose: bool = False, unitriangular: bool = False
) -> tuple[Value, Value]:
    matrices = _Matrices("solving", a, transposed=transpose)
    return _as(_substituted(matrices, _wide(b), upper != transpose, unitriangular), b), op.Identity(a)


def _solved_twice(name: str, factor: Value, upper: bool, right: Callable[[_Matrices], Value]) -> Value:
    """Solve with a matrix of which the Cholesky factor is given."""
    first, second = (_Matrices(name, factor, transposed=each) for each in (upper, not upper))
    return _substituted(second, _substituted(first, right(first), upper=False, unit=False), upper=True, unit=False)


def _cholesky_solve(b: Value, factor: Value, upper: bool = False) -> Value:
    return _as(_solved_twice("solving", factor, upper, lambda _: _wide(b)), b)


def _cholesky_inverse(factor: Value, upper: bool = False) -> Value:
    return _as(_solved_twice("the inverse", factor, upper, _Matrices.eye), factor)


def _sign_and_logarithm(a: Value) -> tuple[Value, Value]:
    matrices = _Matrices("the determinant", a)
    _, pivots, exchanged = _eliminated(matrices, matrices.x, above=False)
    sign = op.Sub(_number(1.0), op.Mul(_number(2.0), op.Mod(exchanged, _number(2.0), fmod=1)))
    logarithm = _number(0.0)
    for pivot in pivots:
        sign, logarithm = op.Mul(sign, op.Sign(pivot)), op.Add(logarithm, op.Log(op.Abs(pivot)))
    last: Value = _constant(np.array([-2, -1]))
    return op.Squeeze(sign, last), op.Squeeze(logarithm, last)


def _slogdet(a: Value) -> tuple[Value, Value]:
    sign, logarithm = _sign_and_logarithm(a)
    return _as(sign, a), _as(logarithm, a)


def _logdet(a: Value) -> Value:
    sign, logarithm = _sign_and_logarithm(a)
    return _as(op.Where(op.Less(sign, _number(0.0)), _number(math.nan), logarithm), a)


def _cdist(x: Value, y: Value, p: float = 2.0, compute_mode: int | None = None) -> Value:  # noqa: ARG001 - of the operator
    """Compute the distances of all pairs from differences, whatever the number of points.

    From 26 points on, torch computes them from products, where those of near points lose their digits.
    """
    last: Value = op.Constant(value_ints=[-1])
    apart = op.Abs(op.Sub(op.Unsqueeze(x, op.Constant(value_ints=[-2])), op.Unsqueeze(y, op.Constant(value_ints=[-3]))))
    zero = op.CastLike(0.0, x)
    if p == math.inf:  # which passes over nan, in torch
        return op.ReduceMax(op.Where(op.IsNaN(apart), zero, apart), last, keepdims=0)
    if p == 0:
        differ = op.Where(op.Or(op.Equal(apart, zero), op.IsNaN(apart)), apart, op.CastLike(1.0, x))
        return op.ReduceSum(differ, last, keepdims=0)
    if p == 1:
        return op.ReduceSum(apart, last, keepdims=0)
    if p == 2:
        return op.Sqrt(op.ReduceSum(op.Mul(apart, apart), last, keepdims=0))
    return op.Pow(op.ReduceSum(op.Pow(apart, op.CastLike(p, x)), last, keepdims=0), op.CastLike(1 / p, x))


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    _ATEN.inverse.default: _inverse,
    _ATEN.linalg_inv.default: _inverse,
    _ATEN.linalg_inv_ex.default: _inverse_and_info,
    _ATEN.linalg_solve.default: _solve,
    _ATEN.linalg_solve_ex.default: _solve_and_info,
    _ATEN.cholesky.default: _cholesky,
    _ATEN.linalg_cholesky.default: _cholesky,
    _ATEN.linalg_cholesky_ex.default: _cholesky_and_info,
    _ATEN.cholesky_solve.default: _cholesky_solve,
    _ATEN.cholesky_inverse.default: _cholesky_inverse,
    _ATEN.linalg_solve_triangular.default: _solve_triangular,
    _ATEN.triangular_solve.default: _triangular_solve,
    _ATEN.slogdet.default: _slogdet,
    _ATEN.linalg_slogdet.default: _slogdet,
    _ATEN.logdet.default: _logdet,
    _ATEN.cdist.default: _cdist,
    _ATEN._cdist_forward.default: _cdist,  # noqa: SLF001 - its name in a decomposed program
}
