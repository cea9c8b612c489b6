"""What each method of the protocol answers, from message to message, whatever the transport."""

import dataclasses
import importlib.metadata
import json
from collections.abc import Callable, Mapping

from google.protobuf.message import Message

from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos import model_config_pb2
from rnnserve.protos.protocol_words import SEALED_SESSIONS, SESSION, TOKENS
from rnnserve.server.boundary.checked_request import CheckedRequest
from rnnserve.server.boundary.checking import check_request
from rnnserve.server.boundary.parameters import read_sequence_control
from rnnserve.server.boundary.parsing import parse_request
from rnnserve.server.boundary.signature import TensorSpec
from rnnserve.server.errors import InvalidRequest, ServeError, Unsupported
from rnnserve.server.protocol.model_control import ModelControl
from rnnserve.server.protocol.sealed_states import NO_KEY, open_sealed_states
from rnnserve.server.protocol.sequence_callers import Caller
from rnnserve.server.protocol.sequences import Sequences
from rnnserve.server.protocol.statistics_messages import statistics_message
from rnnserve.server.protocol.unsupported_methods import UNSUPPORTED_METHODS
from rnnserve.server.repository.live import LiveRepository
from rnnserve.server.repository.repository import READY, Repository, ServedVersion
from rnnserve.server.settings import Settings

__all__ = ["Method", "Service"]


@dataclasses.dataclass(frozen=True)
class Method:
    """A unary method.

    Attributes:
        read: Parses the bytes of its request.
        answer: Turns the request's message into the response's.
        takes_long: Whether it may take seconds, so that it is to be answered on other threads.
    """

    read: Callable[[bytes], Message]
    answer: Callable[..., Message]
    takes_long: bool = False


_EXTENSIONS = (
    "binary_tensor_data", "classification", "logging", "model_configuration", "model_repository", "parameters",
    "schedule_policy", "sequence", "statistics", "trace",
)  # fmt: skip
"""Triton's names of those that this server speaks."""


