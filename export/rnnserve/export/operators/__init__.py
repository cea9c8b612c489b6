"""Translations of PyTorch's operators to ONNX where torch's own give other values, and refusals where none is right.

`TRANSLATIONS` is all of them, by the operator that is translated; each file has those of a kind. `refuse_operators`
looks at the captured program for what cannot be right, and `unify_numbers` gives the numbers in it one type. Two passes
work on the finished graph: `guard_empty_axes`, and `rewrite_for_onnxruntime`, whose table has by operator of ONNX what
is written in its place. docs/reference/operators.md has what each operator gives on which values. The package imports
torch, onnx and onnxscript, and of rnnserve only the errors, `source_lines` and `common`.

Door: `__all__`, `graphs`.
"""

from collections.abc import Callable
from typing import Any

from rnnserve.export.operators import elementwise, layers, reductions, refusals
from rnnserve.export.operators.elementwise import unify_numbers
from rnnserve.export.operators.refusals import checked_distribution, refuse_operators
from rnnserve.export.operators.rewrites import MayBeEmpty, guard_empty_axes, refuse_empty, rewrite_for_onnxruntime

__all__ = [
    "TRANSLATIONS",
    "MayBeEmpty",
    "checked_distribution",
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
