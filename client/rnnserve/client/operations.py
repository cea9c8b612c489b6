"""What a client does, without doing it: every operation is a generator of calls, and takes their answers.

`Client` and `AsyncClient` drive the same generators, one with blocking calls and one with awaited ones, so nothing but
waiting is written twice, and everything here is tested without a network.
"""

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy.typing as npt
from google.protobuf.message import Message

from rnnserve.client.answers import Classification, classifications
from rnnserve.client.errors import ClientError, InvalidRequest, Unavailable
from rnnserve.client.metadata import ModelMetadata, read_metadata
from rnnserve.client.requests import classify_request, split
from rnnserve.client.sequences import Sequences, States, check_features, check_sequences, check_state, dtype_of
from rnnserve.client.tensors import Array, add_input, read_outputs
from rnnserve.protos import inference_pb2

__all__ = ["Call", "Operations", "Steps"]

T = TypeVar("T")
Answer = TypeVar("Answer", bound=Message)

_STATES = {"h_0": "h_n", "c_0": "c_n"}


@dataclass(frozen=True)
class Call:
    """One remote call to make.

    Attributes:
        method: Its name in GRPCInferenceService.
        request: Its message.
    """

    method: str
    request: Message


Steps = Generator[Call, Message, T]
"""Yields calls, is sent their answers (or has their errors thrown in), returns the operation's result."""


class Operations:
    """The operations of one client, with what it remembers of the models.

    Args:
        max_rows: Sequences of one request.
        max_request_bytes: Padded bytes of one request or answer.
    """

    def __init__(self, *, max_rows: int, max_request_bytes: int) -> None:
        if max_rows < 1 or max_request_bytes < 1:
            raise InvalidRequest(f"max_rows {max_rows} and max_request_bytes {max_request_bytes} must be at least 1")
        self._max_rows = max_rows
        self._max_bytes = max_request_bytes
        self._known: dict[tuple[str, str], ModelMetadata] = {}

    def is_live(self) -> Steps[bool]:
        """Ask whether a server is up."""
        try:
            answer = yield from _ask("ServerLive", inference_pb2.ServerLiveRequest(), inference_pb2.ServerLiveResponse)
        except Unavailable:
            return False
        return answer.live

    def is_ready(self, model: str, version: str) -> Steps[bool]:
        """Ask whether a model is ready, or all of them where none is named."""
        try:
            if model:
                request = inference_pb2.ModelReadyRequest(name=model, version=version)
                return (yield from _ask("ModelReady", request, inference_pb2.ModelReadyResponse)).ready
            everything = inference_pb2.ServerReadyRequest()
            return (yield from _ask("ServerReady", everything, inference_pb2.ServerReadyResponse)).ready
        except Unavailable:
            return False

    def metadata(self, model: str, version: str) -> Steps[ModelMetadata]:
        """Ask what a model takes and gives, and remember it for `classify`."""
        _check_model(model)
        request = inference_pb2.ModelMetadataRequest(name=model, version=version)
        metadata = read_metadata((yield from _ask("ModelMetadata", request, inference_pb2.ModelMetadataResponse)))
        self._known[model, version] = metadata
        return metadata

    def infer(
        self, model: str, inputs: Mapping[str, npt.ArrayLike], outputs: Sequence[str], version: str
    ) -> Steps[dict[str, Array]]:
        """Send tensors as they are, get tensors."""
        _check_model(model)
        request = inference_pb2.ModelInferRequest(model_name=model, model_version=version)
        for name, value in inputs.items():
            add_input(request, name, value)
        request.outputs.extend(
            inference_pb2.ModelInferRequest.InferRequestedOutputTensor(name=name) for name in outputs
        )
        return read_outputs((yield from _ask("ModelInfer", request, inference_pb2.ModelInferResponse)))

    def classify(
        self,
        model: str,
        sequences: Sequences,
        *,
        version: str,
        h_0: States | None,
        c_0: States | None,
        states: bool,
        output: bool,
    ) -> Steps[list[Classification]]:
        """Classify sequences of any lengths, in as few requests as the limits allow."""
        _check_model(model)
        arrays = check_sequences(sequences)
        initial = {name: state for name, state in (("h_0", h_0), ("c_0", c_0)) if state is not None}
        if not arrays:
            return []
        metadata, batch = yield from self._prepare(model, version, arrays, initial)
        wanted = _wanted(metadata, states=states, output=output)
        lengths = [len(array) for array in arrays]
        results: list[Classification] = []
        for rows in split(
            lengths,
            bytes_per_point=_bytes_per_point(metadata, arrays[0].shape[1], output=output),
            bytes_per_row=_bytes_per_row(metadata) if states or batch else 0,
            max_rows=self._max_rows,
            max_bytes=self._max_bytes,
            ragged="lengths" in metadata.inputs,
        ):
            part = slice(rows.start, rows.stop)
            carried = {name: state[:, part] for name, state in batch.items()}
            request = classify_request(model, version, metadata, arrays[part], carried, wanted)
            try:
                response = yield from _ask("ModelInfer", request, inference_pb2.ModelInferResponse)
                described = yield from self._described(model, version, response.model_version)
                results += classifications(
                    read_outputs(response),
                    lengths[part],
                    wanted=wanted,
                    labels=described.labels,
                    model_version=response.model_version,
                )
            except ClientError as error:
                # Whatever failed, what is remembered may be the reason.
                self._forget(model)
                if len(rows) < len(arrays):
                    error.add_note(f"row 0 of the failing request was sequence {rows.start}, its last {rows.stop - 1}")
                raise
        return results

    def _prepare(
        self, model: str, version: str, arrays: Sequence[Array], initial: Mapping[str, States]
    ) -> Steps[tuple[ModelMetadata, dict[str, Array]]]:
        """Check sequences and states against the model's metadata, asking for it only where memory does not do."""
        known = self._known.get((model, version))
        if known is not None:
            try:
                return known, _check(known, arrays, initial)
            except InvalidRequest:
                # The model may have been replaced since; only what its server says now is a reason to refuse.
                self._forget(model)
        metadata = yield from self.metadata(model, version)
        return metadata, _check(metadata, arrays, initial)

    def _described(self, model: str, version: str, answered: str) -> Steps[ModelMetadata]:
        """Return the metadata of the version that answered: another one may have other labels."""
        known = self._known.get((model, version))
        if known is not None and (answered in ("", version) or known.versions == (answered,)):
            return known
        described = self._known.get((model, answered or version))
        return described or (yield from self.metadata(model, answered or version))

    def _forget(self, model: str) -> None:
        for key in [key for key in list(self._known) if key[0] == model]:
            self._known.pop(key, None)


