"""What the server says of itself: its name, its models, and the batches that it has run."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import grpc

from rnnserve.client.channel import channel_options, target
from rnnserve.client.errors import InvalidRequest, Unavailable, from_rpc_error
from rnnserve.client.metadata import ModelMetadata, read_metadata
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.inference_pb2_grpc import GRPCInferenceServiceStub

__all__ = ["Server", "ServerDescription"]


@dataclass(frozen=True)
class ServerDescription:
    """A server's name and version; empty where it does not say."""

    name: str
    version: str


class Server:
    """A connection for the questions around a load.

    Args:
        url: `"host:port"`.
        timeout: Seconds for each question.
    """

    def __init__(self, url: str, timeout: float = 5.0) -> None:
        self.address = target(url)
        self._timeout = timeout
        self._channel = grpc.insecure_channel(self.address, options=channel_options(64 << 20))
        self._stub = GRPCInferenceServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()

    def describe(self) -> ServerDescription:
        """Ask for its name and version.

        Raises:
            Unavailable: Nobody answers at the address.
        """
        try:
            answer = self._stub.ServerMetadata(pb.ServerMetadataRequest(), timeout=self._timeout)
        except grpc.RpcError as error:
            raised = from_rpc_error(error)
            if isinstance(raised, Unavailable):
                raise Unavailable(
                    f"no server answers at {self.address}: start one with `make serve`, say with --url where it is, or "
                    f"let --serve start one ({raised})"
                ) from error
            raise raised from error
        return ServerDescription(answer.name, answer.version)

    def ready_models(self) -> list[str]:
        """Ask which models are ready.

        Raises:
            InvalidRequest: None is, or the server keeps no index.
        """
        try:
            answer = self._ask("RepositoryIndex", pb.RepositoryIndexRequest(ready=True))
        except grpc.RpcError as error:
            raise InvalidRequest(f"{self.address} does not list its models: name those to ask") from error
        names = list(dict.fromkeys(model.name for model in answer.models))
        if not names:
            raise InvalidRequest(f"no model is ready at {self.address}")
        return names

    def models(self, names: Iterable[str]) -> tuple[ModelMetadata, ...]:
        """Ask what models take and give.

        Raises:
            ClientError: What the server answered instead.
        """
        try:
            return tuple(
                read_metadata(self._ask("ModelMetadata", pb.ModelMetadataRequest(name=name))) for name in names
            )
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error

    def batches(self, models: Iterable[str]) -> Counter[int] | None:
        """Ask how many batches of each size the models have run until now; None where the server does not tell."""
        counts: Counter[int] = Counter()
        for name in models:
            try:
                answer = self._ask("ModelStatistics", pb.ModelStatisticsRequest(name=name))
            except grpc.RpcError:
                # Many servers keep no statistics; one that has just been overloaded may not find the time either.
                return None
            for model in answer.model_stats:
                for batch in model.batch_stats:
                    counts[batch.batch_size] += batch.compute_infer.count
        return counts

    def _ask(self, method: str, request: Any) -> Any:  # noqa: ANN401 - one method for every message of the protocol
        return getattr(self._stub, method)(request, timeout=self._timeout)
