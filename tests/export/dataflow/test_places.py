"""What operators that number, move and write entries do to rows, padding and steps: right places and wrong ones."""

import pytest
from onnx import TensorProto

from kit.operator_verdicts import BATCH, ROW, WHOLE, verdicts

ROWS_NUMBERED = [
    ("Shape", "x", "rows", {"start": 0, "end": 1}),
    ("Squeeze", "rows", "rows_count", {}),
    ("Range", "scalar_0 rows_count scalar_1", "places", {}),
]

# For each: rows, padding, causality: + proven, - refuted, ? not decided.
CASES = {
    "as many columns as rows": (
        "?++",
        [*ROWS_NUMBERED[:2], ("OneHot", "lengths rows_count values", "y", {})],
        [BATCH, ("columns", 7)],
    ),
    "divided by the number of rows": (
        "-++",
        [*ROWS_NUMBERED[:1], ("Cast", "rows", "f", {"to": TensorProto.FLOAT}), ("Div", "x f", "y", {})],
        WHOLE,
    ),
    "a row's place added": (
        "?++",  # not refuted: rows that are sorted, and put back, are numbered, too; the trial finds it
        [
            *ROWS_NUMBERED,
            ("Cast", "places", "f", {"to": TensorProto.FLOAT}),
            ("Unsqueeze", "f one", "u", {}),
            ("Unsqueeze", "u two", "v", {}),
            ("Add", "x v", "y", {}),
        ],
        WHOLE,
    ),
    "each row read by its place": (
        "+++",
        [
            *ROWS_NUMBERED,
            ("Sub", "lengths one", "ends", {}),
            ("Unsqueeze", "places one", "u", {}),
            ("Unsqueeze", "ends one", "v", {}),
            ("Concat", "u v", "i", {"axis": -1}),
            ("GatherND", "x i", "y", {}),
        ],
        ROW,
    ),
    "an entry of a table for each step": (
        "+++",
        [("Shape", "x", "s", {"start": 1, "end": 2}), ("Slice", "table zero s zero", "t", {}), ("Add", "x t", "y", {})],
        WHOLE,
    ),
    "an entry of a table for each row": (
        "?++",
        [
            ("Shape", "x", "s", {"start": 0, "end": 1}),
            ("Slice", "table zero s zero", "t", {}),
            ("Unsqueeze", "t one", "u", {}),
            ("Add", "x u", "y", {}),
        ],
        WHOLE,
    ),
    "the last step set to zero": (
        "+??",
        [
            ("Slice", "x zero minus one", "s", {}),
            ("ConstantOfShape", "pads", "unused", {}),
            ("Pad", "s tail", "y", {}),
        ],
        WHOLE,
    ),
    "the last step from elsewhere": (
        "+??",
        [
            ("Slice", "x zero minus one", "s", {}),
            *ROWS_NUMBERED[:1],
            ("Concat", "rows one three", "h", {"axis": 0}),
            ("ConstantOfShape", "h", "z", {}),
            ("Concat", "s z", "y", {"axis": 1}),
        ],
        WHOLE,
    ),
    "the first step from elsewhere": (
        "+++",
        [
            ("Slice", "x zero minus one", "s", {}),
            ("Slice", "x zero one one", "f", {}),
            ("Concat", "f s", "y", {"axis": 1}),
        ],
        WHOLE,
    ),
    "the last step written": (
        "+??",
        [
            ("Slice", "x minus far one", "s", {}),
            ("Shape", "s", "h", {}),
            ("Expand", "minus h", "i", {}),
            ("ConstantOfShape", "h", "u", {}),
            ("ScatterElements", "x i u", "y", {"axis": 1}),
        ],
        WHOLE,
    ),
    "the first row written": (
        "?++",
        [
            ("Slice", "x zero one zero", "s", {}),
            ("Shape", "s", "h", {}),
            ("Expand", "zero h", "i", {}),
            ("ConstantOfShape", "h", "u", {}),
            ("ScatterElements", "x i u", "y", {"axis": 0}),
        ],
        WHOLE,
    ),
    "features rolled round": (
        "+++",
        [
            ("Mod", "minus three", "at", {}),
            ("Slice", "x at three two", "end", {}),
            ("Slice", "x zero at two", "begin", {}),
            ("Concat", "end begin", "y", {"axis": 2}),
        ],
        WHOLE,
    ),
    "a step later": ("+++", [("Slice", "x zero minus one", "s", {}), ("Pad", "s head", "y", {})], WHOLE),
    "a step earlier": ("+??", [("Slice", "x one far one", "s", {}), ("Pad", "s tail", "y", {})], WHOLE),
    "rows and steps joined and divided": (
        "+++",
        [
            ("Reshape", "x flat", "f", {}),
            ("MatMul", "f weights", "g", {}),
            ("Shape", "x", "h", {}),
            ("Reshape", "g h", "y", {}),
        ],
        WHOLE,
    ),
    "rows and steps exchanged by a reshape": (
        "???",
        [
            ("Transpose", "x", "t", {"perm": [1, 0, 2]}),
            ("Shape", "x", "h", {}),
            ("Reshape", "t h", "y", {}),
        ],
        WHOLE,
    ),
    "sorted rows": (
        "?++",
        [("Shape", "x", "s", {"start": 0, "end": 1}), ("TopK", "x s", "y order", {"axis": 0})],
        WHOLE,
    ),
}


@pytest.mark.parametrize(("expected", "nodes", "axes"), CASES.values(), ids=CASES)
def test_what_is_decided(expected, nodes, axes):
    assert verdicts(nodes, axes) == expected
