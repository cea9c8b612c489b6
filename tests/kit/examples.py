"""All examples of models of any tensors, by name, and a repository of them."""

from pathlib import Path

import numpy as np

from kit.artifacts import build_model, publish_model, tensor
from kit.example_models import (
    ALONE,
    FLOAT,
    FULL,
    INT64,
    JOINED,
    PADDED,
    SCALARS,
    TABLE,
    ZEROS,
    Arrays,
    Example,
    ends_of,
    masked,
    node,
    rows_and,
)
from rnnserve.protos import manifest_pb2
from rnnserve.protos.datatypes import DTYPES

__all__ = ["EXAMPLES", "publish_examples"]


def bag() -> Example:
    """Sums of embeddings of the tokens before each row's end. Ids from 1 to 11, so that padding is not 0."""
    table = TABLE.copy()
    table[0] = 1e6

    def draw(numbers):
        batch, length = rows_and(numbers)
        sent: Arrays = {"tokens": numbers.integers(1, 12, (batch, length)).astype(np.int32)}
        if numbers.random() < 0.6:
            sent["ends"] = numbers.integers(1, length, batch, endpoint=True).astype(np.int32)
            if numbers.random() < 0.5:  # ids in the padding need not be ids
                for row, end in enumerate(sent["ends"]):
                    sent["tokens"][row, end:] = numbers.choice([-7, 0, 12, 2**31 - 1])
        return sent

    def answer(sent):
        tokens = sent["tokens"]
        ends = ends_of(sent, "ends", *tokens.shape)
        return {"sums": np.stack([table[row[:end]].sum(0) for row, end in zip(tokens, ends, strict=True)])}

    nodes = [
        node("Cast", "ends", "long_ends", to=INT64),
        *masked("tokens", "steps", "long_ends", "mask"),
        node("Unsqueeze", "mask axis2", "wide_mask"),
        node("Gather", "table tokens", "vectors"),
        node("Mul", "vectors wide_mask", "kept"),
        node("ReduceSum", "kept last", "sums", keepdims=0),
    ]
    return Example(
        nodes,
        [
            tensor("tokens", "INT32", "batch", "sequence", integers=manifest_pb2.IntegerRange(low=1, high=12)),
            tensor("ends", "INT32", "batch", default=FULL, lengths_of="sequence"),
        ],
        [tensor("sums", "FP32", "batch", ("features", 3))],
        {"table": table, "axis2": np.array([2]), **SCALARS},
        PADDED,
        draw,
        answer,
    )


def sequence_first() -> Example:
    """Twice the steps before each row's end, zeros after it: (sequence, batch, features)."""

    def draw(numbers):
        batch, length = rows_and(numbers)
        sent: Arrays = {"input": numbers.normal(size=(length, batch, 2)).astype(np.float32)}
        if numbers.random() < 0.6:
            sent["ends"] = numbers.integers(1, length, batch, endpoint=True)
        return sent

    def answer(sent):
        length, batch, _ = sent["input"].shape
        before = np.arange(length)[:, None] < ends_of(sent, "ends", batch, length)
        return {"output": np.where(before[..., None], 2 * sent["input"], 0)}

    nodes = [
        *masked("input", "steps", "ends", "mask", sequence_first=True),
        node("Unsqueeze", "mask_bool axis2", "wide_mask"),
        node("Add", "input input", "twice"),
        node("Where", "wide_mask twice nothing", "output"),  # a product would give -0, and the bits would differ
    ]
    axes = ("sequence", "batch", ("features", 2))
    return Example(
        nodes,
        [tensor("input", "FP32", *axes), tensor("ends", "INT64", "batch", default=FULL, lengths_of="sequence")],
        [tensor("output", "FP32", *axes, zeros_after_lengths=True)],
        {"axis2": np.array([2]), "nothing": np.array(0, np.float32), **SCALARS},
        PADDED,
        draw,
        answer,
    )