class Service:
    """The Open Inference Protocol over a repository.

    Attributes:
        repository: The models.
        settings: The limits of requests, and the provider that was asked for.
        sequences: Whose states are kept.
        is_draining: Whether the server is about to stop, so that it is not ready, whatever serves.
        is_stuck: Whether a run of a model does not end, so that the server is neither ready nor live.
    """

    def __init__(
        self,
        repository: Repository,
        settings: Settings,
        live: LiveRepository | None = None,
        note_change: Callable[[str, bool], None] = lambda *_: None,
    ) -> None:
        """Answer for a repository.

        Args:
            repository: The models.
            settings: The limits of requests, and the provider that was asked for.
            live: The changes of what serves; None where there are none.
            note_change: A function that is told which model a request has loaded, or else unloaded.

        Raises:
            StartError: If the key for sealed sessions cannot be used.
        """
        self.repository = repository
        self.settings = settings
        self.sequences = Sequences(settings)
        self.is_draining = self.is_stuck = False
        self._sealed_states = open_sealed_states(settings)
        of_settings = {SEALED_SESSIONS: self._sealed_states is not None, TOKENS: settings.access_file is not None}
        self._extensions = [*_EXTENSIONS, *[name for name, is_spoken in of_settings.items() if is_spoken]]
        self._control = ModelControl(live, settings.model_control, note_change)

    @property
    def methods(self) -> Mapping[str, Method]:
        """The methods of GRPCInferenceService that answer at once, by name; ModelInfer goes through `accept`."""
        return {
            "ServerLive": Method(pb.ServerLiveRequest.FromString, self.server_live),
            "ServerReady": Method(pb.ServerReadyRequest.FromString, self.server_ready),
            "ServerMetadata": Method(pb.ServerMetadataRequest.FromString, self.server_metadata),
            "ModelReady": Method(pb.ModelReadyRequest.FromString, self.model_ready),
            "ModelMetadata": Method(pb.ModelMetadataRequest.FromString, self.model_metadata),
            "ModelConfig": Method(pb.ModelConfigRequest.FromString, self.model_config),
            "ModelStatistics": Method(pb.ModelStatisticsRequest.FromString, self.model_statistics),
            "RepositoryIndex": Method(pb.RepositoryIndexRequest.FromString, self.repository_index),
            "RepositoryModelLoad": Method(
                pb.RepositoryModelLoadRequest.FromString, self._control.load, takes_long=True
            ),
            "RepositoryModelUnload": Method(
                pb.RepositoryModelUnloadRequest.FromString, self._control.unload, takes_long=True
            ),
            **{name: Method(request.FromString, answer) for name, (request, answer) in UNSUPPORTED_METHODS.items()},
        }

    def accept(self, payload: bytes, caller: Caller | None = None) -> tuple[ServedVersion, CheckedRequest]:
        """Take a ModelInfer request through the boundary.

        Args:
            payload: Bytes of the request.
            caller: The caller that sends it; None where it cannot be of a sequence that is kept.

        Returns:
            The version that it asks, and the checked request.

        Raises:
            InvalidRequest: If it is not one that may be run.
            NotFound: If the repository does not have the model or version that it names.
            NotReady: If that model does not serve.
            PermissionDenied: If the caller's token is not for that model.
            SessionEnded: If it is of a session that cannot be continued any more.
            Unsupported: If it asks for what this server does not do.
        """
        request = parse_request(payload, self.settings)
        if caller is not None and caller.grant is not None:
            caller.grant.check_model(request.model_name)
        if SESSION in request.parameters:
            return self._accept_session(request)
        served = self._version_asked(request, caller)
        try:
            return served, check_request(request, served.model.signature, self.settings)
        except ServeError as error:
            raise error.of(served.model.statistics.counts)  # noqa: B904 - the same error

    def check(self, payload: bytes, served: ServedVersion) -> CheckedRequest:
        """Take a ModelInfer request through the boundary, to a version that may have stopped serving since it arrived.

        Raises:
            InvalidRequest: If it is not one that may be run.
            Unsupported: If it asks for what this server does not do.
        """
        try:
            request = parse_request(payload, self.settings)
            return check_request(request, served.model.signature, self.settings)
        except ServeError as error:
            raise error.of(served.model.statistics.counts)  # noqa: B904 - the same error

    def _version_asked(self, request: pb.ModelInferRequest, caller: Caller | None) -> ServedVersion:
        """The version that a request names; without a name, the newest one, or the one that its sequence began on."""
        control = read_sequence_control(request.parameters)
        began_on = self.sequences.find(request.model_name, control, caller) if control and caller else None
        if began_on is not None and request.model_version in ("", began_on.model.version):
            return began_on
        return self.repository.find(request.model_name, request.model_version)

    def _accept_session(self, request: pb.ModelInferRequest) -> tuple[ServedVersion, CheckedRequest]:
        """Take a request of a session whose states are sealed through the boundary."""
        if self._sealed_states is None:
            raise Unsupported(NO_KEY)
        if read_sequence_control(request.parameters) is not None:
            raise InvalidRequest(
                f"the parameters {SESSION} and sequence_id exclude each other: client or server keeps the states"
            )
        served, sealed = self._sealed_states.find(request, self.repository)
        checked = check_request(request, served.model.signature, self.settings)
        served = served.of_sequences
        return served, self._sealed_states.continue_from(sealed, checked, served.model)

    def server_live(self, _: pb.ServerLiveRequest) -> pb.ServerLiveResponse:
        """Say that the process is up, and no run of it is stuck."""
        return pb.ServerLiveResponse(live=not self.is_stuck)

    def server_ready(self, _: pb.ServerReadyRequest) -> pb.ServerReadyResponse:
        """Say whether every model of the repository serves, and the server is not about to stop."""
        return pb.ServerReadyResponse(ready=self.repository.is_ready() and not (self.is_draining or self.is_stuck))

    def server_metadata(self, _: pb.ServerMetadataRequest) -> pb.ServerMetadataResponse:
        """Name the server, its version, and the extensions that it speaks."""
        return pb.ServerMetadataResponse(
            name="rnnserve", version=importlib.metadata.version("rnnserve"), extensions=self._extensions
        )

    def model_ready(self, request: pb.ModelReadyRequest) -> pb.ModelReadyResponse:
        """Say whether a model, or one version of it, serves; false for one that is not known."""
        return pb.ModelReadyResponse(ready=self.repository.is_served(request.name, request.version))

    def model_metadata(self, request: pb.ModelMetadataRequest) -> pb.ModelMetadataResponse:
        """Describe a model: tensors with named axes, labels, which requests share a run, its origin, where it runs.

        Raises:
            NotFound: If there is no such model or version.
            NotReady: If it does not serve.
        """
        served = self.repository.find(request.name, request.version)
        model, in_parts = served.model, served.of_sequences.model
        properties = {
            "batching": model.signature.batching.value,
            "batch_invariant": json.dumps(model.batch_invariant),
            "continuable": json.dumps(model.continues),
            "sequences": in_parts.why_not_in_parts or "kept",
            "found_states": json.dumps(
                [name for name in in_parts.signature.states if name not in model.signature.inputs]
            ),
            "labels": json.dumps(list(model.manifest.labels)),
            "origin": model.origin,
            "provider_requested": self.settings.provider,
            "provider": model.device,
            "threads": json.dumps(self.settings.threads),
            "nodes": json.dumps(model.nodes),
            "graph": model.graph.name,
            "graph_reason": model.graph.reason,
            "parity": model.parity,
            "signed": "" if served.signed is None else json.dumps(served.signed.as_fields()),
        }
        return pb.ModelMetadataResponse(
            name=model.name,
            versions=self.repository.versions(request.name),
            platform="onnxruntime_onnx",
            inputs=[_metadata(spec) for spec in model.signature.inputs.values()],
            outputs=[_metadata(spec) for spec in model.signature.outputs.values()],
            properties=properties,
        )

    def model_config(self, request: pb.ModelConfigRequest) -> pb.ModelConfigResponse:
        """Give the model's config.pbtxt; states that it has Triton keep are optional inputs here, as they may be sent.

        Raises:
            NotFound: If there is no such model or version.
            NotReady: If it does not serve.
        """
        served = self.repository.find(request.name, request.version)
        config = model_config_pb2.ModelConfig()
        config.CopyFrom(served.config)
        declared = {tensor.name for tensor in config.input}
        for spec in served.model.signature.inputs.values():
            if spec.name not in declared:
                data_type = model_config_pb2.DataType.Value(f"TYPE_{spec.datatype}")
                config.input.add(name=spec.name, data_type=data_type, dims=spec.sizes, optional=True)
        return pb.ModelConfigResponse(config=config)

    def model_statistics(self, request: pb.ModelStatisticsRequest) -> pb.ModelStatisticsResponse:
        """Say what models have done: a version, all versions of a model that serve, or all that serve.

        With workers, this one alone: /metrics has the sums.

        Raises:
            NotFound: If there is no such model or version.
            NotReady: If it does not serve.
        """
        if request.name:
            found = self.repository.find(request.name, request.version)
            names = [found.model.version] if request.version else self.repository.versions(request.name)
            chosen = [self.repository.find(request.name, version) for version in names]
        else:
            chosen = self.repository.served()
        models = [served.model for served in chosen]
        return pb.ModelStatisticsResponse(
            model_stats=[statistics_message(model.name, model.version, model.statistics) for model in models]
        )

    def repository_index(self, request: pb.RepositoryIndexRequest) -> pb.RepositoryIndexResponse:
        """List every version of every model with its state, and why it does not serve."""
        response = pb.RepositoryIndexResponse()
        for name, versions in self.repository.statuses():
            for version, status in versions.items():
                if status.state == READY or not request.ready:
                    response.models.add(name=name, version=str(version), state=status.state, reason=status.reason)
        return response


