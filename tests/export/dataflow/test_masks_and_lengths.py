"""What operators do to rows, padding and steps by lengths: masks, states at the lengths, and the longest row."""

import pytest
from onnx import TensorProto

from kit.operator_verdicts import ROW, WHOLE, verdicts

MASK = [
    ("Shape", "x", "steps", {"start": 1, "end": 2}),
    ("Squeeze", "steps", "count", {}),
    ("Range", "scalar_0 count scalar_1", "numbers", {}),
    ("Unsqueeze", "numbers zero", "row", {}),
    ("Unsqueeze", "lengths one", "column", {}),
    ("Less", "row column", "inside", {}),
    ("Unsqueeze", "inside two", "mask", {}),
]
LONGEST = [("ReduceMax", "lengths zero", "longest", {"keepdims": 1}), ("Slice", "x zero longest one", "trimmed", {})]


def state_at(lengths, more=("Add", "lengths one")):
    return [
        (*more, "more", {}),
        ("Cast", lengths, "int32", {"to": TensorProto.INT32}),
        ("Transpose", "x", "t", {"perm": [1, 0, 2]}),
        ("RNN", "t W W bias int32", "r end", {"hidden_size": 3}),
        ("Squeeze", "end zero", "y", {}),
    ]


# For each: rows, padding, causality: + proven, - refuted, ? not decided.
CASES = {
    "a masked sum": (
        "++-",
        [*MASK, ("Where", "mask x nothing", "m", {}), ("ReduceSum", "m one", "y", {"keepdims": 0})],
        ROW,
    ),
    "a mask that is a step too long": (
        "+--",
        [
            *MASK[:5],
            ("LessOrEqual", "row column", "inside", {}),
            *MASK[6:],
            ("Where", "mask x nothing", "m", {}),
            ("ReduceSum", "m one", "y", {"keepdims": 0}),
        ],
        ROW,
    ),
    "the state at the lengths": ("+++", state_at("lengths"), ROW),
    "the state a step after the lengths": ("+-+", state_at("more"), ROW),
    "the state at lengths of 1 at least, as all are": ("+++", state_at("more", ("Max", "lengths one")), ROW),
    "the state at lengths of 2 at least": ("+??", state_at("more", ("Max", "two lengths")), ROW),
    "a product with the mask": (
        "++-",
        [
            *MASK,
            ("Cast", "mask", "f", {"to": TensorProto.FLOAT}),
            ("Mul", "x f", "m", {}),
            ("ReduceSum", "m one", "y", {"keepdims": 0}),
        ],
        ROW,
    ),
    "a product with the mask of what may be infinite": (
        "+?-",
        [
            *MASK,
            ("Cast", "mask", "f", {"to": TensorProto.FLOAT}),
            ("Log", "x", "l", {}),
            ("Mul", "l f", "m", {}),
            ("ReduceSum", "m one", "y", {"keepdims": 0}),
        ],
        ROW,
    ),
    "the mask the wrong way round": (
        "+--",
        [*MASK, ("Where", "mask nothing x", "m", {}), ("ReduceSum", "m one", "y", {"keepdims": 0})],
        ROW,
    ),
    "masked attention": (
        "++-",
        [
            *MASK,
            ("Where", "mask x infinite", "m", {}),
            ("Softmax", "m", "w", {"axis": 1}),
            ("Mul", "w x", "p", {}),
            ("ReduceSum", "p one", "y", {"keepdims": 0}),
        ],
        ROW,
    ),
    "trimmed to the longest row": ("+++", [*LONGEST, ("Identity", "trimmed", "y", {})], WHOLE),
    "a mean over what is trimmed": ("?--", [*LONGEST, ("ReduceMean", "trimmed one", "y", {"keepdims": 0})], ROW),
    "the last of what is trimmed": ("?-+", [*LONGEST, ("Gather", "trimmed last", "y", {"axis": 1})], ROW),
    "divided by the longest row": (
        "?++",
        [*LONGEST[:1], ("Cast", "longest", "f", {"to": TensorProto.FLOAT}), ("Div", "x f", "y", {})],
        WHOLE,
    ),
}


@pytest.mark.parametrize(("expected", "nodes", "axes"), CASES.values(), ids=CASES)
def test_what_is_decided(expected, nodes, axes):
    assert verdicts(nodes, axes) == expected