def _ask(method: str, request: Message, kind: type[Answer]) -> Steps[Answer]:
    """Make one call; `kind` is the message that the protocol answers it with."""
    answer = yield Call(method, request)
    if not isinstance(answer, kind):
        raise TypeError(f"{method} was answered with a {type(answer).__name__}")
    return answer


def _check_model(model: str) -> None:
    if not model:
        raise InvalidRequest("the model's name is empty")


def _check(metadata: ModelMetadata, arrays: Sequence[Array], initial: Mapping[str, States]) -> dict[str, Array]:
    """Return the initial states to send, each (layers * directions, batch, hidden)."""
    check_features(arrays, metadata)
    needed = {name for name in _STATES if name in metadata.inputs}
    if initial and needed - set(initial):
        raise InvalidRequest(
            f"{', '.join(initial)} came without {', '.join(needed - set(initial))}: model {metadata.name} carries both "
            "from step to step (c_n belongs to h_n as c_0 to h_0)"
        )
    if not initial:
        # Servers that follow the protocol to the letter want every input; ours marks these as optional.
        initial = {name: [None] * len(arrays) for name in sorted(needed) if not metadata.inputs[name].optional}
    return {name: check_state(name, state, len(arrays), metadata) for name, state in initial.items()}


def _wanted(metadata: ModelMetadata, *, states: bool, output: bool) -> list[str]:
    """Return the names of the outputs to request: only those are computed and sent."""
    if output and "output" not in metadata.outputs:
        raise InvalidRequest(f"model {metadata.name} gives no `output`: {', '.join(metadata.outputs)}")
    wanted = ["logits", *(name for name in _STATES.values() if states and name in metadata.outputs)]
    return [*wanted, "output"] if output else wanted


def _bytes_per_point(metadata: ModelMetadata, features: int, *, output: bool) -> int:
    width = metadata.outputs["output"].shape[-1] if output and metadata.outputs["output"].shape else features
    return dtype_of(metadata.inputs["input"]).itemsize * max(features, width)


def _bytes_per_row(metadata: ModelMetadata) -> int:
    tensors = [metadata.inputs[name] for name in _STATES if name in metadata.inputs]
    return sum(dtype_of(tensor).itemsize * abs(math.prod(tensor.shape)) for tensor in tensors)
