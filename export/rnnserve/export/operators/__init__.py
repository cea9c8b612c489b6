"""Translations of PyTorch's operators to ONNX where torch's own give other values, and refusals where none is right.

One family a file; `TRANSLATIONS` is all of them, by the operator that is translated. `refuse_operators` looks at the
captured program for what cannot be right, and `unify_numbers` gives the numbers in it one type. Seven passes work on
the finished graph: `guard_empty_axes`, `keep_nan`, `sharpen_sigmoids`, `sum_integers_exactly`, `choose_booleans`,
`transform_exactly` and `write_out_doubles`.
docs/reference/operators.md has what each operator gives on which values. The package imports torch, onnx and
onnxscript, and of rnnserve only the errors, `source_lines` and `common`.

Door: `__all__`.
"""

from collections.abc import Callable
from typing import Any

from rnnserve.export.operators import (
    adaptive_pooling,
    attention,
    clamping,
    convolutions,
    diagonals,
    distances,
    divisions,
    extrema,
    integer_sums,
    logarithms,
    medians,
    normalisation,
    powers,
    quantifiers,
    resizing,
    scans,
    signs,
    sorting,
    squeezing,
    sums,
    unstable,
    variances,
)
from rnnserve.export.operators.boolean_choices import choose_booleans
from rnnserve.export.operators.divisions import divided_by_constants_of
from rnnserve.export.operators.double_kernels import write_out_doubles
from rnnserve.export.operators.empty_axes import MayBeEmpty, guard_empty_axes, refuse_empty
from rnnserve.export.operators.fourier import transform_exactly
from rnnserve.export.operators.integer_sums import sum_integers_exactly
from rnnserve.export.operators.nan_reductions import keep_nan
from rnnserve.export.operators.number_types import unify_numbers
from rnnserve.export.operators.refusals import refuse_operators
from rnnserve.export.operators.sigmoids import sharpen_sigmoids

__all__ = [
    "TRANSLATIONS",
    "MayBeEmpty",
    "choose_booleans",
    "divided_by_constants_of",
    "guard_empty_axes",
    "keep_nan",
    "refuse_empty",
    "refuse_operators",
    "sharpen_sigmoids",
    "sum_integers_exactly",
    "transform_exactly",
    "unify_numbers",
    "write_out_doubles",
]

TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    **adaptive_pooling.TRANSLATIONS,
    **attention.TRANSLATIONS,
    **clamping.TRANSLATIONS,
    **convolutions.TRANSLATIONS,
    **diagonals.TRANSLATIONS,
    **distances.TRANSLATIONS,
    **divisions.TRANSLATIONS,
    **extrema.TRANSLATIONS,
    **integer_sums.TRANSLATIONS,
    **logarithms.TRANSLATIONS,
    **medians.TRANSLATIONS,
    **normalisation.TRANSLATIONS,
    **powers.TRANSLATIONS,
    **quantifiers.TRANSLATIONS,
    **resizing.TRANSLATIONS,
    **scans.TRANSLATIONS,
    **signs.TRANSLATIONS,
    **sorting.TRANSLATIONS,
    **squeezing.TRANSLATIONS,
    **sums.TRANSLATIONS,
    **unstable.TRANSLATIONS,
    **variances.TRANSLATIONS,
}
