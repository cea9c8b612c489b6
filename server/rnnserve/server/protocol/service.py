"""What each method of the protocol answers, from message to message, whatever the transport."""

import dataclasses
import importlib.metadata
import json
from collections.abc import Callable, Mapping

from google.protobuf.message import Message

from rnnserve.protos import inference_pb2 as pb
from rnnserve.server.boundary.checked_request import CheckedRequest
from rnnserve.server.boundary.checking import check_request, parse_request
from rnnserve.server.boundary.signature import TensorSpec
from rnnserve.server.protocol.model_control import ModelControl
from rnnserve.server.protocol.statistics_messages import statistics_message
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


class Service:
    """The Open Inference Protocol over a repository.

    Attributes:
        repository: The models.
        settings: The limits of requests, and the provider that was asked for.
        is_draining: Whether the server is about to stop, so that it is not ready, whatever serves.
    """

    def __init__(self, repository: Repository, settings: Settings, live: LiveRepository | None = None) -> None:
        """Answer for a repository.

        Args:
            repository: The models.
            settings: The limits of requests, and the provider that was asked for.
            live: What changes what serves; None where nothing does.
        """
        self.repository = repository
        self.settings = settings
        self.is_draining = False
        self._control = ModelControl(live, settings.model_control)

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
        }

    def accept(self, payload: bytes) -> tuple[ServedVersion, CheckedRequest]:
        """Take a ModelInfer request through the boundary.

        Returns:
            The version that it asks, and the checked request.

        Raises:
            InvalidRequest: If it is not one that may be run.
            NotFound: If the repository does not have the model or version that it names.
            NotReady: If that model does not serve.
            Unsupported: If it asks for what this server does not do.
        """
        request = parse_request(payload, self.settings)
        served = self.repository.find(request.model_name, request.model_version)
        return served, check_request(request, served.model.signature, self.settings)

    def check(self, payload: bytes, served: ServedVersion) -> CheckedRequest:
        """Take a ModelInfer request through the boundary, to a version that may have stopped serving since it arrived.

        Raises:
            InvalidRequest: If it is not one that may be run.
            Unsupported: If it asks for what this server does not do.
        """
        return check_request(parse_request(payload, self.settings), served.model.signature, self.settings)

    def server_live(self, _: pb.ServerLiveRequest) -> pb.ServerLiveResponse:
        """Say that the process is up."""
        return pb.ServerLiveResponse(live=True)

    def server_ready(self, _: pb.ServerReadyRequest) -> pb.ServerReadyResponse:
        """Say whether every model of the repository serves, and the server is not about to stop."""
        return pb.ServerReadyResponse(ready=self.repository.is_ready() and not self.is_draining)

    def server_metadata(self, _: pb.ServerMetadataRequest) -> pb.ServerMetadataResponse:
        """Name the server, its version, and the extensions that it speaks."""
        return pb.ServerMetadataResponse(
            name="rnnserve",
            version=importlib.metadata.version("rnnserve"),
            extensions=["model_configuration", "model_repository", "statistics"],
        )

    def model_ready(self, request: pb.ModelReadyRequest) -> pb.ModelReadyResponse:
        """Say whether a model, or one version of it, serves.

        Raises:
            NotFound: If there is no such model or version.
        """
        return pb.ModelReadyResponse(ready=self.repository.is_served(request.name, request.version))

    def model_metadata(self, request: pb.ModelMetadataRequest) -> pb.ModelMetadataResponse:
        """Describe a model: tensors with named axes, labels, which requests share a run, its origin, where it runs.

        Raises:
            NotFound: If there is no such model or version.
            NotReady: If it does not serve.
        """
        served = self.repository.find(request.name, request.version)
        model = served.model
        said = {
            "batching": model.signature.batching.value,
            "labels": json.dumps(list(model.manifest.labels)),
            "origin": model.origin,
            "provider_requested": self.settings.provider,
            "provider": model.device,
            "nodes": json.dumps(model.nodes),
        }
        return pb.ModelMetadataResponse(
            name=model.name,
            versions=self.repository.versions(request.name),
            platform="onnxruntime_onnx",
            inputs=[_metadata(spec) for spec in model.signature.inputs.values()],
            outputs=[_metadata(spec) for spec in model.signature.outputs.values()],
            parameters={
                "batch_invariant": pb.InferParameter(bool_param=model.batch_invariant),
                **{name: pb.InferParameter(string_param=value) for name, value in said.items()},
            },
        )

    def model_config(self, request: pb.ModelConfigRequest) -> pb.ModelConfigResponse:
        """Give the model's config.pbtxt.

        Raises:
            NotFound: If there is no such model or version.
            NotReady: If it does not serve.
        """
        return pb.ModelConfigResponse(config=self.repository.find(request.name, request.version).config)

    def model_statistics(self, request: pb.ModelStatisticsRequest) -> pb.ModelStatisticsResponse:
        """Say what a model has done in this process; where none is named, every model that serves.

        Raises:
            NotFound: If there is no such model or version.
            NotReady: If it does not serve.
        """
        chosen = [self.repository.find(request.name, request.version)] if request.name else self.repository.served()
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

    Its parameters: `axes`, the names of the axes; `optional`; `lengths_of`, the axis whose lengths it holds; `low` and
    `high`, where the manifest has them: for integers the values that the model takes, `high` exclusive, for floats the
    usual ones; `limits`, a JSON object with the smallest and the largest size of each axis that the model takes, where
    it does not take any; `continues_as`, the input that continues from it.
    """
    parameters = {"axes": pb.InferParameter(string_param=", ".join(spec.axes))}
    if spec.optional:
        parameters["optional"] = pb.InferParameter(bool_param=True)
    for name, said in (("lengths_of", spec.lengths_of), ("continues_as", spec.continues_as)):
        if said:
            parameters[name] = pb.InferParameter(string_param=said)
    if spec.limits:
        parameters["limits"] = pb.InferParameter(string_param=json.dumps(spec.limits))
    for name, bound in (("low", spec.low), ("high", spec.high)):
        if bound is not None:
            parameters[name] = (
                pb.InferParameter(double_param=bound) if spec.is_float else pb.InferParameter(int64_param=int(bound))
            )
    return pb.ModelMetadataResponse.TensorMetadata(
        name=spec.name, datatype=spec.datatype, shape=spec.sizes, parameters=parameters
    )
