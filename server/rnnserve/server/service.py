"""What each method of the protocol answers, from messages to messages, whatever transport carries them."""

import dataclasses
import importlib.metadata
import json
from collections.abc import Callable, Mapping

from google.protobuf.message import Message

from rnnserve.protos import inference_pb2 as pb
from rnnserve.server.boundary import Array, Inference, Limits, decode, read_inference
from rnnserve.server.repository import Repository, Served
from rnnserve.server.responses import encode
from rnnserve.server.running import Work
from rnnserve.server.signature import TensorSpec

__all__ = ["Call", "Method", "Service"]


@dataclasses.dataclass(frozen=True)
class Method:
    """A unary method: how its request is read, and what answers it."""

    read: Callable[[bytes], Message]
    answer: Callable[..., Message]


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """A ModelInfer request that has passed the boundary."""

    request: pb.ModelInferRequest
    inference: Inference
    served: Served

    def submit(self, work: Work) -> None:
        """Put it into its model's queue.

        Raises:
            QueueFull: If as many requests wait as may.
            ShuttingDown: If the server is going.
        """
        self.served.scheduler.submit(work)

    def respond(self, outputs: Mapping[str, Array]) -> bytes:
        """Build the response's bytes."""
        return encode(self.request, self.served.model, outputs)


class Service:
    """The Open Inference Protocol over a repository.

    Attributes:
        repository: The models.
        limits: Of requests.
    """

    def __init__(self, repository: Repository, limits: Limits, provider: str) -> None:
        """Answer for a repository.

        Args:
            repository: The models.
            limits: Of requests.
            provider: What was asked for, "cpu", "cuda" or "auto": the models' metadata tells it.
        """
        self.repository = repository
        self.limits = limits
        self._provider = provider

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
        }

    def accept(self, payload: bytes) -> Call:
        """Take a ModelInfer request through the boundary.

        Raises:
            InvalidRequest: If it is not one that may be run.
            NotFound: If it names a model or version that there is not.
            NotReady: If that model does not serve.
            Unsupported: If it asks for what this server does not do.
        """
        request = decode(payload, self.limits)
        served = self.repository.find(request.model_name, request.model_version)
        return Call(request, read_inference(request, served.model.signature, self.limits), served)

    def server_live(self, _: pb.ServerLiveRequest) -> pb.ServerLiveResponse:
        """Say that the process is up."""
        return pb.ServerLiveResponse(live=True)

    def server_ready(self, _: pb.ServerReadyRequest) -> pb.ServerReadyResponse:
        """Say whether every model of the repository serves."""
        return pb.ServerReadyResponse(ready=self.repository.is_ready())

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
        """Describe a model: tensors with named axes, labels, and where it runs.

        Raises:
            NotFound: If there is no such model or version.
            NotReady: If it does not serve.
        """
        served = self.repository.find(request.name, request.version)
        model = served.model
        said = {
            "labels": json.dumps(list(model.manifest.labels)),
            "provider_requested": self._provider,
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
        """Say what a model, or every model that serves where none is named, has done in this process.

        Raises:
            NotFound: If there is no such model or version.
            NotReady: If it does not serve.
        """
        chosen = [self.repository.find(request.name, request.version)] if request.name else self.repository.served()
        models = [served.model for served in chosen]
        return pb.ModelStatisticsResponse(
            model_stats=[model.statistics.message(model.name, model.version) for model in models]
        )

    def repository_index(self, request: pb.RepositoryIndexRequest) -> pb.RepositoryIndexResponse:
        """List every version of every model with its state, and why it does not serve."""
        response = pb.RepositoryIndexResponse()
        for name, versions in self.repository.statuses():
            for version, status in versions.items():
                if status.state == "READY" or not request.ready:
                    response.models.add(name=name, version=str(version), state=status.state, reason=status.reason)
        return response


def _metadata(spec: TensorSpec) -> pb.ModelMetadataResponse.TensorMetadata:
    parameters = {"axes": pb.InferParameter(string_param=", ".join(spec.axes))}
    if spec.optional:
        parameters["optional"] = pb.InferParameter(bool_param=True)
    return pb.ModelMetadataResponse.TensorMetadata(
        name=spec.name, datatype=spec.datatype, shape=spec.sizes, parameters=parameters
    )
