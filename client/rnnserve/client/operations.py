"""The client's operations without I/O: each is a generator that yields calls and receives their responses.

`Client` drives these generators with blocking calls, and `AsyncClient` with awaited calls. So only the waiting exists
twice, and the operations can be tested without a network.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy.typing as npt
from google.protobuf.message import Message

from rnnserve.client.classification import Classification, read_classification, require_classified_output
from rnnserve.client.errors import ClientError, InvalidRequest, Unavailable, Unimplemented
from rnnserve.client.metadata import ModelMetadata, read_metadata
from rnnserve.client.predictions import Prediction, read_predictions
from rnnserve.client.remote_calls import OperationSteps, RemoteCall, repeat_call
from rnnserve.client.request_builder import build_request, group_rows
from rnnserve.client.row_inputs import InputsLike, RowInputs, RowsLike, check_rows, main_input
from rnnserve.client.tensors import Array, add_input, read_outputs
from rnnserve.protos import inference_pb2

__all__ = ["ClientOperations", "PriorStates", "SendRequest", "add_states", "check_model", "check_outputs", "send"]

Answer = TypeVar("Answer", bound=Message)

PriorStates = Sequence[Mapping[str, Array] | None]
"""For each row an earlier result with the final states, or None for a row that begins with zeros."""

SendRequest = Callable[[inference_pb2.ModelInferRequest], OperationSteps[inference_pb2.ModelInferResponse]]
"""The steps that send one inference request and return its response."""


class ClientOperations:
    """The operations of one client, with its cache of models' metadata.

    `max_rows` and `max_request_bytes` are as in `ClientBase`.
    """

    def __init__(self, *, max_rows: int, max_request_bytes: int) -> None:
        if max_rows < 1 or max_request_bytes < 1:
            raise InvalidRequest(
                f"max_rows and max_request_bytes must be at least 1; got {max_rows} and {max_request_bytes}"
            )
        self._max_rows = max_rows
        self._max_bytes = max_request_bytes
        self._metadata_cache: dict[tuple[str, str], ModelMetadata] = {}

    def is_live(self) -> OperationSteps[bool]:
        """Return whether the server is live. False if no server can be reached."""
        try:
            request = inference_pb2.ServerLiveRequest()
            return (yield from send("ServerLive", request, inference_pb2.ServerLiveResponse)).live
        except Unavailable:
            return False

    def is_ready(self, model: str, version: str) -> OperationSteps[bool]:
        """Return whether a model is ready, or all models if none is named. False if no server can be reached."""
        try:
            if model:
                request = inference_pb2.ModelReadyRequest(name=model, version=version)
                return (yield from send("ModelReady", request, inference_pb2.ModelReadyResponse)).ready
            everything = inference_pb2.ServerReadyRequest()
            return (yield from send("ServerReady", everything, inference_pb2.ServerReadyResponse)).ready
        except Unavailable:
            return False

    def metadata(self, model: str, version: str) -> OperationSteps[ModelMetadata]:
        """Return a model's metadata, and cache them for `predict`."""
        check_model(model)
        request = inference_pb2.ModelMetadataRequest(name=model, version=version)
        metadata = read_metadata((yield from send("ModelMetadata", request, inference_pb2.ModelMetadataResponse)))
        self._metadata_cache[model, version] = metadata
        return metadata

    def server_extensions(self) -> OperationSteps[frozenset[str]]:
        """Return the protocol extensions that the server offers, or none if it does not report them."""
        request = inference_pb2.ServerMetadataRequest()
        try:
            answer = yield from send("ServerMetadata", request, inference_pb2.ServerMetadataResponse)
        except Unimplemented:
            return frozenset()
        return frozenset(answer.extensions)

    def infer(
        self, model: str, inputs: Mapping[str, npt.ArrayLike], outputs: Sequence[str], version: str
    ) -> OperationSteps[dict[str, Array]]:
        """Send tensors unchanged, and return the response's tensors."""
        check_model(model)
        request = inference_pb2.ModelInferRequest(model_name=model, model_version=version)
        for name, value in inputs.items():
            add_input(request, name, value)
        request.outputs.extend(
            inference_pb2.ModelInferRequest.InferRequestedOutputTensor(name=name) for name in outputs
        )
        return read_outputs((yield from send("ModelInfer", request, inference_pb2.ModelInferResponse)))

    def predict(
        self,
        model: str,
        sequences: InputsLike,
        outputs: Sequence[str],
        continue_from: PriorStates | None,
        version: str,
    ) -> OperationSteps[list[Prediction]]:
        """Run a model on rows of any sizes, in as few requests as the model and the limits allow."""
        answers = yield from self._ask_rows(
            model, sequences, lambda metadata: check_outputs(metadata, outputs), continue_from, version
        )
        return [prediction for prediction, _ in answers]

    def classify(
        self, model: str, sequences: InputsLike, continue_from: PriorStates | None, version: str
    ) -> OperationSteps[list[Classification]]:
        """Classify rows of any sizes: run the model, and turn the output with the classes into labels."""

        def requested(metadata: ModelMetadata) -> list[str]:
            return [require_classified_output(metadata), *metadata.states.values()]

        answers = yield from self._ask_rows(model, sequences, requested, continue_from, version)
        try:
            # The first requested output is the one with the classes.
            return [read_classification(each, next(iter(each)), answering) for each, answering in answers]
        except ClientError:
            self._forget(model)
            raise

    def group(self, metadata: ModelMetadata, rows: RowInputs, requested: Sequence[str]) -> Iterator[list[int]]:
        """Yield the indices of the rows in each request that `ask` makes."""
        return group_rows(metadata, rows, requested, max_rows=self._max_rows, max_bytes=self._max_bytes)

    def ask(
        self,
        model: str,
        version: str,
        metadata: ModelMetadata,
        rows: RowInputs,
        requested: Sequence[str],
        send_request: SendRequest,
    ) -> OperationSteps[list[tuple[Prediction, ModelMetadata]]]:
        """Send the rows. Returns each row's prediction, and the metadata of the version that computed it."""
        answers: dict[int, tuple[Prediction, ModelMetadata]] = {}
        for chosen in self.group(metadata, rows, requested):
            try:
                request = build_request(model, version, metadata, rows, chosen, requested)
                response = yield from send_request(request)
                found = response.model_version
                answering = yield from self._metadata_of_version(model, version, found)
                outputs = read_outputs(response)
                predictions = read_predictions(
                    answering, outputs, rows, chosen, requested=requested, model_version=found
                )
            except ClientError as error:
                # Outdated metadata in the cache may be the reason for any failure.
                self._forget(model)
                if len(chosen) < len(rows):
                    error.add_note(f"the failing request contained {_describe_rows(chosen)}")
                raise
            for index, prediction in zip(chosen, predictions, strict=True):
                answers[index] = prediction, answering
        return [answers[index] for index in range(len(rows))]

    def _ask_rows(
        self,
        model: str,
        sequences: InputsLike,
        requested: Callable[[ModelMetadata], list[str]],
        continue_from: PriorStates | None,
        version: str,
    ) -> OperationSteps[list[tuple[Prediction, ModelMetadata]]]:
        """Check the rows and send them. `requested` returns the names of the outputs to request."""
        check_model(model)
        sequences = _read_iterators(sequences)
        if isinstance(sequences, list | tuple) and not sequences:
            return []

        def checked(metadata: ModelMetadata) -> tuple[ModelMetadata, RowInputs, list[str]]:
            inputs = sequences if continue_from is None else add_states(metadata, sequences, continue_from)
            return metadata, check_rows(metadata, inputs), requested(metadata)

        cached = self._metadata_cache.get((model, version))
        if cached is not None:
            try:
                call = checked(cached)
            except InvalidRequest:
                # Another version may have replaced the model: check with current metadata before refusing.
                self._forget(model)
                cached = None
        if cached is None:
            call = checked((yield from self.metadata(model, version)))
        return (yield from self.ask(model, version, *call, _send_once))

    def _metadata_of_version(self, model: str, version: str, answered: str) -> OperationSteps[ModelMetadata]:
        """Return the metadata of the version that responded. Its labels may differ from another version's."""
        cached = self._metadata_cache.get((model, version))
        if cached is not None and (answered in ("", version) or cached.versions == (answered,)):
            return cached
        metadata = self._metadata_cache.get((model, answered or version))
        return metadata or (yield from self.metadata(model, answered or version))

    def _forget(self, model: str) -> None:
        for key in [key for key in list(self._metadata_cache) if key[0] == model]:
            self._metadata_cache.pop(key, None)


