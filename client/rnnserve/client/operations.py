"""The client's operations without input and output: each is a generator that yields calls and receives their answers.

`Client` drives these generators with blocking calls, `AsyncClient` with awaited calls. Only the waiting is written
twice, and everything here can be tested without a network.
"""

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy.typing as npt
from google.protobuf.message import Message

from rnnserve.client.classification import Classification, read_classifications
from rnnserve.client.errors import ClientError, InvalidRequest, Unavailable
from rnnserve.client.input_checks import (
    SequencesLike,
    StatesLike,
    check_features,
    check_sequences,
    check_state,
    dtype_of,
)
from rnnserve.client.metadata import ModelMetadata, read_metadata
from rnnserve.client.request_builder import build_classify_request, split_into_requests
from rnnserve.client.tensors import Array, add_input, read_outputs
from rnnserve.protos import inference_pb2

__all__ = ["ClientOperations", "OperationSteps", "RemoteCall"]

T = TypeVar("T")
Answer = TypeVar("Answer", bound=Message)

_FINAL_STATES = {"h_0": "h_n", "c_0": "c_n"}
"""Name of the final state that continues each initial state."""


@dataclass(frozen=True)
class RemoteCall:
    """A remote call for the client to make.

    Attributes:
        method: Name of the method in GRPCInferenceService.
        request: The request message.
    """

    method: str
    request: Message


OperationSteps = Generator[RemoteCall, Message, T]
"""Yields calls; receives each answer by `send`, or each error by `throw`; returns the operation's result."""


class ClientOperations:
    """The operations of one client, with its cache of models' metadata.

    Args:
        max_rows: Largest number of sequences in one request.
        max_request_bytes: Largest size of one request or answer, in bytes and with padding.
    """

    def __init__(self, *, max_rows: int, max_request_bytes: int) -> None:
        if max_rows < 1 or max_request_bytes < 1:
            raise InvalidRequest(f"max_rows {max_rows} and max_request_bytes {max_request_bytes} must be at least 1")
        self._max_rows = max_rows
        self._max_bytes = max_request_bytes
        self._metadata_cache: dict[tuple[str, str], ModelMetadata] = {}

    def is_live(self) -> OperationSteps[bool]:
        """Return whether the server is live; False if no server can be reached."""
        try:
            answer = yield from _call("ServerLive", inference_pb2.ServerLiveRequest(), inference_pb2.ServerLiveResponse)
        except Unavailable:
            return False
        return answer.live

    def is_ready(self, model: str, version: str) -> OperationSteps[bool]:
        """Return whether a model is ready, or all models if none is named; False if no server can be reached."""
        try:
            if model:
                request = inference_pb2.ModelReadyRequest(name=model, version=version)
                return (yield from _call("ModelReady", request, inference_pb2.ModelReadyResponse)).ready
            everything = inference_pb2.ServerReadyRequest()
            return (yield from _call("ServerReady", everything, inference_pb2.ServerReadyResponse)).ready
        except Unavailable:
            return False

    def metadata(self, model: str, version: str) -> OperationSteps[ModelMetadata]:
        """Return a model's metadata, and cache them for `classify`."""
        _check_model(model)
        request = inference_pb2.ModelMetadataRequest(name=model, version=version)
        metadata = read_metadata((yield from _call("ModelMetadata", request, inference_pb2.ModelMetadataResponse)))
        self._metadata_cache[model, version] = metadata
        return metadata

    def infer(
        self, model: str, inputs: Mapping[str, npt.ArrayLike], outputs: Sequence[str], version: str
    ) -> OperationSteps[dict[str, Array]]:
        """Send tensors unchanged; return the answer's tensors."""
        _check_model(model)
        request = inference_pb2.ModelInferRequest(model_name=model, model_version=version)
        for name, value in inputs.items():
            add_input(request, name, value)
        request.outputs.extend(
            inference_pb2.ModelInferRequest.InferRequestedOutputTensor(name=name) for name in outputs
        )
        return read_outputs((yield from _call("ModelInfer", request, inference_pb2.ModelInferResponse)))

    def classify(
        self,
        model: str,
        sequences: SequencesLike,
        *,
        version: str,
        h_0: StatesLike | None,
        c_0: StatesLike | None,
        states: bool,
        output: bool,
    ) -> OperationSteps[list[Classification]]:
        """Classify sequences of any lengths, in as few requests as the limits allow."""
        _check_model(model)
        arrays = check_sequences(sequences)
        initial = {name: state for name, state in (("h_0", h_0), ("c_0", c_0)) if state is not None}
        if not arrays:
            return []
        metadata, states_0 = yield from self._prepare(model, version, arrays, initial)
        requested = _requested_outputs(metadata, states=states, output=output)
        lengths = [len(array) for array in arrays]
        results: list[Classification] = []
        for rows in split_into_requests(
            lengths,
            bytes_per_point=_bytes_per_point(metadata, arrays[0].shape[1], output=output),
            bytes_per_row=_bytes_per_row(metadata) if states or states_0 else 0,
            max_rows=self._max_rows,
            max_bytes=self._max_bytes,
            ragged="lengths" in metadata.inputs,
        ):
            part = slice(rows.start, rows.stop)
            # Each (layers * directions, rows of this request, hidden).
            initial_rows = {name: state[:, part] for name, state in states_0.items()}
            request = build_classify_request(model, version, metadata, arrays[part], initial_rows, requested)
            try:
                response = yield from _call("ModelInfer", request, inference_pb2.ModelInferResponse)
                answering = yield from self._metadata_of_version(model, version, response.model_version)
                results += read_classifications(
                    read_outputs(response),
                    lengths[part],
                    requested=requested,
                    labels=answering.labels,
                    model_version=response.model_version,
                )
            except ClientError as error:
                # Cached metadata may be the reason of any failure.
                self._forget(model)
                if len(rows) < len(arrays):
                    error.add_note(f"row 0 of the failing request was sequence {rows.start}, its last {rows.stop - 1}")
                raise
        return results

    def _prepare(
        self, model: str, version: str, arrays: Sequence[Array], initial: Mapping[str, StatesLike]
    ) -> OperationSteps[tuple[ModelMetadata, dict[str, Array]]]:
        """Check sequences and states against the model's metadata; call the server only if the cache does not suffice.

        Args:
            model: The model's name.
            version: The model's version.
            arrays: One array (length, features) per sequence.
            initial: Initial states as the caller passed them, by name.

        Returns:
            The metadata, and the initial states to send, each (layers * directions, batch, hidden).
        """
        cached = self._metadata_cache.get((model, version))
        if cached is not None:
            try:
                return cached, _check_inputs(cached, arrays, initial)
            except InvalidRequest:
                # The model may have been replaced since then: only current metadata justify a refusal.
                self._forget(model)
        metadata = yield from self.metadata(model, version)
        return metadata, _check_inputs(metadata, arrays, initial)

    def _metadata_of_version(self, model: str, version: str, answered: str) -> OperationSteps[ModelMetadata]:
        """Return the metadata of the version that answered, whose labels may differ from another version's."""
        cached = self._metadata_cache.get((model, version))
        if cached is not None and (answered in ("", version) or cached.versions == (answered,)):
            return cached
        metadata = self._metadata_cache.get((model, answered or version))
        return metadata or (yield from self.metadata(model, answered or version))

    def _forget(self, model: str) -> None:
        for key in [key for key in list(self._metadata_cache) if key[0] == model]:
            self._metadata_cache.pop(key, None)


