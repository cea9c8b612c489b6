"""Operators, and attributes of them, that few graphs hold: what is decided, and that it holds on drawn values."""

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto

from kit.operator_verdicts import BATCH, ROW, SEQUENCE, WHOLE, described, model_of, verdicts
from kit.proven_graphs import violations
from rnnserve.export.dataflow import Property

STEPS = [BATCH, SEQUENCE]
STEPS_LAST = ("Transpose", "x", "t", {"perm": [0, 2, 1]})
STEPS_BACK = ("Transpose", "c", "y", {"perm": [0, 2, 1]})
SUMS = ("ReduceSum", "x one", "s", {"keepdims": 0})
SIZES = ("Shape", "x", "sizes", {})
SCORES = ("Einsum", "x x", "a", {"equation": "bsi,bti->bst"})
MEANS = ("Einsum", "m x", "y", {"equation": "bst,bti->bsi"})


def float_of(name, result="f"):
    return ("Cast", name, result, {"to": TensorProto.FLOAT})


# For each: rows, padding, causality: + proven, - refuted, ? not decided; nodes, axes of the output.
CASES = {
    # reshaping
    "features twice": ("+++", [("Tile", "x twice_features", "y", {})], [*STEPS, ("twice", 6)]),
    "steps twice": ("+??", [("Tile", "x twice_steps", "a", {}), ("ReduceMean", "a one", "y", {"keepdims": 0})], ROW),
    "steps and rows as one axis": (
        "+++",
        [("Flatten", "x", "a", {"axis": 2}), ("MatMul", "a weights", "b", {}), SIZES, ("Reshape", "b sizes", "y", {})],
        WHOLE,
    ),
    "the same, counted from the end": (
        "+++",
        [("Flatten", "x", "a", {"axis": -1}), ("Tanh", "a", "b", {}), SIZES, ("Reshape", "b sizes", "y", {})],
        WHOLE,
    ),
    "steps where rows were": (
        "???",
        [("Transpose", "x", "a", {"perm": [1, 0, 2]}), SIZES, ("Reshape", "a sizes", "y", {})],
        WHOLE,
    ),
    "axes kept by zeros": (
        "+++",
        [("Reshape", "x columns", "a", {}), ("ReduceSum", "a three", "y", {"keepdims": 0})],
        WHOLE,
    ),
    "all axes of size 1 gone, of which rows may be one": (
        "???",
        [("ReduceSum", "x two", "a", {"keepdims": 1}), ("Squeeze", "a", "y", {})],
        STEPS,
    ),
    # parts
    "equal parts": (
        "+++",
        [("Split", "x", "a b c", {"axis": 2, "num_outputs": 3}), ("Concat", "c a b", "y", {"axis": 2})],
        WHOLE,
    ),
    "parts of sizes": ("+++", [("Split", "x parts", "a b", {"axis": 2}), ("Concat", "b a", "y", {"axis": 2})], WHOLE),
    "a sequence of parts of sizes": (
        "+++",
        [("SplitToSequence", "x parts", "p", {"axis": 2}), ("SequenceAt", "p scalar_1", "y", {})],
        [*STEPS, ("second", 2)],
    ),
    "steps backwards": ("+??", [("Slice", "x minus backwards one minus", "y", {})], WHOLE),
    "every other feature": ("+++", [("Slice", "x zero far two two", "y", {})], [*STEPS, ("half", 2)]),
    "the last step, padded or not": (
        "+-+",
        [("Slice", "x minus far one", "a", {}), ("Squeeze", "a one", "y", {})],
        ROW,
    ),
    "the first row": ("?++", [("Slice", "x zero one zero", "a", {}), ("Add", "x a", "y", {})], WHOLE),
    # windows
    "the largest of the last three steps": (
        "+++",
        [STEPS_LAST, ("MaxPool", "t", "c", {"kernel_shape": [3], "pads": [2, 0]}), STEPS_BACK],
        WHOLE,
    ),
    "a window of two that begins a step before": (
        "+++",
        [STEPS_LAST, ("MaxPool", "t", "c", {"kernel_shape": [2], "auto_pad": "SAME_LOWER"}), STEPS_BACK],
        WHOLE,
    ),
    "a window of two that ends a step later": (
        "+--",
        [STEPS_LAST, ("MaxPool", "t", "c", {"kernel_shape": [2], "auto_pad": "SAME_UPPER"}), STEPS_BACK],
        WHOLE,
    ),
    "a convolution of one step": ("+++", [STEPS_LAST, ("Conv", "t kernel_of_one", "c", {}), STEPS_BACK], WHOLE),
    "a convolution of two steps": (
        "+++",
        [STEPS_LAST, ("Conv", "t kernel_of_two", "c", {"auto_pad": "SAME_LOWER"}), STEPS_BACK],
        WHOLE,
    ),
    "a convolution that leaves out steps": (
        "+??",
        [
            STEPS_LAST,
            ("Conv", "t kernel", "c", {"strides": [2], "pads": [1, 1]}),
            ("ReduceMean", "c two", "y", {"keepdims": 0}),
        ],
        ROW,
    ),
    "a convolution that adds steps": (
        "+??",
        [
            STEPS_LAST,
            ("ConvTranspose", "t kernel", "c", {"strides": [2]}),
            ("ReduceMean", "c two", "y", {"keepdims": 0}),
        ],
        ROW,
    ),
    "a mean over all steps": (
        "+--",
        [STEPS_LAST, ("GlobalAveragePool", "t", "a", {}), ("Squeeze", "a two", "y", {})],
        ROW,
    ),
    "the largest of all features": (
        "+++",
        [
            ("Unsqueeze", "x one", "u", {}),
            ("Transpose", "u", "v", {"perm": [0, 2, 1, 3]}),
            ("GlobalMaxPool", "v", "a", {}),
            ("Squeeze", "a two_three", "y", {}),
        ],
        STEPS,
    ),
    # products
    "a linear map of sums": ("+--", [SUMS, ("Gemm", "s weights scale", "y", {})], ROW),
    "the same, transposed": ("+--", [SUMS, ("Gemm", "s weights", "y", {"transB": 1})], ROW),
    "products of rows": ("?--", [SUMS, ("Gemm", "s s", "g", {"transA": 1}), ("Gemm", "s g", "y", {})], ROW),
    "an equation": ("+++", [("Einsum", "x weights", "y", {"equation": "bsi,ij->bsj"})], WHOLE),
    "an equation without a result": ("+++", [("Einsum", "x weights", "y", {"equation": "asi,iz"})], WHOLE),
    "an equation over steps": ("+??", [SCORES, ("Einsum", "a x", "y", {"equation": "bst,bti->bsi"})], WHOLE),
    "an equation over rows": (
        "?++",
        [("Einsum", "x x", "a", {"equation": "bsi,bsj->sij"}), ("Einsum", "x a", "y", {"equation": "bsi,sij->bsj"})],
        WHOLE,
    ),
    "an equation with dots": ("???", [("Einsum", "x weights", "y", {"equation": "...i,ij->...j"})], WHOLE),
    "an equation with a diagonal": (
        "???",
        [("Einsum", "x x", "a", {"equation": "bsi,bsj->bsij"}), ("Einsum", "a", "y", {"equation": "bsii->bsi"})],
        WHOLE,
    ),
    # what is computed over axes
    "features normalised": ("+++", [("LayerNormalization", "x scale offset", "y", {"axis": -1})], WHOLE),
    "steps normalised": ("+--", [STEPS_LAST, ("InstanceNormalization", "t scale offset", "c", {}), STEPS_BACK], WHOLE),
    "steps divided by their norm": ("+--", [("LpNormalization", "x", "y", {"axis": 1})], WHOLE),
    "statistics of the training": (
        "+++",
        [STEPS_LAST, ("BatchNormalization", "t scale offset offset scale", "c", {}), STEPS_BACK],
        WHOLE,
    ),
    "sums so far": ("+++", [("CumSum", "x scalar_1", "y", {})], WHOLE),
    "sums of what was before": ("+++", [("CumSum", "x scalar_1", "y", {"exclusive": 1})], WHOLE),
    "sums of what is left": ("+--", [("CumSum", "x scalar_1", "y", {"reverse": 1})], WHOLE),
    "sums over rows": ("-++", [("CumSum", "x scalar_0", "y", {})], WHOLE),
    "the largest two features": ("+++", [("TopK", "x two", "y places", {"axis": 2})], [*STEPS, ("two", 2)]),
    "the largest step": ("+??", [("TopK", "x one", "a places", {"axis": 1}), ("Squeeze", "a one", "y", {})], ROW),
    "where the largest feature is": (
        "+++",
        [("ArgMax", "x", "a", {"axis": 2, "keepdims": 0}), float_of("a", "y")],
        STEPS,
    ),
    "which row is the largest": (
        "-++",
        [("ArgMax", "x", "a", {"axis": 0}), float_of("a"), ("Add", "x f", "y", {})],
        WHOLE,
    ),
    "the largest of all": ("---", [("ReduceMax", "x", "a", {"keepdims": 1}), ("Add", "x a", "y", {})], WHOLE),
    "a maximum over nothing": ("???", [("ReduceMax", "x", "y", {"noop_with_empty_axes": 1})], WHOLE),
    "one of the features": ("+++", [("Hardmax", "x", "y", {"axis": 2})], WHOLE),
    "probabilities of steps": ("+--", [("LogSoftmax", "x", "y", {"axis": 1})], WHOLE),
    "scores of steps before": ("+??", [SCORES, ("Trilu", "a", "m", {"upper": 0}), MEANS], WHOLE),
    "a triangle over rows": (
        "???",
        [
            ("Transpose", "x", "a", {"perm": [2, 1, 0]}),
            ("Trilu", "a", "b", {"upper": 0}),
            ("Transpose", "b", "y", {"perm": [2, 1, 0]}),
        ],
        WHOLE,
    ),
    # sizes as values
    "how many values": ("-??", [("Size", "x", "n", {}), float_of("n"), ("Mul", "x f", "y", {})], WHOLE),
    "how many steps": (
        "+--",
        [("Shape", "x", "n", {"start": 1, "end": 2}), float_of("n"), ("Mul", "x f", "y", {})],
        WHOLE,
    ),
    "how many rows": (
        "-++",
        [("Shape", "x", "n", {"start": 0, "end": 1}), float_of("n"), ("Mul", "x f", "y", {})],
        WHOLE,
    ),
    "zeros of the same sizes": ("+++", [SIZES, ("ConstantOfShape", "sizes", "z", {}), ("Add", "x z", "y", {})], WHOLE),
}


@pytest.mark.parametrize(("expected", "nodes", "axes"), CASES.values(), ids=CASES)
def test_what_is_decided_holds(expected, nodes, axes):
    check_decided(expected, nodes, axes, 20)


@pytest.mark.parametrize(("axis", "expected"), [({"axis": 2}, "+++"), ({}, "+--"), ({"axis": 0}, "---")])
@pytest.mark.parametrize("operator", ["Softmax", "LogSoftmax"])
def test_softmax_of_operator_sets_before_13_is_over_all_axes_from_its_own_on(operator, axis, expected):
    check_decided(expected, [(operator, "x", "y", axis)], WHOLE, 11)


def check_decided(expected, nodes, axes, opset):
    assert verdicts(nodes, axes, opset=opset) == expected
    model = model_of(nodes, opset=opset).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    for kind, verdict in zip(Property, expected, strict=True):
        if verdict == "?":
            continue
        found = list(violations(session, kind, [described(axes)], np.random.default_rng(0)))
        if verdict == "+":
            assert not found, kind
        elif kind is not Property.CAUSALITY or SEQUENCE in axes:
            assert found, kind