def send(
    method: str, request: Message, kind: type[Answer], *, sequence: int | None = None, repeats: bool = False
) -> OperationSteps[Answer]:
    """Make one call. `kind` is the expected type of the response. With `repeats`, see `repeat_call`."""
    call = RemoteCall(method, request, sequence)
    answer = (yield from repeat_call(call)) if repeats else (yield call)
    if not isinstance(answer, kind):
        raise TypeError(f"{method} returned a {type(answer).__name__}, not a response")
    return answer


def _send_once(request: inference_pb2.ModelInferRequest) -> OperationSteps[inference_pb2.ModelInferResponse]:
    return send("ModelInfer", request, inference_pb2.ModelInferResponse)


def check_model(model: str) -> None:
    """Raise InvalidRequest if the name is empty."""
    if not model:
        raise InvalidRequest("the model name is empty")


def _read_iterators(sequences: Any) -> Any:  # noqa: ANN401 - any value; `check_rows` checks it
    """Replace iterators by lists, because the rows may be read twice."""
    if isinstance(sequences, Mapping):
        return {name: _read_iterators(rows) for name, rows in sequences.items()}
    return list(sequences) if isinstance(sequences, Iterator) else sequences


def check_outputs(metadata: ModelMetadata, outputs: Sequence[str]) -> list[str]:
    """Return the names of the outputs to request, or all outputs if none is named."""
    names = [outputs] if isinstance(outputs, str) else list(outputs)
    for name in names:
        if name not in metadata.outputs:
            raise InvalidRequest(
                f'model {metadata.name} has no output "{name}"; its outputs are {", ".join(metadata.outputs)}'
            )
    return names or list(metadata.outputs)


