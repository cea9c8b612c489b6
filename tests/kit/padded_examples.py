"""Examples whose rows may be padded: their lengths tell where each row ends."""

import numpy as np

from kit.artifacts import tensor
from kit.example_models import (
    FULL,
    INT64,
    PADDED,
    SCALARS,
    TABLE,
    Arrays,
    Example,
    ends_of,
    masked,
    node,
    rows_and,
)
from rnnserve.protos import manifest_pb2

__all__ = ["bag", "long_rows", "masked_by_a_product", "sequence_first", "tagger"]


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
