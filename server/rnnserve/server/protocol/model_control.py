"""RepositoryModelLoad and RepositoryModelUnload: changing what serves by request, as Triton's explicit mode does."""

from rnnserve.protos import inference_pb2 as pb
from rnnserve.server.errors import InvalidRequest, NotReady, Unsupported, quoted
from rnnserve.server.repository.live import LiveRepository

__all__ = ["ModelControl"]


class ModelControl:
    """Answers the two methods."""

    def __init__(self, live: LiveRepository | None, mode: str) -> None:
        """Answer for a repository.

        Args:
            live: What changes what serves; None where nothing does.
            mode: "none", "poll" or "explicit": only in the last one, requests may change what serves.
        """
        self._live = live
        self._mode = mode

    def load(self, request: pb.RepositoryModelLoadRequest) -> pb.RepositoryModelLoadResponse:
        """Load a model of the repository as its folder is now; answer when it serves, on every worker.

        A model that is loaded already is loaded again as far as its files have changed.

        Raises:
            InvalidRequest: If the request has a parameter that Triton does not know either.
            LoadFailed: If something of it cannot be loaded. Versions that served before serve on.
            NotFound: If the repository has no such model.
            NotReady: If this server's models are not controlled by requests.
            ShuttingDown: If the server is stopping.
            TooManyCalls: If too many changes wait.
            Unsupported: If the request brings files or a config of its own.
        """
        live = self._explicit(request.repository_name)
        for name in request.parameters:
            if name == "config" or name.startswith("file:"):
                raise Unsupported(
                    f"load parameter {quoted(name)}: this server loads what lies in its repository, where each version "
                    "has its proof; publish the files there"
                )
            raise InvalidRequest(f"unrecognized load parameter {quoted(name)}")
        live.load(_named(request.model_name))
        return pb.RepositoryModelLoadResponse()

    def unload(self, request: pb.RepositoryModelUnloadRequest) -> pb.RepositoryModelUnloadResponse:
        """Let a model not serve any more; what waits or runs is answered. One that does not serve is no error.

        Raises:
            InvalidRequest: If the request has a parameter that Triton does not know either.
            LoadFailed: If the workers do not agree.
            NotReady: If this server's models are not controlled by requests.
            ShuttingDown: If the server is stopping.
            TooManyCalls: If too many changes wait.
        """
        live = self._explicit(request.repository_name)
        for name, parameter in request.parameters.items():
            if name != "unload_dependents":
                raise InvalidRequest(f"unrecognized unload parameter {quoted(name)}")
            if parameter.WhichOneof("parameter_choice") != "bool_param":
                raise InvalidRequest("invalid value type for 'unload_dependents' parameter, expected bool_param")
        live.unload(_named(request.model_name))
        return pb.RepositoryModelUnloadResponse()

    def _explicit(self, repository_name: str) -> LiveRepository:
        if self._live is None or self._mode != "explicit":
            raise NotReady(
                f"explicit model load / unload is not allowed with --model-control {self._mode}; start the server with "
                "--model-control explicit"
            )
        if repository_name:
            raise Unsupported("'repository_name' specification is not supported: this server has one repository")
        return self._live


def _named(name: str) -> str:
    if not name:
        raise InvalidRequest("model_name is empty")
    return name