def add_states(metadata: ModelMetadata, sequences: InputsLike, continue_from: PriorStates) -> dict[str, RowsLike]:
    """Add the initial states from earlier predictions, one for each row. None starts a row with zero states."""
    if not metadata.states:
        raise InvalidRequest(f"model {metadata.name} has no states to continue from; leave out continue_from")
    if metadata.found_states or metadata.properties.get("continuable") == "false":
        raise InvalidRequest(f"results of model {metadata.name} lack states to continue from; use session() instead")
    inputs = dict(sequences) if isinstance(sequences, Mapping) else {main_input(metadata).name: sequences}
    for initial, final in metadata.states.items():
        for index, prediction in enumerate(continue_from):
            if prediction is not None and final not in prediction:
                raise InvalidRequest(
                    f'continue_from[{index}] has no "{final}", from which "{initial}" continues; add it to outputs'
                )
        inputs[initial] = [None if prediction is None else prediction[final] for prediction in continue_from]
    return inputs


def _describe_rows(chosen: Sequence[int]) -> str:
    """Describe which rows a request contained: "sequence 2", "sequences 2 to 5", or "sequences 2, 5, 8"."""
    first, last = chosen[0], chosen[-1]
    if len(chosen) == 1:
        return f"sequence {first}"
    if last - first + 1 == len(chosen):
        return f"sequences {first} to {last}, sent as rows 0 to {len(chosen) - 1}"
    listed = ", ".join(str(index) for index in chosen[:20])
    return f"sequences {listed}{', …' if len(chosen) > 20 else ''}, in this order"