def masked_by_a_product() -> Example:
    """The same with a mask that is multiplied: after each row's end there is 0 or -0, so that no step is left out."""
    example = sequence_first()
    nodes = [
        *masked("input", "steps", "ends", "mask", sequence_first=True),
        node("Unsqueeze", "mask axis2", "wide_mask"),
        node("Add", "input input", "twice"),
        node("Mul", "twice wide_mask", "output"),
    ]
    return example._replace(nodes=nodes)


def tagger() -> Example:
    """Per step one more than the input, also in the padding: outputs that are not zeros after each row's end."""

    def draw(numbers):
        batch, length = rows_and(numbers)
        sent: Arrays = {"input": numbers.normal(size=(batch, length)).astype(np.float64)}
        if numbers.random() < 0.6:
            sent["lengths"] = numbers.integers(1, length, batch, endpoint=True)
        return sent

    def answer(sent):
        return {"output": sent["input"] + 1, "lasting": ends_of(sent, "lengths", *sent["input"].shape)}

    return Example(
        [node("Add", "input plus", "output"), node("Identity", "lengths", "lasting")],
        [
            tensor("input", "FP64", "batch", "sequence"),
            tensor("lengths", "INT64", "batch", default=FULL, lengths_of="sequence"),
        ],
        [tensor("output", "FP64", "batch", "sequence"), tensor("lasting", "INT64", "batch")],
        {"plus": np.array(1.0)},
        PADDED,
        draw,
        answer,
    )


def long_rows() -> Example:
    """A model whose rows have 5 or 6 steps: any other length, also of a row of padding, is refused by a kernel."""

    def draw(numbers):
        batch, length = int(numbers.choice([1, 1, 2, 3])), int(numbers.integers(5, 7))
        sent: Arrays = {"input": numbers.normal(size=(batch, length)).astype(np.float32)}
        if numbers.random() < 0.6:
            sent["ends"] = numbers.integers(5, length, batch, endpoint=True)
        return sent

    def answer(sent):
        return {"more": TABLE[ends_of(sent, "ends", *sent["input"].shape) - 5][:, 0]}

    nodes = [node("Sub", "ends five", "index"), node("Gather", "table index", "more")]
    return Example(
        nodes,
        [
            tensor("input", "FP32", "batch", "sequence"),
            tensor("ends", "INT64", "batch", default=FULL, lengths_of="sequence"),
        ],
        [tensor("more", "FP32", "batch")],
        {"five": np.array(5), "table": TABLE[:2, 0]},
        PADDED,
        draw,
        answer,
    )


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


EXAMPLES = {
    make.__name__: make()
    for make in (
        bag,
        sequence_first,
        masked_by_a_product,
        tagger,
        long_rows,
        two_axes,
        step,
        neighbours,
        every_datatype,
    )
}


def with_everything(example: Example, sent: Arrays) -> Arrays:
    """The inputs with those that were left out."""
    sizes = {
        axis.name: sent[described.name].shape[at]
        for described in example.inputs
        for at, axis in enumerate(described.axes)
        if described.name in sent
    }
    whole = dict(sent)
    for described in example.inputs:
        if described.name not in sent:
            shape = [sizes[axis.name] if axis.size < 0 else axis.size for axis in described.axes]
            fill = sizes[described.lengths_of] if described.lengths_of else 0
            whole[described.name] = np.full(shape, fill, DTYPES[described.datatype])
    return {described.name: whole[described.name] for described in example.inputs}


def publish_examples(root: Path) -> None:
    """Write a version of each example, with golden results of twelve of its requests."""
    for name, example in EXAMPLES.items():
        model = build_model(example.nodes, example.inputs, example.outputs, example.constants)
        numbers = np.random.default_rng(7)
        samples = [with_everything(example, example.draw(numbers)) for _ in range(12)]
        for sample in samples:
            if name == "bag":  # golden inputs are valid everywhere
                sample["tokens"] = np.clip(sample["tokens"], 1, 11)
        publish_model(root, name, model, example.inputs, example.outputs, samples, batching=example.batching)