def _call(method: str, request: Message, kind: type[Answer]) -> OperationSteps[Answer]:
    """Make one call; `kind` is the type of its answer in the protocol."""
    answer = yield RemoteCall(method, request)
    if not isinstance(answer, kind):
        raise TypeError(f"{method} was answered with a {type(answer).__name__}")
    return answer


def _check_model(model: str) -> None:
    if not model:
        raise InvalidRequest("the model's name is empty")


def _check_inputs(
    metadata: ModelMetadata, arrays: Sequence[Array], initial: Mapping[str, StatesLike]
) -> dict[str, Array]:
    """Return the initial states to send, each (layers * directions, batch, hidden), after all checks."""
    check_features(arrays, metadata)
    needed = {name for name in _FINAL_STATES if name in metadata.inputs}
    if initial and needed - set(initial):
        raise InvalidRequest(
            f"{', '.join(initial)} was passed without {', '.join(needed - set(initial))}: model {metadata.name} needs "
            "both initial states (h_n of the previous part as h_0, c_n as c_0)"
        )
    if not initial:
        # Servers that follow the protocol strictly require every input; `rnnserve serve` marks states as optional.
        initial = {name: [None] * len(arrays) for name in sorted(needed) if not metadata.inputs[name].optional}
    return {name: check_state(name, state, len(arrays), metadata) for name, state in initial.items()}


def _requested_outputs(metadata: ModelMetadata, *, states: bool, output: bool) -> list[str]:
    """Return the names of the outputs to request; the server computes and sends only these."""
    if output and "output" not in metadata.outputs:
        raise InvalidRequest(
            f"model {metadata.name} has no output `output`; its outputs are {', '.join(metadata.outputs)}"
        )
    names = ["logits", *(name for name in _FINAL_STATES.values() if states and name in metadata.outputs)]
    return [*names, "output"] if output else names


def _bytes_per_point(metadata: ModelMetadata, features: int, *, output: bool) -> int:
    width = metadata.outputs["output"].shape[-1] if output and metadata.outputs["output"].shape else features
    return dtype_of(metadata.inputs["input"]).itemsize * max(features, width)


def _bytes_per_row(metadata: ModelMetadata) -> int:
    tensors = [metadata.inputs[name] for name in _FINAL_STATES if name in metadata.inputs]
    return sum(dtype_of(tensor).itemsize * abs(math.prod(tensor.shape)) for tensor in tensors)