def _metadata(spec: TensorSpec) -> pb.ModelMetadataResponse.TensorMetadata:
    """Describe a tensor: beside what the protocol asks, what a client needs to fill it.

    Its parameters: `axes`, the names of the axes; `optional`; `default`, "recorded" where the model's own default
    stands for an input that is left out, and not zeros; `required`, of states and lengths that may not be left out;
    `lengths_of`, the axis whose lengths it holds; `low` and `high`, where the manifest has them: for integers the
    values that the model takes, `high` exclusive, for floats the usual ones; `limits`, a JSON object with the smallest
    and the largest size of each axis that the model takes, where it does not take any; `derived`, of outputs, a JSON
    object with the fields of `DerivedSize`, four or more, for each axis whose size follows from that of an axis of the
    inputs; `continues_as`, the input that continues from it.
    """
    parameters = {"axes": pb.InferParameter(string_param=", ".join(spec.axes))}
    if spec.optional:
        parameters["optional"] = pb.InferParameter(bool_param=True)
    if spec.default is not None:
        parameters["default"] = pb.InferParameter(string_param="recorded")
    if spec.required_because:
        parameters["required"] = pb.InferParameter(bool_param=True)
    for name, said in (("lengths_of", spec.lengths_of), ("continues_as", spec.continues_as)):
        if said:
            parameters[name] = pb.InferParameter(string_param=said)
    if spec.limits:
        parameters["limits"] = pb.InferParameter(string_param=json.dumps(spec.limits))
    if spec.derived:
        derived = {axis: size.fields for axis, size in spec.derived.items()}
        parameters["derived"] = pb.InferParameter(string_param=json.dumps(derived))
    for name, bound in (("low", spec.low), ("high", spec.high)):
        if bound is not None:
            parameters[name] = (
                pb.InferParameter(double_param=bound) if spec.is_float else pb.InferParameter(int64_param=int(bound))
            )
    return pb.ModelMetadataResponse.TensorMetadata(
        name=spec.name, datatype=spec.datatype, shape=spec.sizes, parameters=parameters
    )
