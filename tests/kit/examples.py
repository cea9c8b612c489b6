"""Examples of models of any tensors, by name, with numpy's answers to their requests, and a repository of them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kit.artifacts import build_model, publish_model, tensor
from rnnserve.protos import manifest_pb2
from rnnserve.protos.datatypes import DTYPES

Arrays = dict[str, np.ndarray]
PADDED, JOINED, ALONE = manifest_pb2.BATCHING_PADDED, manifest_pb2.BATCHING_JOINED, manifest_pb2.BATCHING_ALONE
FULL, ZEROS = manifest_pb2.DEFAULT_FULL_LENGTH, manifest_pb2.DEFAULT_ZEROS
TABLE = np.random.default_rng(1).normal(size=(12, 3)).astype(np.float32)  # (tokens, features)


class Example(NamedTuple):
    """A model, and numpy's answer to a request of it.

    Attributes:
        nodes: Of its graph, in ONNX's text syntax.
        inputs: As in the manifest.
        outputs: As in the manifest.
        constants: Of the graph, by name.
        batching: Which requests may share a run.
        answer: Computes the outputs of a request.
        steps: The fewest and the most steps of a row.
    """

    nodes: str
    inputs: list[manifest_pb2.Tensor]
    outputs: list[manifest_pb2.Tensor]
    constants: Mapping[str, np.ndarray]
    batching: manifest_pb2.BatchingMode.ValueType
    answer: Callable[[Arrays], Arrays]
    steps: tuple[int, int] = (1, 6)

    def draw(self, numbers: np.random.Generator, *, is_golden: bool = False) -> Arrays:
        """Draw the inputs of a request: whole numbers, whose sums are exact.

        Args:
            numbers: What draws.
            is_golden: Whether no optional input is left out, and ids in the padding are ids, too.
        """
        sizes = {"batch": int(numbers.choice([1, 1, 2, 3]))}
        sent: Arrays = {}
        for described in self.inputs:
            for axis in described.axes:
                size = axis.size if axis.size > 0 else int(numbers.integers(*self.steps, endpoint=True))
                sizes.setdefault(axis.name, size)
            if described.default and not is_golden and numbers.random() > 0.6:
                continue
            dtype, low, high = DTYPES[described.datatype], -99, 99
            if described.lengths_of:
                low, high = self.steps[0], sizes[described.lengths_of]
            elif described.HasField("integers"):
                low, high = described.integers.low, described.integers.high - 1
            elif dtype.kind in "bu":
                low, high = 0, 1 if dtype.kind == "b" else 99
            shape = [sizes[axis.name] for axis in described.axes]
            sent[described.name] = numbers.integers(low, high, shape, endpoint=True).astype(dtype)
        if {"tokens", "ends"} <= sent.keys() and not is_golden and numbers.random() < 0.5:
            after = np.arange(sizes["sequence"]) >= sent["ends"][:, None]
            sent["tokens"][after] = numbers.choice([-7, 0, 12, 2**31 - 1])
        return sent


def ends_of(sent: Arrays, name: str, batch: int, size: int) -> np.ndarray:
    return sent.get(name, np.full(batch, size))


SCALARS = {"zero": np.array(0), "one": np.array(1), "_0": np.array([0]), "_1": np.array([1]), "_2": np.array([2])}


def bag() -> Example:
    """Sums of embeddings of the tokens before each row's end. Ids from 1 to 11, so that padding is not 0."""
    table = TABLE.copy()
    table[0] = 1e6

    def answer(sent):
        tokens = sent["tokens"]
        ends = ends_of(sent, "ends", *tokens.shape)
        return {"sums": np.stack([table[row[:end]].sum(0) for row, end in zip(tokens, ends, strict=True)])}

    nodes = """
        long_ends = Cast <to = 7> (ends)  size = Shape <start = 1, end = 2> (tokens)  count = Squeeze (size)
        steps = Range (zero, count, one)  row = Unsqueeze (steps, _0)  column = Unsqueeze (long_ends, _1)
        inside = Less (row, column)  mask = Cast <to = 1> (inside)  wide_mask = Unsqueeze (mask, _2)
        vectors = Gather (table, tokens)  kept = Mul (vectors, wide_mask)  sums = ReduceSum <keepdims = 0> (kept, _1)
    """
    inputs = [
        tensor("tokens", "INT32", "batch", "sequence", integers=manifest_pb2.IntegerRange(low=1, high=12)),
        tensor("ends", "INT32", "batch", default=FULL, lengths_of="sequence"),
    ]
    outputs = [tensor("sums", "FP32", "batch", ("features", 3))]
    return Example(nodes, inputs, outputs, {"table": table, **SCALARS}, PADDED, answer)


def sequence_first() -> Example:
    """Twice the steps before each row's end, zeros after it: (sequence, batch, features)."""

    def answer(sent):
        length, batch, _ = sent["input"].shape
        before = np.arange(length)[:, None] < ends_of(sent, "ends", batch, length)
        return {"output": np.where(before[..., None], 2 * sent["input"], 0)}

    # A product with the mask would give -0, and the bits would differ.
    nodes = """
        size = Shape <start = 0, end = 1> (input)  count = Squeeze (size)  steps = Range (zero, count, one)
        column = Unsqueeze (steps, _1)  row = Unsqueeze (ends, _0)  inside = Less (column, row)
        wide = Unsqueeze (inside, _2)  twice = Add (input, input)  output = Where (wide, twice, nothing)
    """
    axes = ("sequence", "batch", ("features", 2))
    inputs = [tensor("input", "FP32", *axes), tensor("ends", "INT64", "batch", default=FULL, lengths_of="sequence")]
    outputs = [tensor("output", "FP32", *axes, zeros_after_lengths=True)]
    return Example(nodes, inputs, outputs, {"nothing": np.array(0, np.float32), **SCALARS}, PADDED, answer)


