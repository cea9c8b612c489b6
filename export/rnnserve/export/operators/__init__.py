"""Corrected ONNX translations of PyTorch's operators, and refusals of operators without a correct translation.

`TRANSLATIONS` maps each operator to its translation. Every file here holds the translations of one kind of operator.
`refuse_operators` refuses operators in the captured program that can't be exported correctly, and `unify_numbers` makes
mixed numbers in it one type. Two passes work on the finished graph: `guard_empty_axes`, and `rewrite_for_onnxruntime`,
whose table maps each ONNX operator to its replacement. docs/reference/compatibility.md lists the results by
operator. The package imports torch, onnx and onnxscript. From rnnserve it imports only the errors,
`source_lines` and `common`.

Public: `__all__`, `graphs`.
"""

from collections.abc import Callable
from typing import Any

from rnnserve.export.operators import elementwise, layers, reductions, refusals
from rnnserve.export.operators.elementwise import unify_numbers
from rnnserve.export.operators.refusals import refuse_operators
from rnnserve.export.operators.rewrites import MayBeEmpty, guard_empty_axes, refuse_empty, rewrite_for_onnxruntime

__all__ = [
    "TRANSLATIONS",
    "MayBeEmpty",
    "guard_empty_axes",
    "refuse_empty",
    "refuse_operators",
    "rewrite_for_onnxruntime",
    "unify_numbers",
]

TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    **elementwise.TRANSLATIONS,
    **layers.TRANSLATIONS,
    **reductions.TRANSLATIONS,
    **refusals.TRANSLATIONS,
}
