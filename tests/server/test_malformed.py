"""Malformed requests by the thousand: the right status, a message that names tensor and axis, a server that lives.

`pytest tests/server/test_malformed.py --malformed 100000` sends as many as one likes.
"""

import dataclasses
import itertools
import random
from collections import Counter
from collections.abc import Iterator
from concurrent import futures

import grpc
import numpy as np

from kit.inference_requests import arrays, request
from rnnserve.protos import inference_pb2 as pb

INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND


@dataclasses.dataclass(frozen=True)
class Malformed:
    """A request that must be refused.

    Attributes:
        payload: Its bytes.
        statuses: The statuses that may answer it; OK is among them only where chance may have left it valid.
        says: What the message must contain, all of it.
    """

    payload: bytes
    statuses: tuple[grpc.StatusCode, ...]
    says: tuple[str, ...] = ()


def malformed(model: str, layers: int, hidden: int, seed: int) -> Iterator[Malformed]:
    """Give malformed requests for a model of 2 features, for ever."""
    chance = random.Random(seed)
    numbers = np.random.default_rng(seed)
    kinds = [
        wrong_shape, wrong_axis_size, wrong_bytes, wrong_lengths, wrong_datatype, wrong_name, wrong_state, not_finite,
        wrong_batch, too_long, wrong_model, wrong_contents, garbage, flipped,
    ]  # fmt: skip
    while True:
        batch, sequence = chance.randint(1, 5), chance.randint(1, 9)
        sent = {
            "input": numbers.normal(size=(batch, sequence, 2)).astype(np.float32),
            "lengths": numbers.integers(1, sequence + 1, batch),
            "h_0": numbers.normal(size=(layers, batch, hidden)).astype(np.float32),
        }
        yield chance.choice(kinds)(model, sent, chance)


def as_malformed(message: pb.ModelInferRequest, *says: str, statuses=(INVALID,)) -> Malformed:
    return Malformed(message.SerializeToString(), statuses, says)


def wrong_shape(model, sent, chance) -> Malformed:
    """Another rank: axes added in front or taken away."""
    name = chance.choice(list(sent))
    array = sent[name]
    ranks = [rank for rank in range(6) if rank != array.ndim]
    rank = chance.choice(ranks)
    shape = [1] * max(rank - array.ndim, 0) + list(array.shape)[:rank]
    sent[name] = np.zeros(shape, array.dtype)
    return as_malformed(request(model, sent), f'"{name}"', f"{shape}", "axis" if rank == 1 else "axes")


def wrong_axis_size(model, sent, chance) -> Malformed:
    """A size that no axis may have: none, negative, beyond all memory."""
    message = request(model, sent)
    tensor = message.inputs[chance.randrange(3)]
    axis = chance.randrange(len(tensor.shape))
    tensor.shape[axis] = chance.choice([0, -1, -(2**63), -chance.randint(1, 99)])
    return as_malformed(message, f'"{tensor.name}"', f"axis {axis} (", str(tensor.shape[axis]))


def wrong_bytes(model, sent, chance) -> Malformed:
    """Bytes that are not as many as the shape says."""
    message = request(model, sent)
    at = chance.randrange(3)
    whole = message.raw_input_contents[at]
    message.raw_input_contents[at] = chance.choice([b"", whole[:-1], whole + b"\0", whole * 2])
    return as_malformed(message, f'"{message.inputs[at].name}"', "bytes", f"raw_input_contents[{at}]")


def wrong_lengths(model, sent, chance) -> Malformed:
    """A length outside 1..sequence."""
    lengths, sequence = sent["lengths"], sent["input"].shape[1]
    row = chance.randrange(len(lengths))
    lengths[row] = chance.choice([0, -1, sequence + 1, 2**63 - 1, -(2**63)])
    return as_malformed(request(model, sent), '"lengths"', f"row {row} of axis 0 (batch)", "axis 1 (sequence)")


def wrong_datatype(model, sent, chance) -> Malformed:
    """A datatype that the tensor has not."""
    message = request(model, sent)
    tensor = message.inputs[chance.randrange(3)]
    tensor.datatype = chance.choice(
        ["", "FP64", "INT32", "BYTES", "fp32", "INT64" if tensor.datatype == "FP32" else "FP32"]
    )
    return as_malformed(message, f'"{tensor.name}"', f'datatype "{tensor.datatype}"')


def wrong_name(model, sent, chance) -> Malformed:
    """A tensor that there is not, is there twice, or is not there."""
    message = request(model, sent)
    kind = chance.randrange(4)
    if kind == 0:
        message.inputs[chance.randrange(3)].name = "hidden"
        return as_malformed(message, 'unknown input "hidden"', "(batch, sequence, features=2)")
    if kind == 1:
        message.inputs.append(message.inputs[0])
        return as_malformed(message, '"input" comes twice')
    if kind == 2:
        del sent["input"]
        return as_malformed(request(model, sent), 'input "input" is missing')
    message.outputs.add(name="logits ")
    return as_malformed(message, 'unknown output "logits "')