def masked_by_a_product() -> Example:
    """The same with a mask that is multiplied: after each row's end there is 0 or -0, so that no step is left out."""
    example = sequence_first()
    product = "mask = Cast <to = 1> (wide)  output = Mul (twice, mask)"
    return example._replace(nodes=example.nodes.replace("output = Where (wide, twice, nothing)", product))


def tagger() -> Example:
    """Per step one more than the input, also in the padding: outputs that are not zeros after each row's end."""

    def answer(sent):
        return {"output": sent["input"] + 1, "lasting": ends_of(sent, "lengths", *sent["input"].shape)}

    inputs = [
        tensor("input", "FP64", "batch", "sequence"),
        tensor("lengths", "INT64", "batch", default=FULL, lengths_of="sequence"),
    ]
    outputs = [tensor("output", "FP64", "batch", "sequence"), tensor("lasting", "INT64", "batch")]
    nodes = "output = Add (input, plus)  lasting = Identity (lengths)"
    return Example(nodes, inputs, outputs, {"plus": np.array(1.0)}, PADDED, answer)


def long_rows() -> Example:
    """A model whose rows have 5 or 6 steps: any other length, also of a row of padding, is refused by a kernel."""

    def answer(sent):
        return {"more": TABLE[ends_of(sent, "ends", *sent["input"].shape) - 5][:, 0]}

    inputs = [
        tensor("input", "FP32", "batch", "sequence"),
        tensor("ends", "INT64", "batch", default=FULL, lengths_of="sequence"),
    ]
    constants = {"five": np.array(5), "table": TABLE[:2, 0]}
    nodes = "index = Sub (ends, five)  more = Gather (table, index)"
    return Example(nodes, inputs, [tensor("more", "FP32", "batch")], constants, PADDED, answer, steps=(5, 6))


def two_axes() -> Example:
    """Sums of a source and of a target, each of a length of its own. Rows cannot be told where they end."""

    def answer(sent):
        source = sent["source"].astype(np.float32).sum(1)
        return {"sum": source + sent["target"].sum((0, 1)), "turned": sent["target"].transpose(2, 0, 1)}

    nodes = """
        floats = Cast <to = 1> (source)  of_source = ReduceSum <keepdims = 0> (floats, last)
        of_target = ReduceSum <keepdims = 0> (target, both)  sum = Add (of_source, of_target)
        turned = Transpose <perm = [2, 0, 1]> (target)
    """
    inputs = [tensor("source", "INT16", "batch", "source"), tensor("target", "FP32", "target", ("two", 2), "batch")]
    outputs = [tensor("sum", "FP32", "batch"), tensor("turned", "FP32", "batch", "target", ("two", 2))]
    constants = {"both": np.array([0, 1]), "last": np.array([1])}
    return Example(nodes, inputs, outputs, constants, JOINED, answer, steps=(1, 3))


def step() -> Example:
    """One step of a running sum: no sequence axis, a state that is zeros where it is left out, a flag that keeps it."""

    def answer(sent):
        state = sent.get("sum_0", np.zeros((2, len(sent["keep"])), np.float16))
        return {"sum_n": np.where(sent["keep"], state, 0).astype(np.float16) + sent["point"].T}

    nodes = "kept = Where (keep, sum_0, zero)  turned = Transpose <perm = [1, 0]> (point)  sum_n = Add (kept, turned)"
    inputs = [
        tensor("point", "FP16", "batch", ("features", 2)),
        tensor("keep", "BOOL", "batch"),
        tensor("sum_0", "FP16", ("features", 2), "batch", default=ZEROS),
    ]
    outputs = [tensor("sum_n", "FP16", ("features", 2), "batch", continues_as="sum_0")]
    return Example(nodes, inputs, outputs, {"zero": np.array(0, np.float16)}, PADDED, answer)


def neighbours() -> Example:
    """How many rows there are in the run: a request is answered by its own number only where it runs alone."""

    def answer(sent):
        rows = len(sent["input"])
        return {"rows": np.full(rows, rows)}

    nodes = "size = Shape <start = 0, end = 1> (input)  rows = Expand (size, size)"
    inputs, outputs = [tensor("input", "INT8", "batch", "sequence")], [tensor("rows", "INT64", "batch")]
    return Example(nodes, inputs, outputs, {}, ALONE, answer)


def every_datatype() -> Example:
    """As many inputs as there are datatypes, each given back."""
    return Example(
        "  ".join(f"{name}_again = Identity ({name})" for name in DTYPES),
        [tensor(name, name, "batch", ("three", 3)) for name in DTYPES],
        [tensor(f"{name}_again", name, "batch", ("three", 3)) for name in DTYPES],
        {},
        JOINED,
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


def publish_examples(root: Path) -> None:
    """Write a version of each example, with golden results of twelve of its requests."""
    for name, example in EXAMPLES.items():
        model = build_model(example.nodes, example.inputs, example.outputs, example.constants)
        numbers = np.random.default_rng(7)
        samples = [example.draw(numbers, is_golden=True) for _ in range(12)]
        publish_model(root, name, model, example.inputs, example.outputs, samples, batching=example.batching)
