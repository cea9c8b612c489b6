"""What a grpcio lacks of what the lane needs of its private parts (`grpc._cython.cygrpc`, `server._state`).

Where something is missing, the public transport serves every method. Remove when grpcio has a public way to poll a
completion queue.
"""

import importlib

import grpc

__all__ = ["missing_parts"]

_NEEDED = (
    "CompletionType",
    "ReceiveCloseOnServerOperation",
    "ReceiveMessageOperation",
    "SendInitialMetadataOperation",
    "SendMessageOperation",
    "SendStatusFromServerOperation",
    "StatusCode",
    "peer_identities",
)
_NEEDED_OF_SERVER = ("register_completion_queue", "register_method", "request_registered_call")


def missing_parts(server: grpc.Server) -> str | None:
    """Say what this grpcio lacks of what the lane needs, or None where it has everything."""
    try:
        cygrpc = importlib.import_module("grpc._cython.cygrpc")
        state = server._state  # type: ignore[attr-defined]  # noqa: SLF001 - see above
        core, _ = state.server, state.completion_queue
        type("Queue", (cygrpc.CompletionQueue,), {})
    except (ImportError, AttributeError, TypeError) as error:
        return f"grpcio {grpc.__version__}: {error}"
    lacking = [name for name in _NEEDED if not hasattr(cygrpc, name)]
    lacking += [f"Server.{name}" for name in _NEEDED_OF_SERVER if not hasattr(core, name)]
    return f"grpcio {grpc.__version__} lacks {', '.join(lacking)}" if lacking else None
