"""Examples whose rows are not padded: several sequence axes or none, rows that depend on one another, all datatypes."""

import numpy as np

from kit.artifacts import tensor
from kit.example_models import ALONE, FLOAT, JOINED, PADDED, ZEROS, Arrays, Example, node, rows_and
from rnnserve.protos.datatypes import DTYPES

__all__ = ["every_datatype", "neighbours", "step", "two_axes"]


def two_axes() -> Example:
    """Sums of a source and of a target, each of a length of its own. Rows cannot be told where they end."""

    def draw(numbers):
        batch, source = rows_and(numbers, 3)
        target = int(numbers.integers(1, 4))
        return {
            "source": numbers.integers(-9, 9, (batch, source)).astype(np.int16),
            "target": numbers.integers(-9, 9, (target, 2, batch)).astype(np.float32),
        }

    def answer(sent):
        source = sent["source"].astype(np.float32).sum(1)
        return {"sum": source + sent["target"].sum((0, 1)), "turned": sent["target"].transpose(2, 0, 1)}

    nodes = [
        node("Cast", "source", "floats", to=FLOAT),
        node("ReduceSum", "floats last", "of_source", keepdims=0),
        node("ReduceSum", "target both", "of_target", keepdims=0),
        node("Add", "of_source of_target", "sum"),
        node("Transpose", "target", "turned", perm=[2, 0, 1]),
    ]
    return Example(
        nodes,
        [tensor("source", "INT16", "batch", "source"), tensor("target", "FP32", "target", ("two", 2), "batch")],
        [tensor("sum", "FP32", "batch"), tensor("turned", "FP32", "batch", "target", ("two", 2))],
        {"both": np.array([0, 1]), "last": np.array([1])},
        JOINED,
        draw,
        answer,
    )


def step() -> Example:
    """One step of a running sum: no sequence axis, a state that is zeros where it is left out, a flag that keeps it."""

    def draw(numbers):
        batch = int(numbers.choice([1, 1, 2, 3]))
        sent: Arrays = {
            "point": numbers.integers(-99, 99, (batch, 2)).astype(np.float16),
            "keep": numbers.random(batch) < 0.5,
        }
        if numbers.random() < 0.6:
            sent["sum_0"] = numbers.integers(-99, 99, (2, batch)).astype(np.float16)
        return sent

    def answer(sent):
        state = sent.get("sum_0", np.zeros((2, len(sent["keep"])), np.float16))
        return {"sum_n": np.where(sent["keep"], state, 0).astype(np.float16) + sent["point"].T}

    nodes = [
        node("Where", "keep sum_0 zero", "kept"),
        node("Transpose", "point", "turned", perm=[1, 0]),
        node("Add", "kept turned", "sum_n"),
    ]
    return Example(
        nodes,
        [
            tensor("point", "FP16", "batch", ("features", 2)),
            tensor("keep", "BOOL", "batch"),
            tensor("sum_0", "FP16", ("features", 2), "batch", default=ZEROS),
        ],
        [tensor("sum_n", "FP16", ("features", 2), "batch", continues_as="sum_0")],
        {"zero": np.array(0, np.float16)},
        PADDED,
        draw,
        answer,
    )


def neighbours() -> Example:
    """How many rows there are in the run: a request is answered by its own number only where it runs alone."""

    def draw(numbers):
        batch, length = rows_and(numbers)
        return {"input": numbers.integers(-9, 9, (batch, length)).astype(np.int8)}

    def answer(sent):
        rows = len(sent["input"])
        return {"rows": np.full(rows, rows)}

    nodes = [
        node("Shape", "input", "size", start=0, end=1),
        node("Expand", "size size", "rows"),
    ]
    inputs = [tensor("input", "INT8", "batch", "sequence")]
    return Example(nodes, inputs, [tensor("rows", "INT64", "batch")], {}, ALONE, draw, answer)


def every_datatype() -> Example:
    """As many inputs as there are datatypes, each given back."""

    def draw(numbers):
        batch = int(numbers.choice([1, 1, 2, 3]))
        return {
            name: numbers.integers(0, 2 if name == "BOOL" else 100, (batch, 3)).astype(dtype)
            for name, dtype in DTYPES.items()
        }

    nodes = [node("Identity", name, f"{name}_again") for name in DTYPES]
    return Example(
        nodes,
        [tensor(name, name, "batch", ("three", 3)) for name in DTYPES],
        [tensor(f"{name}_again", name, "batch", ("three", 3)) for name in DTYPES],
        {},
        JOINED,
        draw,
        lambda sent: {f"{name}_again": array for name, array in sent.items()},
    )