def wrong_state(model, sent, chance) -> Malformed:
    """A state that is batch-first, or of other sizes."""
    layers, batch, hidden = sent["h_0"].shape
    shape = chance.choice([(layers + 1, batch, hidden), (layers, batch, hidden + 1), (hidden, batch, layers + hidden)])
    sent["h_0"] = np.zeros(shape, np.float32)
    return as_malformed(request(model, sent), '"h_0"', str(list(shape)), "axis ")


def not_finite(model, sent, chance) -> Malformed:
    """A number that is none, at the first point, which every length includes."""
    name = chance.choice(["input", "h_0"])
    value = chance.choice([np.nan, np.inf, -np.inf])
    sent[name][0, 0, 0] = value
    return as_malformed(request(model, sent), f'"{name}"', str(value), "[0, 0, 0]", "batch 0")


def wrong_batch(model, sent, chance) -> Malformed:
    """Tensors that disagree about the batch."""
    name = chance.choice(["lengths", "h_0"])
    axis = 0 if name == "lengths" else 1
    batch = sent[name].shape[axis]
    sent[name] = np.repeat(sent[name], 2, axis=axis)
    return as_malformed(request(model, sent), f'"{name}"', f"axis {axis} (batch) is {2 * batch}", f"is {batch}")


def too_long(model, sent, _) -> Malformed:
    """A sequence longer than the server takes, by its shape alone."""
    message = request(model, sent)
    message.inputs[0].shape[1] = 2**31
    return as_malformed(message, '"input"', "axis 1 (sequence)", "--max-sequence")


def wrong_model(model, sent, chance) -> Malformed:
    """A model or version that there is not."""
    name, version = chance.choice(
        [("", ""), (model + "s", ""), (model, "99"), (model, "-1"), (model, "1.0"), (model, "00")]
    )
    return as_malformed(request(name, sent, version=version), statuses=(NOT_FOUND,))


def wrong_contents(model, sent, chance) -> Malformed:
    """Typed contents that are too few, in the wrong field, or beside raw ones."""
    message = request(model, sent, raw=False)
    tensor = message.inputs[0]
    kind = chance.randrange(3)
    if kind == 0:
        tensor.contents.fp32_contents.pop()
        return as_malformed(message, '"input"', "elements; fp32_contents has")
    if kind == 1:
        tensor.contents.fp64_contents.append(1.0)
        return as_malformed(message, '"input"', "fp64_contents", "belongs in fp32_contents")
    message.raw_input_contents.extend([b"", b"", b""])
    return as_malformed(message, '"input"', "contents and in raw_input_contents")


def garbage(model, sent, chance) -> Malformed:
    """Bytes that were never a message. Some may be read as one, of no model."""
    payload = b"\xff" + bytes(chance.randrange(256) for _ in range(chance.randrange(200)))
    return Malformed(payload, (INVALID, NOT_FOUND))


def flipped(model, sent, chance) -> Malformed:
    """A request with a bit or more flipped on its way, which may leave a valid one: another number, another id."""
    payload = bytearray(request(model, sent, id="some id").SerializeToString())
    for _ in range(chance.randint(1, 3)):
        payload[chance.randrange(len(payload))] ^= 1 << chance.randrange(8)
    return Malformed(bytes(payload), (INVALID, NOT_FOUND, grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.OK))


METHOD = "/inference.GRPCInferenceService/ModelInfer"


def test_every_malformed_request_is_refused_as_it_should_be(channel, pytestconfig):
    infer = channel.unary_unary(METHOD)

    def wrong(sent: Malformed) -> str:
        try:
            infer(sent.payload, timeout=30)
            status, said = grpc.StatusCode.OK, ""
        except grpc.RpcError as error:
            status, said = error.code(), error.details() or ""
        met[status] += 1
        if status in sent.statuses and all(part in said for part in sent.says):
            return ""
        return f"{status} {said!r}, where {sent.statuses} and {sent.says} were expected"

    met: Counter[grpc.StatusCode] = Counter()
    many = itertools.islice(malformed("direction_stacked", 2, 16, seed=7), pytestconfig.getoption("malformed"))
    with futures.ThreadPoolExecutor(8) as pool:
        failures = [failure for failure in pool.map(wrong, many) if failure]
    assert failures == []
    assert met[grpc.StatusCode.INVALID_ARGUMENT] > 0.8 * met.total()


def test_it_serves_on(stub):
    answer = stub.ModelInfer(request("direction_stacked", {"input": np.zeros((1, 3, 2), np.float32)}))
    assert np.isfinite(arrays(answer)["logits"]).all()
