"""RepositoryModelLoad and RepositoryModelUnload: changing what serves by request, as Triton's explicit mode does.

KServe's own proto (kserve/protocol/grpc/grpc_predict_v2.proto) has the model's name in field 1, where Triton's has that
of the repository, and answers with the name and whether it was done. So a request in which only field 1 is set is
KServe's.
"""

from collections.abc import Callable

from rnnserve.protos import inference_pb2 as pb
from rnnserve.server.errors import InvalidRequest, NotReady, Unsupported, quoted
from rnnserve.server.repository.live import LiveRepository

__all__ = ["ModelControl"]


class ModelControl:
    """Answers the two methods."""

    def __init__(self, live: LiveRepository | None, mode: str, note_change: Callable[[str, bool], None]) -> None:
        """Answer for a repository.

        Args:
            live: The changes of what serves; None where there are none.
            mode: "none", "poll" or "explicit": only in the last one, requests may change what serves.
            note_change: A function that is told which model has been loaded, or else unloaded.
        """
        self._note_change = note_change
        self._live = live
        self._mode = mode

    def load(self, request: pb.RepositoryModelLoadRequest) -> pb.RepositoryModelLoadResponse:
        """Load a model of the repository as its folder is now; answer when it serves. Other workers follow.

        A model that is loaded already is loaded again as far as its files have changed.

        Raises:
            InvalidRequest: If the request has a parameter that Triton does not have either.
            LoadFailed: If something of it cannot be loaded. Versions that served before serve on.
            NotFound: If the repository has no such model.
            NotReady: If this server's models are not controlled by requests.
            ShuttingDown: If the server is stopping.
            TooManyCalls: If too many changes wait.
            Unsupported: If the request brings files or a config of its own.
        """
        live = self._explicit()
        model, is_kserves = _model_asked(request)
        for name in request.parameters:
            if name == "config" or name.startswith("file:"):
                raise Unsupported(
                    f"load parameter {quoted(name)}: this server loads what lies in its repository, where each version "
                    "has its proof; publish the files there"
                )
            raise InvalidRequest(f"unrecognized load parameter {quoted(name)}")
        live.load(model)
        self._note_change(model, True)
        if is_kserves:
            return pb.RepositoryModelLoadResponse(model_name=model, is_loaded=True)
        return pb.RepositoryModelLoadResponse()

    def unload(self, request: pb.RepositoryModelUnloadRequest) -> pb.RepositoryModelUnloadResponse:
        """Let a model not serve any more; what waits or runs is answered. One that does not serve is no error.

        Raises:
            InvalidRequest: If the request has a parameter that Triton does not have either.
            LoadFailed: If the repository cannot be read.
            NotReady: If this server's models are not controlled by requests.
            ShuttingDown: If the server is stopping.
            TooManyCalls: If too many changes wait.
        """
        live = self._explicit()
        model, is_kserves = _model_asked(request)
        for name, parameter in request.parameters.items():
            if name != "unload_dependents":
                raise InvalidRequest(f"unrecognized unload parameter {quoted(name)}")
            if parameter.WhichOneof("parameter_choice") != "bool_param":
                raise InvalidRequest("invalid value type for 'unload_dependents' parameter, expected bool_param")
        live.unload(model)
        self._note_change(model, False)
        if is_kserves:
            return pb.RepositoryModelUnloadResponse(model_name=model, is_unloaded=True)
        return pb.RepositoryModelUnloadResponse()

    def _explicit(self) -> LiveRepository:
        if self._live is None or self._mode != "explicit":
            raise NotReady(
                f"explicit model load / unload is not allowed with --model-control {self._mode}; start the server with "
                "--model-control explicit"
            )
        return self._live


def _model_asked(request: pb.RepositoryModelLoadRequest | pb.RepositoryModelUnloadRequest) -> tuple[str, bool]:
    """The name of the model, and whether the request is one of KServe's proto."""
    if request.model_name and request.repository_name:
        raise Unsupported("'repository_name' specification is not supported: this server has one repository")
    if not request.model_name and not request.repository_name:
        raise InvalidRequest("model_name is empty")
    return request.model_name or request.repository_name, not request.model_name
