"""Models of any tensors are served as each request is answered alone: by numpy, in any company, on both transports."""

import random
from collections.abc import Callable, Mapping
from typing import NamedTuple

import grpc
import numpy as np
import onnx
import pytest
from onnx import helper

from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos import inference_pb2_grpc as rpc
from rnnserve.protos import manifest_pb2
from rnnserve.protos.datatypes import DTYPES
from rnnserve.server import Server, Settings
from rnnserve.server.errors import StartError
from rnnserve.server.protocol.service import Service
from rnnserve.server.repository.repository import Repository
from support.artifacts import build_model, publish_model, tensor
from support.inference_requests import arrays, request

Arrays = dict[str, np.ndarray]
PADDED, JOINED, ALONE = manifest_pb2.BATCHING_PADDED, manifest_pb2.BATCHING_JOINED, manifest_pb2.BATCHING_ALONE
FULL, ZEROS = manifest_pb2.DEFAULT_FULL_LENGTH, manifest_pb2.DEFAULT_ZEROS
INT64, FLOAT = onnx.TensorProto.INT64, onnx.TensorProto.FLOAT
TABLE = np.random.default_rng(1).normal(size=(12, 3)).astype(np.float32)  # (tokens, features)


class Example(NamedTuple):
    """A model, and numpy's answer to a request of it.

    Attributes:
        nodes: Of its graph.
        inputs: As in the manifest.
        outputs: As in the manifest.
        constants: Of the graph, by name.
        batching: Which requests may share a run.
        draw: Draws the inputs of a request.
        answer: Computes the outputs of a request.
    """

    nodes: list[onnx.NodeProto]
    inputs: list[manifest_pb2.Tensor]
    outputs: list[manifest_pb2.Tensor]
    constants: Mapping[str, np.ndarray]
    batching: manifest_pb2.BatchingMode.ValueType
    draw: Callable[[np.random.Generator], Arrays]
    answer: Callable[[Arrays], Arrays]


def node(operator: str, inputs: str, output: str, **attributes) -> onnx.NodeProto:
    return helper.make_node(operator, inputs.split(), [output], output, **attributes)


def rows_and(numbers: np.random.Generator, most: int = 6) -> tuple[int, int]:
    """A batch, most often 1, and a length."""
    return int(numbers.choice([1, 1, 2, 3])), int(numbers.integers(1, most, endpoint=True))


def masked(axis: str, steps: str, ends: str, mask: str, *, sequence_first: bool = False) -> list[onnx.NodeProto]:
    """Nodes of a float mask (batch, steps), or (steps, batch), of the steps before each row's end."""
    return [
        node("Shape", axis, f"{mask}_shape", start=int(not sequence_first), end=1 + int(not sequence_first)),
        node("Squeeze", f"{mask}_shape", f"{mask}_count"),
        node("Range", f"zero {mask}_count one", steps),
        node("Unsqueeze", f"{steps} {'last' if sequence_first else 'first'}", f"{mask}_steps"),
        node("Unsqueeze", f"{ends} {'first' if sequence_first else 'last'}", f"{mask}_ends"),
        node("Less", f"{mask}_steps {mask}_ends", f"{mask}_bool"),
        node("Cast", f"{mask}_bool", mask, to=FLOAT),
    ]


SCALARS = {"zero": np.array(0), "one": np.array(1), "first": np.array([0]), "last": np.array([1])}


def ends_of(sent: Arrays, name: str, batch: int, size: int) -> np.ndarray:
    return sent.get(name, np.full(batch, size))


def bag() -> Example:
    """Sums of embeddings of the tokens before each row's end; ids from 1 to 11, so that padding is not 0."""
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
    """Sums of a source and of a target, each of a length of its own; rows cannot be told where they end."""

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


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    root = tmp_path_factory.mktemp("zoo")
    for name, example in EXAMPLES.items():
        model = build_model(example.nodes, example.inputs, example.outputs, example.constants)
        numbers = np.random.default_rng(7)
        samples = [with_everything(example, example.draw(numbers)) for _ in range(12)]
        for sample in samples:
            if name == "bag":  # golden inputs are valid everywhere
                sample["tokens"] = np.clip(sample["tokens"], 1, 11)
        publish_model(root, name, model, example.inputs, example.outputs, samples, batching=example.batching)
    return root


