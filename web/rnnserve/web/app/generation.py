"""Triton's generate extension: `…/generate`, and `…/generate_stream`, a sequence's steps as server-sent events.

A model that carries states is asked for a step at a time, with the states of the step before, so that whichever worker
takes a step has all that it needs. Any other model has one event, with its whole answer.
"""

import json
from collections.abc import AsyncGenerator, Callable

from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.datatypes import DTYPES
from rnnserve.protos.protocol_words import BATCH
from rnnserve.web.app.exchange import Answer, Exchange
from rnnserve.web.app.large_bodies import beside_loop, read_beside_loop
from rnnserve.web.errors import RestError
from rnnserve.web.rest.generation import read_generate_body, write_generate_response
from rnnserve.web.rest.json_text import dump

__all__ = ["generate", "generate_stream"]

_EVENT_STREAM = "text/event-stream"


async def generate(exchange: Exchange) -> Answer:
    """Answer inputs by name with outputs by name."""
    metadata = await exchange.metadata()
    request, size = await _request_of(exchange, metadata)
    async with exchange.turn(size):
        response = await exchange.upstream.infer(request, exchange.context())
    size = sum(map(len, response.raw_output_contents))
    return Answer(await beside_loop(size, write_generate_response, response, exchange.request_id))


async def generate_stream(exchange: Exchange) -> Answer:
    """The same, an event a step. The first step is answered before the status is: a mistake is an error as usual."""
    metadata = await exchange.metadata()
    request, size = await _request_of(exchange, metadata)
    count, step = _steps_of(request, metadata)
    async with exchange.turn(size):
        first = await exchange.upstream.infer(step(0), exchange.context())
    return Answer(
        content_type=_EVENT_STREAM,
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        events=_events(exchange, count, step, first, metadata),
    )


async def _request_of(exchange: Exchange, metadata: pb.ModelMetadataResponse) -> tuple[pb.ModelInferRequest, int]:
    """The request in the body, and the body's size."""
    body = await exchange.body()
    names = exchange.parameter("model"), exchange.parameter("version")
    return await read_beside_loop(len(body), read_generate_body, body, metadata, *names), len(body)


async def _events(
    exchange: Exchange,
    count: int,
    step: Callable[[int], pb.ModelInferRequest],
    response: pb.ModelInferResponse,
    metadata: pb.ModelMetadataResponse,
) -> AsyncGenerator[bytes, None]:
    states = _states_of(metadata)
    try:
        for index in range(count):
            if index:
                request = step(index)
                _carry(response, states, request)
                response = await exchange.upstream.infer(request, exchange.context())
            size = sum(map(len, response.raw_output_contents))
            yield b"data: %s\n\n" % await beside_loop(size, write_generate_response, response, exchange.request_id)
    except RestError as error:
        yield b"data: %s\n\n" % dump({"error": str(error), "id": exchange.request_id})


def _states_of(metadata: pb.ModelMetadataResponse) -> dict[str, str]:
    """By output, the input that continues from it."""
    said = {tensor.name: tensor.parameters["continues_as"].string_param for tensor in metadata.outputs}
    return {name: continued for name, continued in said.items() if continued}


def _steps_of(
    request: pb.ModelInferRequest, metadata: pb.ModelMetadataResponse
) -> tuple[int, Callable[[int], pb.ModelInferRequest]]:
    """How many steps a request has, and what makes the request for one.

    The only one is the request itself, where the model does not go in steps. Requests for all at once would be a
    million messages, for a few MiB of JSON.
    """
    states = _states_of(metadata)
    if not states or not json.loads(metadata.properties["continuable"] or "false"):
        return 1, lambda _: request
    axes = {tensor.name: tensor.parameters["axes"].string_param.split(", ") for tensor in metadata.inputs}
    fixed = set(states.values())
    cut = [index for index, tensor in enumerate(request.inputs) if tensor.name not in fixed]
    moving = {name for index in cut for name in axes[request.inputs[index].name] if name != BATCH}
    named = [axis for axis in moving if axis in _sequence_axes(metadata)]
    if len(named) != 1 or any(tensor.parameters["lengths_of"].string_param for tensor in _sent(request, metadata)):
        return 1, lambda _: request  # several axes of time, or rows of several lengths: one answer for all
    axis = named[0]
    sizes = {
        request.inputs[index].shape[axes[request.inputs[index].name].index(axis)]
        for index in cut
        if axis in axes[request.inputs[index].name]
    }
    if len(sizes) != 1 or not next(iter(sizes)):
        return 1, lambda _: request  # the server says what is wrong with that
    contents = list(request.raw_input_contents)  # each look at them makes a copy
    return sizes.pop(), lambda step: _step(request, contents, step, axis, axes, states)


def _sequence_axes(metadata: pb.ModelMetadataResponse) -> set[str]:
    """Axes of inputs that may have any size, and are no batch."""
    return {
        axis
        for tensor in metadata.inputs
        for axis, size in zip(tensor.parameters["axes"].string_param.split(", "), tensor.shape, strict=True)
        if size < 0 and axis != BATCH
    }


def _sent(
    request: pb.ModelInferRequest, metadata: pb.ModelMetadataResponse
) -> list[pb.ModelMetadataResponse.TensorMetadata]:
    names = {tensor.name for tensor in request.inputs}
    return [tensor for tensor in metadata.inputs if tensor.name in names]


def _step(
    request: pb.ModelInferRequest,
    contents: list[bytes],
    step: int,
    axis: str,
    axes: dict[str, list[str]],
    states: dict[str, str],
) -> pb.ModelInferRequest:
    """A request with one step of the inputs; the states that it begins with are of the first step only."""
    made = pb.ModelInferRequest(
        model_name=request.model_name, model_version=request.model_version, id=request.id, parameters=request.parameters
    )
    for tensor, data in zip(request.inputs, contents, strict=True):
        if tensor.name in states.values():
            if step == 0:
                made.inputs.append(tensor)
                made.raw_input_contents.append(data)
            continue
        added = made.inputs.add()
        added.CopyFrom(tensor)
        if axis in axes[tensor.name]:
            at = axes[tensor.name].index(axis)
            added.shape[at] = 1
            made.raw_input_contents.append(_cut(data, list(tensor.shape), DTYPES[tensor.datatype].itemsize, at, step))
        else:
            made.raw_input_contents.append(data)
    return made


def _cut(data: bytes, shape: list[int], item: int, at: int, step: int) -> bytes:
    """The bytes of one index of an axis, of a tensor in row-major order."""
    inner = item
    for size in shape[at + 1 :]:
        inner *= size
    outer = shape[at] * inner
    return b"".join(data[start + step * inner : start + (step + 1) * inner] for start in range(0, len(data), outer))


def _carry(response: pb.ModelInferResponse, states: dict[str, str], to: pb.ModelInferRequest) -> None:
    """Have a step begin with the states that the one before has ended with."""
    for tensor, data in zip(response.outputs, response.raw_output_contents, strict=True):
        continued = states.get(tensor.name)
        if continued is not None:
            to.inputs.add(name=continued, datatype=tensor.datatype, shape=tensor.shape)
            to.raw_input_contents.append(data)
