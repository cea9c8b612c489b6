"""Reads a server's name, its models, and the sizes of the batches that it has run."""

from collections import Counter
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

import grpc

from rnnserve.client import InvalidRequest, ModelMetadata, PermissionDenied, Unauthenticated, Unavailable
from rnnserve.client.channel import channel_options
from rnnserve.client.endpoint import Endpoint
from rnnserve.client.errors import from_rpc_error
from rnnserve.client.metadata import read_metadata
from rnnserve.client.tls_diagnosis import explain_connection_failure
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.inference_pb2_grpc import GRPCInferenceServiceStub

__all__ = ["ServerInspector"]

_MAX_ANSWER_BYTES = 64 << 20


class ServerInspector:
    """Calls a server's metadata and statistics methods, over a separate connection from the load's."""

    def __init__(self, endpoint: Endpoint, timeout: float = 5.0) -> None:
        self.address = endpoint.address
        self._endpoint = endpoint
        self._timeout = timeout
        self._channel = endpoint.open_channel(channel_options(_MAX_ANSWER_BYTES), stays=True)
        self._stub = GRPCInferenceServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()

    def identify(self) -> tuple[str, str]:
        """Return the server's name and version, both empty if it does not report them."""
        try:
            answer = self._call("ServerMetadata", pb.ServerMetadataRequest())
        except grpc.RpcError as error:
            raised = explain_connection_failure(self._endpoint, from_rpc_error(error))
            if isinstance(raised, Unavailable):
                raise Unavailable(
                    f"no server responds at {self.address}; start one with `make serve` or --serve, or pass the "
                    f"address of one with --url ({raised})"
                ) from error
            raise raised from error
        return answer.name, answer.version

    def ready_models(self) -> list[str]:
        """Return the names of the ready models."""
        try:
            answer = self._call("RepositoryIndex", pb.RepositoryIndexRequest(ready=True))
        except grpc.RpcError as error:
            raised = from_rpc_error(error)
            if isinstance(raised, Unauthenticated | PermissionDenied):
                raise raised from error
            raise InvalidRequest(f"the server at {self.address} does not list its models; pass their names") from error
        names = list(dict.fromkeys(model.name for model in answer.models))
        if not names:
            raise InvalidRequest(f"no model is ready at {self.address}; check the server's log")
        return names

    def model_metadata(self, names: Iterable[str]) -> tuple[ModelMetadata, ...]:
        """Return the metadata of models. Raises ClientError if the server responds with an error."""
        try:
            return tuple(
                read_metadata(self._call("ModelMetadata", pb.ModelMetadataRequest(name=name))) for name in names
            )
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error

    def count_batches(self, models: Iterable[str]) -> Counter[int] | None:
        """Return the number of batches that the models have run so far, by batch size, or None if it is unknown.

        It is unknown if the server keeps no statistics (many don't), if it is still overloaded and does not respond in
        time, or if there are several servers, because a call reaches only one.
        """
        if self._endpoint.is_list:
            return None
        counts: Counter[int] = Counter()
        for name in models:
            try:
                answer = self._call("ModelStatistics", pb.ModelStatisticsRequest(name=name))
            except grpc.RpcError:
                return None
            for model in answer.model_stats:
                for batch in model.batch_stats:
                    counts[batch.batch_size] += batch.compute_infer.count
        return counts

    def _call(self, method: str, request: Any) -> Any:  # noqa: ANN401 - one method for every message of the protocol
        return getattr(self._stub, method)(request, timeout=self._timeout, metadata=self._endpoint.headers)