@pytest.fixture(scope="module", params=["lane", "public"])
def infer(zoo, request):
    settings = Settings(zoo, grpc_port=0, provider="cpu", transport=request.param)
    with Server(settings) as server, grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = rpc.GRPCInferenceServiceStub(channel)
        index = stub.RepositoryIndex(pb.RepositoryIndexRequest()).models
        assert {model.name: model.reason for model in index} == dict.fromkeys(sorted(EXAMPLES), "")
        yield stub.ModelInfer


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_request_is_answered_as_it_is_alone(infer, name):
    example, numbers, chance = EXAMPLES[name], np.random.default_rng(3), random.Random(3)
    kept: list[Arrays] = []
    for _ in range(30):
        # Some are asked for again with other values: those have one prefix.
        sent = [chance.choice(kept) if kept and chance.random() < 0.4 else example.draw(numbers) for _ in range(16)]
        kept += sent
        calls = [infer.future(request(name, arrays_)) for arrays_ in sent]
        for arrays_, call in zip(sent, calls, strict=True):
            expected, found = example.answer(arrays_), arrays(call.result())
            assert found.keys() == expected.keys()
            for output, array in expected.items():
                assert found[output].dtype == DTYPES[next(t.datatype for t in example.outputs if t.name == output)]
                np.testing.assert_allclose(found[output], array, rtol=1e-5, atol=1e-5, err_msg=f"{output} of {arrays_}")


@pytest.mark.parametrize("name", EXAMPLES)
def test_many_of_one_prefix_are_answered_as_each_is_alone(infer, name):
    example, numbers = EXAMPLES[name], np.random.default_rng(5)
    one = example.draw(numbers)
    shapes = {key: array.shape for key, array in one.items()}
    sent = [one]
    while len(sent) < 48:
        other = example.draw(numbers)
        if {key: array.shape for key, array in other.items()} == shapes:
            sent.append(other)
    for _ in range(4):
        calls = [infer.future(request(name, arrays_)) for arrays_ in sent]
        for arrays_, call in zip(sent, calls, strict=True):
            for output, array in example.answer(arrays_).items():
                np.testing.assert_allclose(arrays(call.result())[output], array, rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def models(zoo):
    models = Repository(zoo, "cpu")
    models.load()
    return models


def test_bits_do_not_depend_on_company_except_where_the_models_say_so(models):
    assert {served.model.name for served in models.served() if served.model.batch_invariant} == EXAMPLES.keys()


def test_metadata_say_what_a_client_needs(models):
    service = Service(models, Settings(provider="cpu"))

    def said(name):
        answer = service.model_metadata(pb.ModelMetadataRequest(name=name))
        tensors = {
            described.name: {key: value.WhichOneof("parameter_choice") for key, value in described.parameters.items()}
            for described in [*answer.inputs, *answer.outputs]
        }
        return answer, tensors

    answer, tensors = said("bag")
    assert tensors == {
        "tokens": {"axes": "string_param", "low": "int64_param", "high": "int64_param"},
        "ends": {"axes": "string_param", "optional": "bool_param", "lengths_of": "string_param"},
        "sums": {"axes": "string_param"},
    }
    tokens, ends = answer.inputs
    assert (tokens.parameters["low"].int64_param, tokens.parameters["high"].int64_param) == (1, 12)
    assert ends.parameters["lengths_of"].string_param == "sequence"
    assert (answer.parameters["batching"].string_param, answer.parameters["origin"].string_param) == (
        "padded", "exported",
    )  # fmt: skip
    answer, tensors = said("step")
    assert tensors["sum_n"] == {"axes": "string_param", "continues_as": "string_param"}
    assert answer.outputs[0].parameters["continues_as"].string_param == "sum_0"
    assert answer.inputs[0].shape == [-1, 2]
    assert said("neighbours")[0].parameters["batching"].string_param == "alone"
    assert said("two_axes")[0].parameters["batching"].string_param == "joined"


def test_what_was_adopted_is_served_only_where_that_is_allowed(tmp_path, caplog):
    example = EXAMPLES["two_axes"]
    model = build_model(example.nodes, example.inputs, example.outputs, example.constants)
    adopted = manifest_pb2.ORIGIN_ADOPTED
    floats = [example.inputs[0], manifest_pb2.Tensor()]
    floats[1].CopyFrom(example.inputs[1])
    floats[1].floats.CopyFrom(manifest_pb2.FloatRange(low=-0.5, high=1.5))
    samples = [example.draw(np.random.default_rng(7))]
    publish_model(tmp_path, "m", model, floats, example.outputs, samples, batching=JOINED, origin=adopted)
    why = "the version was adopted from an ONNX file, and not compared with its framework"
    with pytest.raises(StartError, match=rf"version 1: manifest\.json: {why}; --allow-unproven serves it"):
        Repository(tmp_path, "cpu").load()
    models = Repository(tmp_path, "cpu", allow_unproven=True)
    models.load()
    assert f"m version 1: {why}" in caplog.text
    answer = Service(models, Settings(provider="cpu")).model_metadata(pb.ModelMetadataRequest(name="m"))
    assert answer.parameters["origin"].string_param == "adopted"
    parameters = answer.inputs[1].parameters
    assert (parameters["low"].double_param, parameters["high"].double_param) == (-0.5, 1.5)
